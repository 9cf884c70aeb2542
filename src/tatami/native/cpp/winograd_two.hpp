// What the two ways of F(2×2, 3×3) share, winograd_exact.hpp in floats and winograd_pairs.hpp in bf16: the transforms of one
// vector of channels or filters in registers, and how 2×2 outputs, or their maximum, are stored. The matrices stand there.
#pragma once

#include "fused_pooling.hpp"

namespace {

using tatami::Index;

// Four values through Bᵀ, in place.
TATAMI_INLINE void transform_pair_line(Vector& a, Vector& b, Vector& c, Vector& d) {
    const Vector first = a - c, second = b + c, third = c - b, fourth = b - d;
    a = first;
    b = second;
    c = third;
    d = fourth;
}

// A 4×4 patch through Bᵀ d B.
TATAMI_INLINE void transform_pair_patch(const float* input, Index line, Index pixel, Vector (&d)[4][4]) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) d[i][j] = load(input + i * line + j * pixel);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) transform_pair_line(d[0][j], d[1][j], d[2][j], d[3][j]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) transform_pair_line(d[i][0], d[i][1], d[i][2], d[i][3]);
}

// The 2×2 outputs of one tile for one vector of filters.
TATAMI_INLINE void transform_pair_back(const float* product, Index position_stride, Vector bias, Vector y[4]) {
    Vector s[2][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
        const Vector a = load(product + j * position_stride), b = load(product + (4 + j) * position_stride);
        const Vector c = load(product + (8 + j) * position_stride), d = load(product + (12 + j) * position_stride);
        s[0][j] = a + b + c;
        s[1][j] = b - c - d;
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        y[2 * i] = s[i][0] + s[i][1] + s[i][2] + bias;
        y[2 * i + 1] = s[i][1] - s[i][2] - s[i][3] + bias;
    }
}

// Behind ReLU or not: 2×2 pixels as far as the map reaches, or their maximum.
template <typename Job>
TATAMI_INLINE void store_pair_tile(const Job& job, Index row, Index column, Index filter, Vector y[4]) {
    if (job.relu)
        for (int i = 0; i < 4; ++i) y[i] = relu(y[i]);
    if (job.pool) {
        float* const to = job.output + row * job.output_line + column * job.output_pixel + filter;
        if (job.code == nullptr) {
            store(to, larger(larger(larger(y[0], y[1]), y[2]), y[3]));
            return;
        }
        Integers code;
        store(to, maximum_of_four(y[0], y[1], y[2], y[3], code));
        store_bytes(job.code + row * job.code_line + column * job.code_stride + filter, code);
        return;
    }
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            if (2 * row + i >= job.height || 2 * column + j >= job.width) continue;
            float* const to = job.output + (2 * row + i) * job.output_line + (2 * column + j) * job.output_pixel + filter;
            store(to, job.accumulate ? load(to) + y[2 * i + j] : y[2 * i + j]);
        }
}

// Three taps through G.
TATAMI_INLINE void transform_pair_taps(Vector a, Vector b, Vector c, Vector to[4]) {
    const Vector half = broadcast(0.5f), sum = (a + c) * half;
    to[0] = a;
    to[1] = multiply_add(b, half, sum);
    to[2] = sum - b * half;
    to[3] = c;
}

// One vector of filters of one channel, whose taps lie `step` floats apart, through G g Gᵀ.
TATAMI_INLINE void transform_nine_taps(const float* weight, Index step, bool reversed, Vector transformed[16]) {
    Vector half_done[3][4];
    for (int row = 0; row < 3; ++row) {
        Vector g[3];
        for (int column = 0; column < 3; ++column) {
            const int tap = row * 3 + column;
            g[column] = load(weight + (reversed ? 8 - tap : tap) * step);
        }
        transform_pair_taps(g[0], g[1], g[2], half_done[row]);
    }
    for (int column = 0; column < 4; ++column) {
        Vector done[4];
        transform_pair_taps(half_done[0][column], half_done[1][column], half_done[2][column], done);
        for (int row = 0; row < 4; ++row) transformed[row * 4 + column] = done[row];
    }
}

}  // namespace
