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
// Windows of few floats would fill vectors of the input badly: chosen_gradient.hpp.
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

// An entry holds the offset of its window in the lower half and g's bits in the upper one: one store writes both.
TATAMI_INLINE std::uint64_t make_entry(std::uint32_t offset, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return std::uint64_t{bits} << 32 | offset;
}

TATAMI_INLINE float entry_value(std::uint64_t entry) {
    const std::uint32_t bits = static_cast<std::uint32_t>(entry >> 32);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// The vectors of a row come in pairs: two side by side, the next two `apart` floats further on.
template <int rows, int vectors>
void walk_entries(const SparseWeightGradient& job, Index k, Index first_row, Index first_float, Index apart) {
    const Index pixels = job.pooled_height * job.pooled_width;
    const std::uint64_t* const entries = job.entries + k * pixels;
    const Index count = job.counts[k];
    float* const to = job.dweight + (k * job.segment_count + first_row) * job.padded_run + first_float;
    const float* input[rows];
    for (int r = 0; r < rows; ++r) input[r] = job.input + job.segments[first_row + r].offset + first_float;
    Vector sum[rows][vectors];
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
        for (int v = 0; v < vectors; ++v)
            sum[r][v] = job.accumulate ? load(to + r * job.padded_run + v / 2 * apart + v % 2 * lanes) : zero();
    for (Index i = 0; i < count; ++i) {
        const Vector g = broadcast(entry_value(entries[i]));
        const Index offset = static_cast<Index>(entries[i] & 0xFFFFFFFFu);
#pragma GCC unroll 3
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
            for (int v = 0; v < vectors; ++v)
                sum[r][v] = multiply_add(g, load(input[r] + offset + v / 2 * apart + v % 2 * lanes), sum[r][v]);
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
        for (int v = 0; v < vectors; ++v) store(to + r * job.padded_run + v / 2 * apart + v % 2 * lanes, sum[r][v]);
}

template <int rows>
void walk_filters(const SparseWeightGradient& job, Index first_row, Index at, Index vectors, Index apart) {
    for (Index k = 0; k < job.channels; ++k)
        switch (vectors) {
            case 1: walk_entries<rows, 1>(job, k, first_row, at, apart); break;
            case 2: walk_entries<rows, 2>(job, k, first_row, at, apart); break;
            case 3: walk_entries<rows, 3>(job, k, first_row, at, apart); break;
            case 4: walk_entries<rows, 4>(job, k, first_row, at, apart); break;
#if defined(__AVX512F__) || defined(__ARM_NEON)
            case 5: walk_entries<rows, 5>(job, k, first_row, at, apart); break;
            case 6: walk_entries<rows, 6>(job, k, first_row, at, apart); break;
#endif
            default: break;
        }
}

// One part of every row of the window, for all filters.
void walk_part(const SparseWeightGradient& job, Index at, Index vectors, Index apart) {
    Index row = 0;
    for (; row + 3 <= job.segment_count; row += 3) walk_filters<3>(job, row, at, vectors, apart);
    for (; row + 2 <= job.segment_count; row += 2) walk_filters<2>(job, row, at, vectors, apart);
    for (; row < job.segment_count; ++row) walk_filters<1>(job, row, at, vectors, apart);
}

void list_entries(const SparseWeightGradient& job) {
    const Index pixels = job.pooled_height * job.pooled_width;
    const Index delta[inactive + 1] = {0, job.input_stride, job.input_line, job.input_line + job.input_stride, 0};
    for (Index k = 0; k < job.channels; ++k) job.counts[k] = k * pixels;
    for (Index h = 0; h < job.pooled_height; ++h)
        for (Index w = 0; w < job.pooled_width; ++w) {
            const std::uint8_t* const code = job.code + (h * job.pooled_width + w) * job.code_stride;
            const float* const dy = job.dy + h * job.dy_line + w * job.dy_stride;
            const Index corner = 2 * h * job.input_line + 2 * w * job.input_stride;
            for (Index k = 0; k < job.channels; ++k) {  // written always, counted if active: no branch to mispredict
                job.entries[job.counts[k]] = make_entry(static_cast<std::uint32_t>(corner + delta[code[k]]), dy[k]);
                job.counts[k] += code[k] != inactive;
            }
        }
    for (Index k = 0; k < job.channels; ++k) job.counts[k] -= k * pixels;
}

void add_bias_gradient(const SparseWeightGradient& job) {
    if (!job.dbias) return;
    const Index pixels = job.pooled_height * job.pooled_width;
    for (Index k = 0; k < job.channels; ++k) {
        float sum = job.accumulate ? job.dbias[k] : 0.0f;
        for (Index i = 0; i < job.counts[k]; ++i) sum += entry_value(job.entries[k * pixels + i]);
        job.dbias[k] = sum;
    }
}

void sparse_weight_gradient(const SparseWeightGradient& job) {
    list_entries(job);
    add_bias_gradient(job);
    // One part of the window at a time for all filters, so that the part of the image it meets stays in the first-level
    // cache: with many input channels a slice of 2 vectors of channels at several taps, else whatever lies side by side.
    const Index slice = 2 * lanes, channels = job.input_channels;
    if (channels > slice && channels % slice == 0) {
        const Index taps = job.padded_run / channels;
        for (Index c = 0; c < channels; c += slice)
            for (Index tap = 0; tap < taps; tap += window_vectors / 2) {
                const Index left = taps - tap, count = left < window_vectors / 2 ? left : window_vectors / 2;
                walk_part(job, tap * channels + c, 2 * count, channels);
            }
        return;
    }
    for (Index at = 0; at < job.padded_run; at += window_vectors * lanes) {
        const Index left = (job.padded_run - at) / lanes;
        walk_part(job, at, left < window_vectors ? left : window_vectors, slice);
    }
}

constexpr int word_filters = 32;  // filters of one mask

// The filters from `first` on whose winner stands at each of the four positions.
TATAMI_INLINE void winners(const std::uint8_t* code, Index count, std::uint32_t found[4]) {
    const std::uint32_t wanted = count < word_filters ? (1u << count) - 1u : ~0u;
    for (int position = 0; position < 4; ++position)
        found[position] = equal_bytes(code, static_cast<std::uint8_t>(position)) & wanted;
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
TATAMI_INLINE void add_position(const SparseInputGradient& job, std::uint32_t mask, const float* dy, const float* weight,
                                float* to) {
    if (mask == 0) return;
    Vector window[9] = {};
    add_filters<0, 0, 3>(mask, dy, weight, window);
    add_window<3>(to + top * job.line + left * job.pixel, job.line, job.pixel, window);
}

// One vector of input channels and up to 32 filters, whose weights fit the first-level cache, over the whole image.
void add_block(const SparseInputGradient& job, Index vector, Index first) {
    const float* const weight = job.weight + (vector * job.channels + first) * 9 * lanes;
    const Index count = job.channels - first < word_filters ? job.channels - first : word_filters;
    for (Index h = 0; h < job.pooled_height; ++h)
        for (Index w = 0; w < job.pooled_width; ++w) {
            const float* const dy = job.dy + h * job.dy_line + w * job.dy_stride + first;
            float* const to = job.window + 2 * h * job.line + 2 * w * job.pixel + vector * lanes;
            std::uint32_t found[4];
            winners(job.code + (h * job.pooled_width + w) * job.code_stride + first, count, found);
            if constexpr (registers == 32) {
                Vector window[16] = {};
                add_filters<0, 0, 4>(found[0], dy, weight, window);
                add_filters<0, 1, 4>(found[1], dy, weight, window);
                add_filters<1, 0, 4>(found[2], dy, weight, window);
                add_filters<1, 1, 4>(found[3], dy, weight, window);
                add_window<4>(to, job.line, job.pixel, window);
            } else {
                add_position<0, 0>(job, found[0], dy, weight, to);
                add_position<0, 1>(job, found[1], dy, weight, to);
                add_position<1, 0>(job, found[2], dy, weight, to);
                add_position<1, 1>(job, found[3], dy, weight, to);
            }
        }
}

void sparse_input_gradient(const SparseInputGradient& job) {
    for (Index vector = 0; vector < job.input_vectors; ++vector)
        for (Index first = 0; first < job.channels; first += word_filters) add_block(job, vector, first);
}

}  // namespace
