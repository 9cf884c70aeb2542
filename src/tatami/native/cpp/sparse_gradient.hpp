// Gradients of a convolution that is followed by ReLU and 2×2 max pooling, from the winners alone.
//
// Of the four positions under a pooled value at most one, the winner, gets a gradient, and only where ReLU was active: about one
// in six entries of the convolution's dy differs from zero. The codes that fused_pooling.hpp left say which, so both
// gradients walk over these entries and skip the rest, instead of multiplying zeros.
//
// Weight gradient. For each filter k its entries are listed: where the window starts in the input, and g = dy. Then the
// window of the filter stays in registers, up to 3 rows × 6 (AVX-512) or 4 vectors, while the list is walked:
//     window(row, :) += g · input(offset + row, :)
// Rows of a window are contiguous, taps and channels together. Result: filters × rows × padded row, transposed afterwards.
//
// Input gradient of a 3×3 window. For each pooled value the filters that won are the bits of a mask, one mask for each of
// the four positions. The union of the four windows is 4×4 pixels: with one vector of input channels it fits into 16
// registers, and is added to dx once for all filters. Where there are only 16 registers, each position's 3×3 window is
// added by itself. The weights lie as (vector of input channels, filter, tap): one vector's share fits the first-level cache.
#pragma once

#include "fused_pooling.hpp"

namespace {

using tatami::Index;
using tatami::SparseInputGradient;
using tatami::SparseWeightGradient;

constexpr int window_vectors = registers == 32 ? 6 : 4;

template <int rows, int vectors>
void walk_entries(const SparseWeightGradient& job, Index k, Index first_row, Index first_float) {
    const Index pixels = job.pooled_height * job.pooled_width;
    const std::int32_t* const offsets = job.offsets + k * pixels;
    const float* const values = job.values + k * pixels;
    const Index count = job.counts[k];
    float* const to = job.dweight + (k * job.segment_count + first_row) * job.padded_run + first_float;
    const float* input[rows];
    for (int r = 0; r < rows; ++r) input[r] = job.input + job.segments[first_row + r].offset + first_float;
    Vector sum[rows][vectors];
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
        for (int v = 0; v < vectors; ++v)
            sum[r][v] = job.accumulate ? load(to + r * job.padded_run + v * lanes) : zero();
    for (Index i = 0; i < count; ++i) {
        const Vector g = broadcast(values[i]);
        const Index offset = offsets[i];
#pragma GCC unroll 3
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
            for (int v = 0; v < vectors; ++v)
                sum[r][v] = multiply_add(g, load(input[r] + offset + v * lanes), sum[r][v]);
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
        for (int v = 0; v < vectors; ++v) store(to + r * job.padded_run + v * lanes, sum[r][v]);
}

template <int rows>
void walk_row_vectors(const SparseWeightGradient& job, Index k, Index first_row) {
    for (Index at = 0; at < job.padded_run; at += window_vectors * lanes) {
        const Index left = (job.padded_run - at) / lanes;
        switch (left < window_vectors ? left : window_vectors) {
            case 1: walk_entries<rows, 1>(job, k, first_row, at); break;
            case 2: walk_entries<rows, 2>(job, k, first_row, at); break;
            case 3: walk_entries<rows, 3>(job, k, first_row, at); break;
            case 4: walk_entries<rows, 4>(job, k, first_row, at); break;
#if defined(__AVX512F__) || defined(__ARM_NEON)
            case 5: walk_entries<rows, 5>(job, k, first_row, at); break;
            case 6: walk_entries<rows, 6>(job, k, first_row, at); break;
#endif
            default: break;
        }
    }
}

void list_entries(const SparseWeightGradient& job) {
    const Index pixels = job.pooled_height * job.pooled_width;
    const std::int32_t delta[inactive + 1] = {0, static_cast<std::int32_t>(job.input_stride),
                                              static_cast<std::int32_t>(job.input_line),
                                              static_cast<std::int32_t>(job.input_line + job.input_stride), 0};
    for (Index k = 0; k < job.channels; ++k) job.counts[k] = 0;
    for (Index h = 0; h < job.pooled_height; ++h)
        for (Index w = 0; w < job.pooled_width; ++w) {
            const std::uint8_t* const code = job.code + (h * job.pooled_width + w) * job.code_stride;
            const float* const dy = job.dy + h * job.dy_line + w * job.dy_stride;
            const std::int32_t corner = static_cast<std::int32_t>(2 * h * job.input_line + 2 * w * job.input_stride);
            for (Index k = 0; k < job.channels; ++k) {  // written always, counted if active: no branch to mispredict
                const Index at = k * pixels + job.counts[k];
                job.offsets[at] = corner + delta[code[k]];
                job.values[at] = dy[k];
                job.counts[k] += code[k] != inactive;
            }
        }
}

void sparse_weight_gradient(const SparseWeightGradient& job) {
    list_entries(job);
    const Index pixels = job.pooled_height * job.pooled_width;
    for (Index k = 0; k < job.channels; ++k) {
        if (job.dbias) {
            float sum = job.accumulate ? job.dbias[k] : 0.0f;
            for (Index i = 0; i < job.counts[k]; ++i) sum += job.values[k * pixels + i];
            job.dbias[k] = sum;
        }
        Index row = 0;
        for (; row + 3 <= job.segment_count; row += 3) walk_row_vectors<3>(job, k, row);
        for (; row + 2 <= job.segment_count; row += 2) walk_row_vectors<2>(job, k, row);
        for (; row < job.segment_count; ++row) walk_row_vectors<1>(job, k, row);
    }
}

constexpr int word_filters = 32;  // filters of one mask

// The filters from `first` on whose winner stands at each of the four positions.
TATAMI_INLINE void winners(const std::uint8_t* code, Index count, std::uint32_t found[4]) {
    found[0] = found[1] = found[2] = found[3] = 0;
    for (Index k = 0; k < count; k += lanes) {
        const Integers codes = load_codes(code + k);
        for (int position = 0; position < 4; ++position)
            found[position] |= bits_of(codes == Integers{} + position) << k;
    }
    if (count < word_filters)
        for (int position = 0; position < 4; ++position) found[position] &= (1u << count) - 1u;
}

// window(row, column) += g · weight for every filter in the mask, the 3×3 taps at (top, left) of a window of `width` columns.
template <int top, int left, int width, int size>
TATAMI_INLINE void add_filters(std::uint32_t mask, const float* dy, const float* weight, Vector (&window)[size]) {
    while (mask != 0) {
        const int k = __builtin_ctz(mask);
        mask &= mask - 1;
        const Vector g = broadcast(dy[k]);
        const float* const taps = weight + k * 9 * lanes;
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
            for (int c = 0; c < 3; ++c)
                window[(top + r) * width + left + c] =
                    multiply_add(g, load(taps + (r * 3 + c) * lanes), window[(top + r) * width + left + c]);
    }
}

template <int width, int size>
TATAMI_INLINE void add_window(float* to, Index line, Index pixel, const Vector (&window)[size]) {
#pragma GCC unroll 4
    for (int r = 0; r < size / width; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < width; ++c) {
            float* const at = to + r * line + c * pixel;
            store(at, load(at) + window[r * width + c]);
        }
}

template <int top, int left>
TATAMI_INLINE void add_position(const SparseInputGradient& job, const std::uint8_t* code, const float* dy,
                                const float* weight, float* to) {
    Vector window[9] = {};
    bool any = false;
    for (Index first = 0; first < job.channels; first += word_filters) {
        const Index left_over = job.channels - first;
        std::uint32_t found[4];
        winners(code + first, left_over < word_filters ? left_over : word_filters, found);
        any = any || found[2 * top + left] != 0;
        add_filters<0, 0, 3>(found[2 * top + left], dy + first, weight + first * 9 * lanes, window);
    }
    if (any) add_window<3>(to + top * job.line + left * job.pixel, job.line, job.pixel, window);
}

void sparse_input_gradient(const SparseInputGradient& job) {
    for (Index vector = 0; vector < job.input_vectors; ++vector) {
        const float* const weight = job.weight + vector * job.channels * 9 * lanes;
        for (Index h = 0; h < job.pooled_height; ++h)
            for (Index w = 0; w < job.pooled_width; ++w) {
                const std::uint8_t* const code = job.code + (h * job.pooled_width + w) * job.code_stride;
                const float* const dy = job.dy + h * job.dy_line + w * job.dy_stride;
                float* const to = job.window + 2 * h * job.line + 2 * w * job.pixel + vector * lanes;
                if constexpr (registers == 32) {
                    Vector window[16] = {};
                    for (Index first = 0; first < job.channels; first += word_filters) {
                        const Index left_over = job.channels - first;
                        std::uint32_t found[4];
                        winners(code + first, left_over < word_filters ? left_over : word_filters, found);
                        const float* const taps = weight + first * 9 * lanes;
                        add_filters<0, 0, 4>(found[0], dy + first, taps, window);
                        add_filters<0, 1, 4>(found[1], dy + first, taps, window);
                        add_filters<1, 0, 4>(found[2], dy + first, taps, window);
                        add_filters<1, 1, 4>(found[3], dy + first, taps, window);
                    }
                    add_window<4>(to, job.line, job.pixel, window);
                } else {
                    add_position<0, 0>(job, code, dy, weight, to);
                    add_position<0, 1>(job, code, dy, weight, to);
                    add_position<1, 0>(job, code, dy, weight, to);
                    add_position<1, 1>(job, code, dy, weight, to);
                }
            }
    }
}

}  // namespace
