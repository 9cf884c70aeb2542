// Input gradient of a convolution with few input channels:
//
//   dx(window of output pixel p) += sum over filters k of dy(p, k) · weight(k, window)
//
// correlate.hpp gathers at every input position; its vectors run over the input's channels and are mostly empty when there are
// three or six of them. Here the vector runs along a row of the window, taps and channels together, as they lie in memory.
// Up to 5 rows × 4 vectors of one window (3 × 4 with 16 registers) are summed in registers over all filters, then added to dx,
// which has no gaps between pixels for the purpose. Windows are visited in row order, so the sums have a fixed order.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;
using tatami::ScatterGradient;

constexpr int scatter_rows = registers == 32 ? 5 : 3;
constexpr int scatter_vectors = 4;

template <int rows, int vectors>
void scatter_part(const ScatterGradient& job, Index first_row, Index at) {
    const Index filter = job.rows * job.padded_run;
    const float* const weight = job.weight + first_row * job.padded_run + at;
    for (Index h = 0; h < job.height; ++h)
        for (Index w = 0; w < job.width; ++w) {
            const float* const dy = job.dy + h * job.dy_line + w * job.dy_stride;
            Vector sum[rows][vectors] = {};
            const float* row = weight;
            for (Index k = 0; k < job.channels; ++k, row += filter) {
                const Vector g = broadcast(dy[k]);
#pragma GCC unroll 5
                for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
                    for (int v = 0; v < vectors; ++v)
                        sum[r][v] = multiply_add(g, load(row + r * job.padded_run + v * lanes), sum[r][v]);
            }
            float* const to = job.window + h * job.window_line + w * job.window_stride + first_row * job.window_row + at;
#pragma GCC unroll 5
            for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < vectors; ++v) {
                    float* const place = to + r * job.window_row + v * lanes;
                    store(place, load(place) + sum[r][v]);
                }
        }
}

template <int rows>
void scatter_rows_at(const ScatterGradient& job, Index first_row) {
    for (Index at = 0; at < job.padded_run; at += scatter_vectors * lanes) {
        const Index left = (job.padded_run - at) / lanes;
        switch (left < scatter_vectors ? left : scatter_vectors) {
            case 1: scatter_part<rows, 1>(job, first_row, at); break;
            case 2: scatter_part<rows, 2>(job, first_row, at); break;
            case 3: scatter_part<rows, 3>(job, first_row, at); break;
            case 4: scatter_part<rows, 4>(job, first_row, at); break;
            default: break;
        }
    }
}

void scatter_gradient(const ScatterGradient& job) {
    for (Index row = 0; row < job.rows;) {
        const Index left = job.rows - row, count = left < scatter_rows ? left : scatter_rows;
        switch (count) {
            case 1: scatter_rows_at<1>(job, row); break;
            case 2: scatter_rows_at<2>(job, row); break;
            case 3: scatter_rows_at<3>(job, row); break;
#if defined(__AVX512F__) || defined(__ARM_NEON)
            case 4: scatter_rows_at<4>(job, row); break;
            case 5: scatter_rows_at<5>(job, row); break;
#endif
            default: break;
        }
        row += count;
    }
}

}  // namespace
