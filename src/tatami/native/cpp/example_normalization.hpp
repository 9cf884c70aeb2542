// Normalisation within one example: what batch normalisation's kernels (normalization.hpp) do not have.
//
// Over the channels of a pixel (normalize_pixels), m of them, by itself for every pixel:
//
//   mean = Σ x / m     σ² = Σ (x - mean)² / m     x̂ = (x - mean) / √(σ² + ε)     y = γ·x̂ + β
//   dγ += dy·x̂     dβ += dy     dx = (γ·dy - Σ γ·dy / m - x̂·Σ γ·dy·x̂ / m) / √(σ² + ε)
//
// The vector runs over the channels; a pixel stays in the first cache while it is read three times, so there is nothing to
// tile, and mean and deviation are found again on the way back, which is cheaper than to keep them. The sum over a vector's
// lanes is made lane by lane in order.
//
// With a scale and a bias for every number of the example (normalize_values), whose mean and deviation are known:
//
//   y = (x - mean)·inverse·γ + β     dγ += dy·(x - mean)·inverse     dβ += dy     out: γ·dy
//
// The gradient of a set of which mean and deviation spread over several channels (normalize_set_gradient), the factors
// prepared for every channel:   dx = factor·dy - bias - (x - mean)·slope
#pragma once

#include "elementwise.hpp"
#include "layer_table.hpp"
#include "vector.hpp"

namespace {

using tatami::NormalizedLine;
using tatami::PixelsLine;
using tatami::ValuesLine;

TATAMI_INLINE float sum_of_lanes(Vector value) {
    float sum = value[0];
    for (int lane = 1; lane < lanes; ++lane) sum += value[lane];
    return sum;
}

struct Moments {
    float mean, inverse;
};

TATAMI_INLINE Moments moments_of(const float* x, Index channels, double epsilon) {
    Vector sum = zero();
    for_each_vector(channels, [&](Index c, int n) { sum += load_some(x + c, n); });
    const float mean = sum_of_lanes(sum) / static_cast<float>(channels);
    Vector squares = zero();
    for_each_vector(channels, [&](Index c, int n) {
        const Vector centred = first_lanes(load_some(x + c, n) - broadcast(mean), n);
        squares = multiply_add(centred, centred, squares);
    });
    const double variance = static_cast<double>(sum_of_lanes(squares)) / static_cast<double>(channels);
    return {mean, static_cast<float>(1.0 / __builtin_sqrt(variance + epsilon))};
}

void normalize_pixels(const PixelsLine& line) {
    for (Index p = 0; p < line.pixels; ++p) {
        const float* const x = line.x + p * line.x_stride;
        const Moments moments = moments_of(x, line.channels, line.epsilon);
        const Vector mean = broadcast(moments.mean), inverse = broadcast(moments.inverse);
        for_each_vector(line.channels, [&](Index c, int n) {
            const Vector x_hat = (load_some(x + c, n) - mean) * inverse;
            const Vector y = multiply_add(x_hat, load_some(line.scale + c, n), load_some(line.bias + c, n));
            store_some(line.output + p * line.output_stride + c, line.relu ? relu(y) : y, n);
        });
    }
}

void normalize_pixels_gradient(const PixelsLine& line) {
    for (Index p = 0; p < line.pixels; ++p) {
        const float* const x = line.x + p * line.x_stride;
        const float* const dy = line.dy + p * line.dy_stride;
        const Moments moments = moments_of(x, line.channels, line.epsilon);
        const Vector mean = broadcast(moments.mean), inverse = broadcast(moments.inverse);
        Vector shift = zero(), stretch = zero();
        for_each_vector(line.channels, [&](Index c, int n) {
            const Vector x_hat = (load_some(x + c, n) - mean) * inverse, given = load_some(dy + c, n);
            store_some(line.dscale + c, multiply_add(given, x_hat, load_some(line.dscale + c, n)), n);
            store_some(line.dbias + c, load_some(line.dbias + c, n) + given, n);
            const Vector scaled = given * load_some(line.scale + c, n);
            shift += scaled;  // the lanes beyond the last channel are 0
            stretch = multiply_add(scaled, x_hat, stretch);
        });
        if (line.output == nullptr) continue;
        const float share = 1.0f / static_cast<float>(line.channels);
        const Vector mean_shift = broadcast(sum_of_lanes(shift) * share), mean_stretch = broadcast(sum_of_lanes(stretch) * share);
        float* const dx = line.output + p * line.output_stride;
        for_each_vector(line.channels, [&](Index c, int n) {
            const Vector x_hat = (load_some(x + c, n) - mean) * inverse;
            Vector d = (load_some(dy + c, n) * load_some(line.scale + c, n) - mean_shift - x_hat * mean_stretch) * inverse;
            if (line.accumulate) d += load_some(dx + c, n);
            store_some(dx + c, d, n);
        });
    }
}

void normalize_values(const ValuesLine& line) {
    for (Index p = 0; p < line.pixels; ++p)
        for (Index c = 0; c < line.channels; c += lanes) {
            const Vector x_hat = (load(line.x + p * line.x_stride + c) - load(line.mean + c)) * load(line.inverse + c);
            const Index at = p * line.channels + c;
            const Vector y = multiply_add(x_hat, load(line.scale + at), load(line.bias + at));
            store(line.output + p * line.output_stride + c, line.relu ? relu(y) : y);
        }
}

void normalize_values_gradient(const ValuesLine& line) {
    for (Index p = 0; p < line.pixels; ++p)
        for (Index c = 0; c < line.channels; c += lanes) {
            const Vector x_hat = (load(line.x + p * line.x_stride + c) - load(line.mean + c)) * load(line.inverse + c);
            const Vector dy = load(line.dy + p * line.dy_stride + c);
            const Index at = p * line.channels + c;
            store(line.dscale + at, multiply_add(dy, x_hat, load(line.dscale + at)));
            store(line.dbias + at, load(line.dbias + at) + dy);
            store(line.output + p * line.output_stride + c, dy * load(line.scale + at));
        }
}

void normalize_set_gradient(const NormalizedLine& line) {
    for (Index c = 0; c < line.channels; c += lanes) {
        const Vector mean = load(line.mean + c), factor = load(line.factor + c);
        const Vector bias = load(line.bias + c), slope = load(line.slope + c);
        for (Index p = 0; p < line.pixels; ++p) {
            const Vector centred = load(line.x + p * line.x_stride + c) - mean;
            const Vector dx = load(line.dy + p * line.dy_stride + c) * factor - bias - centred * slope;
            float* const to = line.output + p * line.output_stride + c;
            store(to, line.accumulate ? load(to) + dx : dx);
        }
    }
}

}  // namespace
