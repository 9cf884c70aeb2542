// Leaky ReLU with a learned slope, a line of pixels at a time; the vector runs over channels.
//
//   y  = x where x > 0, else a(c)·x
//   dx = dy where x > 0, else a(c)·dy          da(c) += Σ x·dy over the pixels with x <= 0
//
// A vector of channels keeps its slopes and its sum in registers while it goes down the line; nothing else is tiled.
#pragma once

#include "layer_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;
using tatami::SlopedLine;

void slopes(const SlopedLine& line) {
    for (Index c = 0; c < line.channels; c += lanes) {
        const Vector a = load(line.slope + c);
        for (Index p = 0; p < line.pixels; ++p) {
            const Vector x = load(line.x + p * line.x_stride + c);
            store(line.output + p * line.output_stride + c, x > zero() ? x : a * x);
        }
    }
}

void slopes_gradient(const SlopedLine& line) {
    for (Index c = 0; c < line.channels; c += lanes) {
        const Vector a = load(line.slope + c);
        Vector sum = load(line.dslope + c);
        for (Index p = 0; p < line.pixels; ++p) {
            const Vector x = load(line.x + p * line.x_stride + c), dy = load(line.dy + p * line.dy_stride + c);
            const auto right = x > zero();
            sum += right ? zero() : x * dy;
            if (line.output == nullptr) continue;
            float* const to = line.output + p * line.output_stride + c;
            const Vector dx = right ? dy : a * dy;
            store(to, line.accumulate ? load(to) + dx : dx);
        }
        store(line.dslope + c, sum);
    }
}

}  // namespace
