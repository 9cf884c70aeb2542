// A 1×1 convolution of what ReLU has left, forward, or of a gradient that went back through ReLU: zeros are skipped.
//
//   output(p, k) = bias(k) + sum over rows r with input(p, r) != 0 of input(p, r) · weight(r, k)
//
// About every second operand is zero there. For one pixel the others are the bits of a mask, which is walked, with up to 64
// filters side by side in registers: a row costs their weights' loads, which go with the multiplications, and one broadcast.
// Rows come in the order of correlate.hpp, and a product with zero adds nothing: both give the same bits. If no operand is zero
// this takes about as long as the dense tile.
// Rows are taken 64 at a time, one mask, so that their weights (16 KB) stay in the first-level cache for all pixels.
#pragma once

#include "correlate.hpp"

namespace {

using tatami::SkippingImage;

constexpr int skipping_rows = 64;
constexpr int skipping_vectors = 64 / lanes < 8 ? 64 / lanes : 8;  // of filters: panels of two, side by side

TATAMI_INLINE std::uint64_t nonzero(const float* x, Index count) {
    std::uint64_t bits = 0;
    for (Index i = 0; i < count; i += lanes) bits |= std::uint64_t{bits_of(load(x + i) != zero())} << i;
    return count < skipping_rows ? bits & ((std::uint64_t{1} << count) - 1) : bits;
}

template <int vectors>
void skipping_block(const SkippingImage& job, Index first, Index count, const float* weight, Index k) {
    const bool begin = first == 0, end = first + count == job.rows;
    for (Index i = 0; i < job.lines * job.pixels; ++i) {
        const Index line = i / job.pixels, p = i % job.pixels;
        const float* const x = job.input + line * job.input_line + p * job.input_stride + first;
        float* const to = job.output + line * job.output_line + p * job.output_stride + k;
        Vector sum[vectors];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v)
            sum[v] = !begin ? load(to + v * lanes) : job.bias ? load(job.bias + k + v * lanes) : zero();
        for (std::uint64_t mask = nonzero(x, count); mask != 0; mask &= mask - 1) {
            const int r = __builtin_ctzll(mask);
            const Vector g = broadcast(x[r]);
            const float* const w = weight + r * (2 * lanes);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; ++v)
                sum[v] = multiply_add(g, load(w + v / 2 * job.panel_floats + v % 2 * lanes), sum[v]);
        }
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) store(to + v * lanes, end && job.relu ? relu(sum[v]) : sum[v]);
    }
}

void correlate_skipping(const SkippingImage& job) {
    constexpr Index block = skipping_vectors * lanes;
    for (Index k = 0; k < job.columns; k += block)
        for (Index first = 0; first < job.rows; first += skipping_rows) {
            const Index left = job.rows - first, count = left < skipping_rows ? left : skipping_rows;
            const float* const weight = job.weight + k / (2 * lanes) * job.panel_floats + first * (2 * lanes);
            skipping_block<skipping_vectors>(job, first, count, weight, k);
        }
}

}  // namespace
