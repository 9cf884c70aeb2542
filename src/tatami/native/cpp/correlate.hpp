// Correlation of one row of output pixels with one panel of filters: the workhorse.
//
//   output(p, k) = bias(k) + sum over rows r of input(p · input_stride + offset(r)) · weight(r, k)
//
// A row r of the weight matrix is one tap of the window at one input channel. The rows come in segments, stretches of
// input that lie side by side in memory: with channels-last images and no dilation a whole row of the window is one
// segment. The same sum serves the forward pass (segments = taps), the input gradient (segments = the taps that reach
// an input position, input = dy, weight transposed), and dense layers (pixels = images, one long segment).
//
// Tile: up to `tile_pixels` pixels × 2 vectors of filters, all sums held in registers: 14×2 accumulators, two vectors
// of weights and one broadcast input use 31 of AVX-512's 32 registers, 6×2 use 15 of 16 elsewhere. For every weight row
// the tile loads 2 vectors and as many floats as it has pixels, and multiplies twice as often as it loads.
// A row of pixels is cut into tiles of nearly equal size, so that no tile is left with a single pixel.
//
// `Product` says what a row holds: floats, or pairs of bf16 in 32-bit words; strides and offsets then count words. pairs.hpp.
//
// Every sum runs over r in the same order, whatever the tile: results do not depend on how pixels or images are grouped.
#pragma once

#include "kernel_table.hpp"
#include "pairs.hpp"
#include "vector.hpp"

namespace {

using tatami::CorrelateRow;
using tatami::Index;
using tatami::Segment;

#if defined(__AVX512F__)
constexpr int tile_pixels = 14;
#elif defined(__ARM_NEON)
constexpr int tile_pixels = 12;
#else
constexpr int tile_pixels = 6;
#endif

template <class Product, int pixels, int vectors>
void correlate_tile(const CorrelateRow& row, const float* input, float* output) {
    constexpr int thirds = (pixels + 2) / 3;  // x86 addresses base + {0, 1, 2}·stride for free
    const Index stride = row.input_stride;
    Vector sum[pixels][vectors];
#pragma GCC unroll 16
    for (int p = 0; p < pixels; ++p)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sum[p][v] = row.bias ? load(row.bias + v * lanes) : zero();

    const float* weight = row.weight;
    for (Index s = 0; s < row.segment_count; ++s) {
        const float* base[thirds];
#pragma GCC unroll 8
        for (int t = 0; t < thirds; ++t) base[t] = input + row.segments[s].offset + 3 * t * stride;
        const float* const end = weight + row.segments[s].length * (vectors * lanes);
        for (; weight != end; weight += vectors * lanes) {
            typename Product::Row w[vectors];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) w[v] = Product::load_row(weight + v * lanes);
#pragma GCC unroll 16
            for (int p = 0; p < pixels; ++p) {
                const auto x = Product::repeat(base[p / 3] + (p % 3) * stride);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; ++v) sum[p][v] = Product::add_product(x, w[v], sum[p][v]);
            }
#pragma GCC unroll 8
            for (int t = 0; t < thirds; ++t) ++base[t];
        }
    }

    const bool whole = row.columns == vectors * lanes;
#pragma GCC unroll 16
    for (int p = 0; p < pixels; ++p)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            float* const to = output + p * row.output_stride + v * lanes;
            Vector y = row.relu ? relu(sum[p][v]) : sum[p][v];
            if (whole) {
                store(to, row.accumulate ? load(to) + y : y);
            } else {
                int left = row.columns - v * lanes;
                left = left < 0 ? 0 : (left > lanes ? lanes : left);
                store_partial(to, row.accumulate ? load_partial(to, left) + y : y, left);
            }
        }
}

template <class Product, int pixels>
void correlate_pixels(const CorrelateRow& row, const float* input, float* output) {
    if (row.vectors == 2)
        correlate_tile<Product, pixels, 2>(row, input, output);
    else
        correlate_tile<Product, pixels, 1>(row, input, output);
}

template <class Product>
void correlate(const CorrelateRow& row) {
    constexpr int most = tile_pixels - Product::spare_registers;
    const Index tiles = (row.pixels + most - 1) / most;
    Index done = 0;
    for (Index tile = 0; tile < tiles; ++tile) {
        const Index count = (row.pixels - done + tiles - tile - 1) / (tiles - tile);
        const float* const input = row.input + done * row.input_stride;
        float* const output = row.output + done * row.output_stride;
        switch (count) {
            case 1: correlate_pixels<Product, 1>(row, input, output); break;
            case 2: correlate_pixels<Product, 2>(row, input, output); break;
            case 3: correlate_pixels<Product, 3>(row, input, output); break;
            case 4: correlate_pixels<Product, 4>(row, input, output); break;
            case 5: correlate_pixels<Product, 5>(row, input, output); break;
            case 6: correlate_pixels<Product, 6>(row, input, output); break;
#if defined(__AVX512F__) || defined(__ARM_NEON)
            case 7: correlate_pixels<Product, 7>(row, input, output); break;
            case 8: correlate_pixels<Product, 8>(row, input, output); break;
            case 9: correlate_pixels<Product, 9>(row, input, output); break;
            case 10: correlate_pixels<Product, 10>(row, input, output); break;
            case 11: correlate_pixels<Product, 11>(row, input, output); break;
            case 12: correlate_pixels<Product, 12>(row, input, output); break;
#endif
#if defined(__AVX512F__)
            case 13: correlate_pixels<Product, 13>(row, input, output); break;
            case 14: correlate_pixels<Product, 14>(row, input, output); break;
#endif
            default: break;
        }
        done += count;
    }
}

}  // namespace
