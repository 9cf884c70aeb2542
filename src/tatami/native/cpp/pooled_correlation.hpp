// A convolution, ReLU and 2×2 maxima in one go: four output pixels stay in registers until their maximum is known.
//
//   output(p, k) = max over rows i and columns j of {0, 1} of relu(bias(k) + sum over r of input(i, 2p + j, r) · weight(r, k))
//
// Layout as in correlate.hpp, for two rows of input at once. Windows of few floats (a grey image's 3×3 has 9) spend as much
// time with storing pixels and reading them again for the maxima as with multiplying; here nothing but maxima is stored.
// Tile: 3 pooled pixels × 4 positions × 2 vectors of filters are 24 sums, with two vectors of weights and one broadcast input 27
// of AVX-512's 32 registers; with 16 registers one pooled pixel, 8 sums. Every sum runs over r in order, as in correlate.hpp, so
// both give the same bits.
#pragma once

#include "fused_pooling.hpp"

namespace {

using tatami::PooledRow;

constexpr int pooled_pixels = registers == 32 ? 3 : 1;

template <int pooled, int vectors>
void pooled_tile(const PooledRow& job, Index first) {
    const Index stride = job.input_stride;
    const float* const input = job.input + 2 * first * stride;
    Vector sum[4 * pooled][vectors];
#pragma GCC unroll 12
    for (int p = 0; p < 4 * pooled; ++p)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sum[p][v] = load(job.bias + v * lanes);

    const float* weight = job.weight;
    for (Index s = 0; s < job.segment_count; ++s) {
        const float* upper = input + job.segments[s].offset;
        const float* lower = upper + job.input_line;
        const float* const end = weight + job.segments[s].length * (vectors * lanes);
        for (; weight != end; weight += vectors * lanes, ++upper, ++lower) {
            Vector w[vectors];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) w[v] = load(weight + v * lanes);
#pragma GCC unroll 12
            for (int p = 0; p < 4 * pooled; ++p) {  // four of one pooled pixel side by side
                // The row by its own name: gcc 12 under -fsanitize=undefined loses the index of (a ? b : c)[index].
                const float* const row = p % 4 < 2 ? upper : lower;
                const Vector x = broadcast(row[(p / 4 * 2 + p % 2) * stride]);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; ++v) sum[p][v] = multiply_add(x, w[v], sum[p][v]);
            }
        }
    }

#pragma GCC unroll 3
    for (int p = 0; p < pooled; ++p)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            const Vector a = relu(sum[4 * p][v]), b = relu(sum[4 * p + 1][v]);
            const Vector c = relu(sum[4 * p + 2][v]), d = relu(sum[4 * p + 3][v]);
            const Index at = (first + p) * job.output_stride + v * lanes;
            if (job.code == nullptr) {
                store(job.output + at, larger(larger(larger(a, b), c), d));
                continue;
            }
            Integers code;
            store(job.output + at, maximum_of_four(a, b, c, d, code));
            store_bytes(job.code + (first + p) * job.code_stride + v * lanes, code);
        }
}

template <int vectors>
void pooled_row(const PooledRow& job) {
    Index first = 0;
    for (; first + pooled_pixels <= job.pixels; first += pooled_pixels) pooled_tile<pooled_pixels, vectors>(job, first);
    if constexpr (pooled_pixels > 1) {
        if (job.pixels - first == 2) pooled_tile<2, vectors>(job, first);
        if (job.pixels - first == 1) pooled_tile<1, vectors>(job, first);
    }
}

void correlate_and_pool(const PooledRow& job) {
    if (job.vectors == 2)
        pooled_row<2>(job);
    else
        pooled_row<1>(job);
}

}  // namespace
