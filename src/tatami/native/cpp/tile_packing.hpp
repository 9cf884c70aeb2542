// Floats into the matrices of bf16 numbers that tile products read (tile_table.hpp says which there are).
//
// With `rest` the numbers are what rounding left over, x - bf16(x), rounded in turn: bf16(x) and that number together are
// x but for 2^-17 of its size, and three products of such halves replace one of floats but for 2^-15.
#pragma once

#include "elementwise.hpp"
#include "fused_pooling.hpp"
#include "pairs.hpp"
#include "tile_table.hpp"

namespace {

using tatami::FactorsOfWinners;
using tatami::NumbersOfPixels;

// Lane i of vector j and lane j of vector i change places.
TATAMI_INLINE void transpose_lanes(Vector (&block)[lanes]) {
#if !defined(__clang__)
    exchange<1>(block);
    exchange<2>(block);
    if constexpr (lanes >= 8) exchange<4>(block);
    if constexpr (lanes >= 16) exchange<8>(block);
#else
    Vector turned[lanes];
    for (int i = 0; i < lanes; ++i)
        for (int j = 0; j < lanes; ++j) turned[j][i] = block[i][j];
    for (int i = 0; i < lanes; ++i) block[i] = turned[i];
#endif
}

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

TATAMI_INLINE void store_words_up_to(void* to, PairVector words, int count) {
    if (count == lanes)
        store_words(to, words);
    else
        std::memcpy(to, &words, static_cast<std::size_t>(count) * sizeof(std::uint32_t));
}

void numbers_of_pixels(const NumbersOfPixels& job) {
    const Index to_pixel = job.groups * job.to_group;
    if (job.channels == 1 && job.groups == 1 && job.from_stride == 1 && job.to_group == 2) {  // words, zeros above
        for (Index p = 0; p < job.pixels; p += lanes) {
            const int count = static_cast<int>(job.pixels - p < lanes ? job.pixels - p : lanes);
            const Vector x = count == lanes ? load(job.from + p) : load_partial(job.from + p, count);
            const PairVector words = round_to_upper(part_of(x, job.rest)) >> 16;
            store_words_up_to(job.to + 2 * p, words, count);
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
    for (Index p = 0; p < pixels; p += lanes) {
        const int some = static_cast<int>(pixels - p < lanes ? pixels - p : lanes);
        for (Index c = 0; c < columns; c += lanes) {
            const int rows = static_cast<int>(columns - c < lanes ? columns - c : lanes);
            Vector block[lanes];
            const float* const corner = from + p * from_stride + c;
            if (rows == lanes)
#pragma GCC unroll 16
                for (int i = 0; i < lanes; ++i) block[i] = i < some ? load(corner + i * from_stride) : zero();
            else
                for (int i = 0; i < lanes; ++i) block[i] = i < some ? load_partial(corner + i * from_stride, rows) : zero();
            transpose_lanes(block);
            for (int r = 0; r < rows; ++r) store_numbers(to + (c + r) * to_row + p, block[r], some, rest);
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
            store_words_up_to(words + row / 2 * 16 + c, pair, count);
        }
}

// Of the two pixels of a word at most one differs from zero: the winner's number is the lower or the upper half.
TATAMI_INLINE PairVector word_of_winner(PairVector number, Integers code, int first) {
    return (code == Integers{} + first ? number : PairVector{}) | (code == Integers{} + first + 1 ? number << 16 : PairVector{});
}

TATAMI_INLINE Halves lower_halves(PairVector words) {
#if defined(__AVX512F__)
    return reinterpret_cast<Halves>(_mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(words)));
#else
    return __builtin_convertvector(words & 0xFFFFu, Halves);
#endif
}

TATAMI_INLINE void store_two_pixels(std::uint16_t* to, Index pixel, PairVector word, int count) {
    const Halves left = lower_halves(word), right = lower_halves(word >> 16);
    if (count == lanes) {
        std::memcpy(to, &left, sizeof left);
        std::memcpy(to + pixel, &right, sizeof right);
    } else {
        std::memcpy(to, &left, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
        std::memcpy(to + pixel, &right, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
    }
}

void factors_of_winners(const FactorsOfWinners& job) {
    for (Index c = 0; c < job.channels; c += lanes) {
        const int count = static_cast<int>(job.channels - c < lanes ? job.channels - c : lanes);
        float* const pairs = job.pairs + c / 16 * job.pairs_block + c % 16;
        Vector sum = zero();
        for (Index h = 0; h < job.height; ++h)
            for (Index w = 0; w < job.width; ++w) {
                const float* const dy = job.dy + h * job.dy_line + w * job.dy_stride + c;
                const Integers code = load_bytes(job.code + (h * job.width + w) * job.code_stride + c);
                const Vector g = count == lanes ? load(dy) : load_partial(dy, count);
                const PairVector upper = round_to_upper(part_of(g, job.rest));
                const PairVector number = upper >> 16;
                sum += code == Integers{} + inactive ? zero() : (job.round_sums ? floats_of(upper) : g);
                for (Index line = 0; line < job.lines; ++line) {
                    const PairVector word = word_of_winner(number, code, static_cast<int>(2 * line));
                    const Index y = job.lines * h + line;
                    store_words(pairs + (y * job.pairs_line + w) * 16, word);
                    if (job.numbers)
                        store_two_pixels(job.numbers + y * job.numbers_line + 2 * w * job.pixel + c, job.pixel, word, count);
                }
            }
        if (job.sums == nullptr) continue;
        if (job.accumulate) sum += count == lanes ? load(job.sums + c) : load_partial(job.sums + c, count);
        store_partial(job.sums + c, sum, count);
    }
}

}  // namespace
