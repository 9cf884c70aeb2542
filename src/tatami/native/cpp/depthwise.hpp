// Depthwise convolution: every channel has a filter of its own, so the vector runs over channels.
//
//   output(p, c) = bias(c) + sum over taps t of input(p · input_stride + offset(t) + c) · weight(t, c)
//
// Tile: 4 pixels of one vector of channels, so that four sums are under way at once and each weight is loaded once for
// four products. The input gradient is the same sum with dy as input and the taps that reach a position.
// A 3×3 window that moves by one pixel keeps its 9 weights in registers, and loads every pixel of a row once for the
// three taps that see it: 18 loads for 36 products instead of 45.
// Weight gradient: dweight(t, c) = sum over pixels of input(p + offset(t), c) · dy(p, c), up to 9 taps in registers, so that the
// image, which is larger than the first-level cache, passes by once.
#pragma once

#include "correlate.hpp"

namespace {

using tatami::DepthwiseRow;
using tatami::DepthwiseWeightGradient;

template <int pixels>
TATAMI_INLINE void store_pixels(const DepthwiseRow& row, const Vector (&sum)[pixels], Index first_pixel, Index c) {
    float* const output = row.output + first_pixel * row.output_stride + c;
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p) {
        float* const to = output + p * row.output_stride;
        const Vector y = row.relu ? relu(sum[p]) : sum[p];
        store(to, row.accumulate ? load(to) + y : y);
    }
}

template <int pixels>
void depthwise_tile(const DepthwiseRow& row, Index first_pixel, Index c) {
    const float* const input = row.input + first_pixel * row.input_stride + c;
    Vector sum[pixels];
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p) sum[p] = row.bias ? load(row.bias + c) : zero();
    for (Index t = 0; t < row.taps; ++t) {
        const Vector w = load(row.weight + row.weight_offsets[t] + c);
        const float* const x = input + row.tap_offsets[t];
#pragma GCC unroll 4
        for (int p = 0; p < pixels; ++p) sum[p] = multiply_add(load(x + p * row.input_stride), w, sum[p]);
    }
    store_pixels(row, sum, first_pixel, c);
}

// The same for windows whose weights stay in registers while a row goes by: no loop over taps.
template <int pixels, int taps>
TATAMI_INLINE void few_taps_tile(const DepthwiseRow& row, const Vector (&weight)[taps], const Index (&offset)[taps], Vector bias,
                                 Index first_pixel, Index c) {
    const float* const input = row.input + first_pixel * row.input_stride + c;
    Vector sum[pixels];
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p) sum[p] = bias;
#pragma GCC unroll 9
    for (int t = 0; t < taps; ++t)
#pragma GCC unroll 4
        for (int p = 0; p < pixels; ++p)
            sum[p] = multiply_add(load(input + offset[t] + p * row.input_stride), weight[t], sum[p]);
    store_pixels(row, sum, first_pixel, c);
}

template <int taps>
void depthwise_few_taps(const DepthwiseRow& row) {
    Index offset[taps];
#pragma GCC unroll 9
    for (int t = 0; t < taps; ++t) offset[t] = row.tap_offsets[t];
    for (Index c = 0; c < row.channels; c += lanes) {
        Vector weight[taps];
#pragma GCC unroll 9
        for (int t = 0; t < taps; ++t) weight[t] = load(row.weight + row.weight_offsets[t] + c);
        const Vector bias = row.bias ? load(row.bias + c) : zero();
        Index p = 0;
        for (; p + 4 <= row.pixels; p += 4) few_taps_tile<4>(row, weight, offset, bias, p, c);
        for (; p < row.pixels; ++p) few_taps_tile<1>(row, weight, offset, bias, p, c);
    }
}

// The taps of a 3×3 window in rows of three, whose neighbours are `step` floats apart (backwards for the input gradient).
struct ThreeRows {
    Index offset[3], step;
};

bool three_rows(const DepthwiseRow& row, ThreeRows& rows) {
    if (row.taps != 9 || row.pixels < 2) return false;
    rows.step = row.tap_offsets[1] - row.tap_offsets[0];
    if (rows.step != row.input_stride && rows.step != -row.input_stride) return false;
    for (int r = 0; r < 3; ++r) {
        rows.offset[r] = row.tap_offsets[3 * r];
        for (int t = 1; t < 3; ++t)
            if (row.tap_offsets[3 * r + t] != rows.offset[r] + t * rows.step) return false;
    }
    return true;
}

// Pixels p … p + 3 of a row need the inputs p … p + 5; which of them comes first depends on the direction, the order of a
// pixel's nine products does not.
template <int pixels, bool forwards>
TATAMI_INLINE void three_rows_tile(const DepthwiseRow& row, const ThreeRows& rows, const Vector (&weight)[9], Vector bias,
                                   Index first_pixel, Index c) {
    Vector sum[pixels];
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p) sum[p] = bias;
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
        const float* const x = row.input + first_pixel * row.input_stride + c + rows.offset[r] + (forwards ? 0 : 2 * rows.step);
#pragma GCC unroll 6
        for (int i = 0; i < pixels + 2; ++i) {
            const Vector value = load(x + i * row.input_stride);
#pragma GCC unroll 4
            for (int p = 0; p < pixels; ++p)
                if (i - p >= 0 && i - p < 3) sum[p] = multiply_add(value, weight[3 * r + (forwards ? i - p : 2 - (i - p))], sum[p]);
        }
    }
    store_pixels(row, sum, first_pixel, c);
}

template <bool forwards>
void depthwise_three_rows(const DepthwiseRow& row, const ThreeRows& rows) {
    for (Index c = 0; c < row.channels; c += lanes) {
        Vector weight[9];
#pragma GCC unroll 9
        for (int t = 0; t < 9; ++t) weight[t] = load(row.weight + row.weight_offsets[t] + c);
        const Vector bias = row.bias ? load(row.bias + c) : zero();
        Index p = 0;
        for (; p + 4 <= row.pixels; p += 4) three_rows_tile<4, forwards>(row, rows, weight, bias, p, c);
        for (; p < row.pixels; ++p) three_rows_tile<1, forwards>(row, rows, weight, bias, p, c);
    }
}

void depthwise(const DepthwiseRow& row) {
    ThreeRows rows;
    if (three_rows(row, rows)) {
        rows.step > 0 ? depthwise_three_rows<true>(row, rows) : depthwise_three_rows<false>(row, rows);
        return;
    }
    switch (row.taps) {  // 3×3, and the shares of it that a stride of 2 leaves the input gradient
        case 1: depthwise_few_taps<1>(row); return;
        case 2: depthwise_few_taps<2>(row); return;
        case 4: depthwise_few_taps<4>(row); return;
        case 9: depthwise_few_taps<9>(row); return;
        default: break;
    }
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
    Index offset[taps];
#pragma GCC unroll 9
    for (int t = 0; t < taps; ++t) offset[t] = job.tap_offsets[first_tap + t];
#pragma GCC unroll 9
    for (int t = 0; t < taps; ++t) sum[t] = job.accumulate ? load(to + t * job.channels) : zero();
    for (Index line = 0; line < job.lines; ++line) {
        const float* x = job.input + line * job.input_line + c;
        const float* dy = job.dy + line * job.dy_line + c;
        for (Index p = 0; p < job.pixels; ++p, x += job.input_stride, dy += job.dy_stride) {
            const Vector d = load(dy);
#pragma GCC unroll 9
            for (int t = 0; t < taps; ++t) sum[t] = multiply_add(load(x + offset[t]), d, sum[t]);
        }
    }
    const Index left = job.valid_channels - c;
#pragma GCC unroll 9
    for (int t = 0; t < taps; ++t)
        store(to + t * job.channels, left >= lanes ? sum[t] : first_lanes(sum[t], static_cast<int>(left)));
}

void depthwise_weight_gradient(const DepthwiseWeightGradient& job) {
    for (Index c = 0; c < job.channels; c += lanes) {
        Index t = 0;
        for (; t + 9 <= job.taps; t += 9) depthwise_gradient_taps<9>(job, t, c);
        for (; t + 5 <= job.taps; t += 5) depthwise_gradient_taps<5>(job, t, c);
        for (; t + 3 <= job.taps; t += 3) depthwise_gradient_taps<3>(job, t, c);
        for (; t < job.taps; ++t) depthwise_gradient_taps<1>(job, t, c);
    }
}

}  // namespace
