// Floats into the matrices of bf16 numbers that tile products read (tile_table.hpp says which there are).
//
// With `rest` the numbers are what rounding left over, x - bf16(x), rounded in turn: bf16(x) and that number together are
// x but for 2^-17 of its size, and three products of such halves replace one of floats but for 2^-15.
#pragma once

#include "elementwise.hpp"
#include "pairs.hpp"
#include "tile_table.hpp"

namespace {

using tatami::NumbersOfPixels;

// Infinities have no rest.
TATAMI_INLINE Vector part_of(Vector x, bool rest) {
    if (!rest) return x;
    const Vector upper = floats_of(round_to_upper(x));
    return upper == x ? zero() : x - upper;
}

TATAMI_INLINE void store_numbers(std::uint16_t* to, Vector x, int count, bool rest) {
    const Halves halves = round_to_halves(part_of(x, rest));
    if (count == lanes)
        std::memcpy(to, &halves, sizeof halves);
    else
        std::memcpy(to, &halves, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
}

void numbers_of_pixels(const NumbersOfPixels& job) {
    const Index to_pixel = job.groups * job.to_group;
    if (job.channels == 1 && job.groups == 1 && job.from_stride == 1 && job.to_group == 2) {  // words, zeros above
        for (Index p = 0; p < job.pixels; p += lanes) {
            const int count = static_cast<int>(job.pixels - p < lanes ? job.pixels - p : lanes);
            const Vector x = count == lanes ? load(job.from + p) : load_partial(job.from + p, count);
            const PairVector words = round_to_upper(part_of(x, job.rest)) >> 16;
            std::memcpy(job.to + 2 * p, &words, static_cast<std::size_t>(count) * 4);
        }
        return;
    }
    for (Index p = 0; p < job.pixels; ++p)
        for (Index g = 0; g < job.groups; ++g) {
            const float* const from = job.from + p * job.from_stride + g * job.channels;
            std::uint16_t* const to = job.to + p * to_pixel + g * job.to_group;
            for (Index c = 0; c < job.channels; c += lanes) {
                const int count = static_cast<int>(job.channels - c < lanes ? job.channels - c : lanes);
                store_numbers(to + c, count == lanes ? load(from + c) : load_partial(from + c, count), count, job.rest);
            }
        }
}

void numbers_of_rows(const float* from, Index from_stride, Index pixels, Index columns, std::uint16_t* to, Index to_row,
                     bool rest) {
    constexpr Index block = 16;
    alignas(64) float turned[block * block];
    for (Index p = 0; p < pixels; p += block) {
        const Index some = pixels - p < block ? pixels - p : block;
        for (Index c = 0; c < columns; c += block) {
            const Index rows = columns - c < block ? columns - c : block;
            transpose(from + p * from_stride + c, from_stride, turned, block, some, rows);
            for (Index r = 0; r < rows; ++r)
                for (Index i = 0; i < some; i += lanes) {
                    const int count = static_cast<int>(some - i < lanes ? some - i : lanes);
                    store_numbers(to + (c + r) * to_row + p + i, load(turned + r * block + i), count, rest);
                }
        }
    }
}

void pairs_of_rows(const float* from, Index from_stride, Index rows, float* words, Index columns, bool rest) {
    for (Index row = 0; row < rows; row += 2)
        for (Index c = 0; c < columns; c += lanes) {
            const int count = static_cast<int>(columns - c < lanes ? columns - c : lanes);
            const float* const x = from + row * from_stride + c;
            const Vector low = count == lanes ? load(x) : load_partial(x, count);
            Vector high = zero();
            if (row + 1 < rows) high = count == lanes ? load(x + from_stride) : load_partial(x + from_stride, count);
            const PairVector pair = make_pairs(part_of(low, rest), part_of(high, rest));
            std::memcpy(words + row / 2 * 16 + c, &pair, static_cast<std::size_t>(count) * 4);
        }
}

}  // namespace
