// Depthwise convolution: every channel has a filter of its own, so the vector runs over channels.
//
//   output(p, c) = bias(c) + sum over taps t of input(p · input_stride + offset(t) + c) · weight(t, c)
//
// Tile: 4 pixels of one vector of channels, so that four sums are under way at once and each weight is loaded once for
// four products. The input gradient is the same sum with dy as input and the taps that reach a position.
// Weight gradient: dweight(t, c) = sum over pixels of input(p + offset(t), c) · dy(p, c), up to 5 taps in registers.
#pragma once

#include "correlate.hpp"

namespace {

using tatami::DepthwiseRow;
using tatami::DepthwiseWeightGradient;

template <int pixels>
void depthwise_tile(const DepthwiseRow& row, Index first_pixel, Index c) {
    const float* const input = row.input + first_pixel * row.input_stride + c;
    float* const output = row.output + first_pixel * row.output_stride + c;
    Vector sum[pixels];
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p) sum[p] = row.bias ? load(row.bias + c) : zero();
    for (Index t = 0; t < row.taps; ++t) {
        const Vector w = load(row.weight + row.weight_offsets[t] + c);
        const float* const x = input + row.tap_offsets[t];
#pragma GCC unroll 4
        for (int p = 0; p < pixels; ++p) sum[p] = multiply_add(load(x + p * row.input_stride), w, sum[p]);
    }
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p) {
        float* const to = output + p * row.output_stride;
        const Vector y = row.relu ? relu(sum[p]) : sum[p];
        store(to, row.accumulate ? load(to) + y : y);
    }
}

void depthwise(const DepthwiseRow& row) {
    for (Index c = 0; c < row.channels; c += lanes) {
        Index p = 0;
        for (; p + 4 <= row.pixels; p += 4) depthwise_tile<4>(row, p, c);
        for (; p < row.pixels; ++p) depthwise_tile<1>(row, p, c);
    }
}

template <int taps>
void depthwise_gradient_taps(const DepthwiseWeightGradient& job, Index first_tap, Index c) {
    Vector sum[taps];
    float* const to = job.dweight + first_tap * job.channels + c;
#pragma GCC unroll 5
    for (int t = 0; t < taps; ++t) sum[t] = job.accumulate ? load(to + t * job.channels) : zero();
    for (Index line = 0; line < job.lines; ++line) {
        const float* x = job.input + line * job.input_line + c;
        const float* dy = job.dy + line * job.dy_line + c;
        for (Index p = 0; p < job.pixels; ++p, x += job.input_stride, dy += job.dy_stride) {
            const Vector d = load(dy);
#pragma GCC unroll 5
            for (int t = 0; t < taps; ++t)
                sum[t] = multiply_add(load(x + job.tap_offsets[first_tap + t]), d, sum[t]);
        }
    }
    const Index left = job.valid_channels - c;
#pragma GCC unroll 5
    for (int t = 0; t < taps; ++t)
        store(to + t * job.channels, left >= lanes ? sum[t] : first_lanes(sum[t], static_cast<int>(left)));
}

void depthwise_weight_gradient(const DepthwiseWeightGradient& job) {
    for (Index c = 0; c < job.channels; c += lanes) {
        Index t = 0;
        for (; t + 5 <= job.taps; t += 5) depthwise_gradient_taps<5>(job, t, c);
        for (; t + 3 <= job.taps; t += 3) depthwise_gradient_taps<3>(job, t, c);
        for (; t < job.taps; ++t) depthwise_gradient_taps<1>(job, t, c);
    }
}

}  // namespace
