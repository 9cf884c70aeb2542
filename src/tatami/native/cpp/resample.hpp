// A linear map along each axis (padding, up-sampling), one line of output pixels at a time; the vector runs over channels.
//
//   y(i) = Σ w_d(i, t)·w_h(i, u)·w_w(i, v) · x(source_d(i, t), source_h(i, u), source_w(i, v))   over the taps t, u, v
//   dx(source) += w·dy(i)        output by output in row order
//
// A tap of weight 0 is not looked at; what the weights of a pixel are short of 1 is filled with a constant. Depth and row are
// the same for the whole line, so their taps are the outer loops of a pixel. There is nothing to tile: few taps, each read
// for consecutive channels.
#pragma once

#include "layer_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;
using tatami::ResampledLine;

// Calls visit(offset in the image, weight) for every tap of a pixel.
template <typename Visit>
TATAMI_INLINE void for_each_source(const ResampledLine& line, Index pixel, Visit visit) {
    const Index* const sources = line.sources[2] + pixel * line.taps[2];
    const float* const weights = line.weights[2] + pixel * line.taps[2];
    for (Index d = 0; d < line.taps[0]; ++d)
        for (Index h = 0; h < line.taps[1]; ++h) {
            const float weight = line.weights[0][d] * line.weights[1][h];
            if (weight == 0.0f) continue;
            const Index row = line.sources[0][d] * line.step[0] + line.sources[1][h] * line.step[1];
            for (Index w = 0; w < line.taps[2]; ++w)
                if (weights[w] != 0.0f) visit(row + sources[w] * line.step[2], weight * weights[w]);
        }
}

void resample(const ResampledLine& line) {
    for (Index p = 0; p < line.pixels; ++p) {
        float missing = 0.0f;
        if (line.fill != 0.0f) {
            missing = 1.0f;
            for_each_source(line, p, [&](Index, float weight) { missing -= weight; });
        }
        const Vector filled = broadcast(line.fill * missing);
        for (Index c = 0; c < line.channels; c += lanes) {
            Vector sum = filled;
            for_each_source(line, p, [&](Index offset, float weight) {
                sum = multiply_add(broadcast(weight), load(line.x + offset + c), sum);
            });
            store(line.output + p * line.line_stride + c, sum);
        }
    }
}

void resample_gradient(const ResampledLine& line) {
    for (Index p = 0; p < line.pixels; ++p)
        for_each_source(line, p, [&](Index offset, float weight) {
            for (Index c = 0; c < line.channels; c += lanes) {
                float* const dx = line.output + offset + c;
                store(dx, multiply_add(broadcast(weight), load(line.x + p * line.line_stride + c), load(dx)));
            }
        });
}

}  // namespace
