// The weight gradient of sparse_gradient.hpp with bf16 operands: two winners of a filter at a time.
//
//     window(row, :) += g₁ · input(offset₁ + row, :) + g₂ · input(offset₂ + row, :)
//
// The input is a copy of the image in bf16. A vector full of it at each of the two offsets is interleaved into two vectors
// of words, and each is multiplied with the word (g₁, g₂), dy being rounded already. Offsets, strides and segments count bf16
// numbers. Tile: 3 rows × 3 vectors of input (18 accumulators) or 1 row × 3 with 16 registers. A row of the result lies as
// interleaving leaves it: undo_interleaving puts it in order once, when all images are added up.
#pragma once

#include "pairs.hpp"
#include "sparse_gradient.hpp"

namespace {

template <int rows, int blocks>
void walk_entry_pairs(const SparseWeightGradient& job, Index k, Index first_row, Index first_number) {
    const Index pixels = job.pooled_height * job.pooled_width;
    const std::uint64_t* const entries = job.entries + k * pixels;
    const Index count = job.counts[k];
    float* const to = job.dweight + (k * job.segment_count + first_row) * job.padded_run + first_number;
    const std::uint16_t* const image = reinterpret_cast<const std::uint16_t*>(job.input) + first_number;
    const std::uint16_t* input[rows];
    for (int r = 0; r < rows; ++r) input[r] = image + job.segments[first_row + r].offset;
    Vector sum[rows][2 * blocks];
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
        for (int v = 0; v < 2 * blocks; ++v)
            sum[r][v] = job.accumulate ? load(to + r * job.padded_run + v * lanes) : zero();
    for (Index i = 0; i < count; i += 2) {
        const bool alone = i + 1 == count;
        const std::uint64_t first = entries[i], second = entries[alone ? i : i + 1];
        const std::uint32_t upper = alone ? 0u : static_cast<std::uint32_t>(second >> 32) & upper_half;
        const PairVector g = PairVector{} + (static_cast<std::uint32_t>(first >> 48) | upper);
        const Index here = static_cast<Index>(first & 0xFFFFFFFFu), there = static_cast<Index>(second & 0xFFFFFFFFu);
#pragma GCC unroll 3
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
            for (int b = 0; b < blocks; ++b) {
                DoubleHalves x, y;
                std::memcpy(&x, input[r] + here + b * 2 * lanes, sizeof x);
                std::memcpy(&y, input[r] + there + b * 2 * lanes, sizeof y);
                PairVector low, high;
                interleave(x, y, low, high);
                sum[r][2 * b] = dot_pairs(low, g, sum[r][2 * b]);
                sum[r][2 * b + 1] = dot_pairs(high, g, sum[r][2 * b + 1]);
            }
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
        for (int v = 0; v < 2 * blocks; ++v) store(to + r * job.padded_run + v * lanes, sum[r][v]);
}

template <int rows>
void walk_filters_in_pairs(const SparseWeightGradient& job, Index first_row, Index at) {
    const Index left = (job.padded_run - at) / (2 * lanes);
    for (Index k = 0; k < job.channels; ++k)
        switch (left < 3 ? left : 3) {
            case 1: walk_entry_pairs<rows, 1>(job, k, first_row, at); break;
            case 2: walk_entry_pairs<rows, 2>(job, k, first_row, at); break;
            case 3: walk_entry_pairs<rows, 3>(job, k, first_row, at); break;
            default: break;
        }
}

void sparse_weight_gradient_of_pairs(const SparseWeightGradient& job) {
    list_entries(job);
    for (Index at = 0; at < job.padded_run; at += 3 * 2 * lanes) {
        Index row = 0;
        if constexpr (registers == 32) {
            for (; row + 3 <= job.segment_count; row += 3) walk_filters_in_pairs<3>(job, row, at);
            for (; row + 2 <= job.segment_count; row += 2) walk_filters_in_pairs<2>(job, row, at);
        }
        for (; row < job.segment_count; ++row) walk_filters_in_pairs<1>(job, row, at);
    }
}

}  // namespace
