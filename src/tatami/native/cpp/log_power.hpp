// Powers of frequencies on a logarithmic scale: y = log(1 + p), p = gain·(re² + im²).
//
//   dre = 2·gain·dy·re / (1 + p)        dim = 2·gain·dy·im / (1 + p)
//
// The sum w = 1 + p is rounded; what it lost, p - (w - 1), is put back divided by w, the slope of the logarithm, so that small
// powers keep their digits. Numbers come one after the other, a vector at a time, the last one partial.
#pragma once

#include "elementwise.hpp"
#include "local_response.hpp"
#include "vector.hpp"

namespace {

TATAMI_INLINE Vector power_of(const float* real, const float* imaginary, float gain, Index i, int n) {
    const Vector re = load_some(real + i, n), im = load_some(imaginary + i, n);
    return broadcast(gain) * (re * re + im * im);
}

void log_power(const float* real, const float* imaginary, float gain, float* y, Index count) {
    const Vector one = broadcast(1.0f);
    for_each_vector(count, [&](Index i, int n) {
        const Vector p = power_of(real, imaginary, gain, i, n), w = one + p;
        store_some(y + i, logarithm(w) + (p - (w - one)) / w, n);
    });
}

void log_power_gradient(const float* real, const float* imaginary, float gain, const float* dy, float* dreal,
                        float* dimaginary, Index count, bool accumulate) {
    for_each_vector(count, [&](Index i, int n) {
        const Vector p = power_of(real, imaginary, gain, i, n);
        const Vector slope = broadcast(2.0f * gain) * load_some(dy + i, n) / (broadcast(1.0f) + p);
        Vector re = slope * load_some(real + i, n), im = slope * load_some(imaginary + i, n);
        if (accumulate) {
            re += load_some(dreal + i, n);
            im += load_some(dimaginary + i, n);
        }
        store_some(dreal + i, re, n);
        store_some(dimaginary + i, im, n);
    });
}

}  // namespace
