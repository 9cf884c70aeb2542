// Batch normalisation, a line of pixels at a time; the vector runs over channels.
//
//   centred_sums        sums(c) += sum over pixels of (x - mean)²            without dy
//                       sums(c) += sum over pixels of dy · (x - mean)        with dy
//   normalize           y  = (x - mean) · factor + bias                      factor = γ / √(σ² + ε)
//   normalize_gradient  dx = factor · (dy - bias - (x - mean) · slope)       bias = mean of dy, slope = mean of dy·(x - mean) / (σ² + ε)
//
// x - mean is formed first and never multiplied out: with a mean far from 0 the other order would cancel digits.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;
using tatami::NormalizedLine;

void centred_sums(const NormalizedLine& line) {
    for (Index c = 0; c < line.channels; c += lanes) {
        const Vector mean = load(line.mean + c);
        Vector sum = load(line.output + c);
        for (Index p = 0; p < line.pixels; ++p) {
            const Vector centred = load(line.x + p * line.x_stride + c) - mean;
            sum = multiply_add(centred, line.dy ? load(line.dy + p * line.dy_stride + c) : centred, sum);
        }
        store(line.output + c, sum);
    }
}

void normalize(const NormalizedLine& line) {
    for (Index c = 0; c < line.channels; c += lanes) {
        const Vector mean = load(line.mean + c), factor = load(line.factor + c), bias = load(line.bias + c);
        for (Index p = 0; p < line.pixels; ++p) {
            const Vector y = multiply_add(load(line.x + p * line.x_stride + c) - mean, factor, bias);
            store(line.output + p * line.output_stride + c, line.relu ? relu(y) : y);
        }
    }
}

void normalize_gradient(const NormalizedLine& line) {
    for (Index c = 0; c < line.channels; c += lanes) {
        const Vector mean = load(line.mean + c), factor = load(line.factor + c);
        const Vector bias = load(line.bias + c), slope = load(line.slope + c);
        for (Index p = 0; p < line.pixels; ++p) {
            const Vector centred = load(line.x + p * line.x_stride + c) - mean;
            const Vector dx = factor * (load(line.dy + p * line.dy_stride + c) - bias - centred * slope);
            float* const to = line.output + p * line.output_stride + c;
            store(to, line.accumulate ? load(to) + dx : dx);
        }
    }
}

}  // namespace
