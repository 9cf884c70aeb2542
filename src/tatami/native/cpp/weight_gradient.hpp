// Weight gradient of a correlation or a dense layer:
//
//   dweight(r, k) (+)= sum over lines l and pixels p of input(l · input_line + p · input_stride + r) · dy(l, p, k)
//
// for consecutive input floats r (a row of the window, or the features of a dense layer; then the pixels are images) and
// one panel of 1 or 2 vectors of filters k. Tile: up to `tile_pixels` rows × 2 vectors stay in registers while the sum runs
// over all pixels, always in the same order; every step loads 2 vectors of dy and one float per row. `Product` as in correlate.hpp:
// with words of bf16 a pixel is a pair of pixels.
#pragma once

#include "correlate.hpp"

namespace {

using tatami::WeightGradient;

template <class Product, int rows, int vectors>
void weight_gradient_tile(const WeightGradient& job, Index first_row) {
    Vector sum[rows][vectors];
    float* const to = job.dweight + first_row * (vectors * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v)
            sum[r][v] = job.accumulate ? load(to + (r * vectors + v) * lanes) : zero();

    for (Index line = 0; line < job.lines; ++line) {
        const float* x = job.input + line * job.input_line + first_row;
        const float* dy = job.dy + line * job.dy_line;
        for (Index p = 0; p < job.pixels; ++p) {
            typename Product::Row d[vectors];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) d[v] = Product::load_row(dy + v * lanes);
#pragma GCC unroll 16
            for (int r = 0; r < rows; ++r) {
                const auto value = Product::repeat(x + r);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; ++v) sum[r][v] = Product::add_product(value, d[v], sum[r][v]);
            }
            x += job.input_stride;
            dy += job.dy_stride;
        }
    }

#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            Vector value = sum[r][v];
            if (job.columns < (v + 1) * lanes) {
                const int left = job.columns - v * lanes;
                value = first_lanes(value, left < 0 ? 0 : left);  // neighbours' channels stay out of the padding
            }
            store(to + (r * vectors + v) * lanes, value);
        }
}

template <class Product, int rows>
void weight_gradient_rows(const WeightGradient& job, Index first_row) {
    if (job.vectors == 2)
        weight_gradient_tile<Product, rows, 2>(job, first_row);
    else
        weight_gradient_tile<Product, rows, 1>(job, first_row);
}

template <class Product>
void weight_gradient(const WeightGradient& job) {
    constexpr int most = tile_pixels - Product::spare_registers;
    const Index tiles = (job.rows + most - 1) / most;
    Index done = 0;
    for (Index tile = 0; tile < tiles; ++tile) {
        const Index count = (job.rows - done + tiles - tile - 1) / (tiles - tile);
        switch (count) {
            case 1: weight_gradient_rows<Product, 1>(job, done); break;
            case 2: weight_gradient_rows<Product, 2>(job, done); break;
            case 3: weight_gradient_rows<Product, 3>(job, done); break;
            case 4: weight_gradient_rows<Product, 4>(job, done); break;
            case 5: weight_gradient_rows<Product, 5>(job, done); break;
            case 6: weight_gradient_rows<Product, 6>(job, done); break;
#if defined(__AVX512F__) || defined(__ARM_NEON)
            case 7: weight_gradient_rows<Product, 7>(job, done); break;
            case 8: weight_gradient_rows<Product, 8>(job, done); break;
            case 9: weight_gradient_rows<Product, 9>(job, done); break;
            case 10: weight_gradient_rows<Product, 10>(job, done); break;
            case 11: weight_gradient_rows<Product, 11>(job, done); break;
            case 12: weight_gradient_rows<Product, 12>(job, done); break;
#endif
#if defined(__AVX512F__)
            case 13: weight_gradient_rows<Product, 13>(job, done); break;
            case 14: weight_gradient_rows<Product, 14>(job, done); break;
#endif
            default: break;
        }
        done += count;
    }
}

}  // namespace
