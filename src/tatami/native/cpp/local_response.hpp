// Local response normalisation of one line of pixels: a number is damped by the activity of neighbouring channels.
//
//   d(c) = k + α Σ x(j)²         over the channels j from c - before to c + after that exist
//   y(c) = x(c) · d(c)^-β
//   dx(c) = dy(c)·d(c)^-β - 2αβ·x(c) · Σ t(j)     t = dy·x·d^(-β-1), over j from c - after to c + before: who counts c
//
// Channels lie side by side, so the vector runs over them and a sum over neighbours is a sum of loads at moved addresses. The
// terms of one pixel stand in scratch memory with zeros on both sides for the channels that do not exist; there is nothing
// else to tile, a pixel stays in the first cache. d^-β is e^(-β·log d), right to 1e-6 for the d that occur.
#pragma once

#include "elementwise.hpp"
#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::LocalResponse;

// log x for normal x > 0: x = m·2^e with √½ <= m < √2, Cephes' polynomial in m - 1, and e·log 2 in two pieces.
TATAMI_INLINE Vector logarithm(Vector x) {
    Integers bits;
    std::memcpy(&bits, &x, sizeof bits);
    Integers exponent = ((bits >> 23) & 255) - 127;
    Integers fraction = (bits & 0x007FFFFF) | 0x3F800000;  // from 1 to 2
    Vector m;
    std::memcpy(&m, &fraction, sizeof m);
    const auto large = m > broadcast(1.41421356f);
    m = large ? broadcast(0.5f) * m : m;
    exponent -= large;  // a true lane is -1
    const Vector e = __builtin_convertvector(exponent, Vector);
    const Vector r = m - broadcast(1.0f), square = r * r;
    Vector result = multiply_add(e, broadcast(-2.12194440e-4f), logarithm_polynomial(r) * r * square);
    result = multiply_add(broadcast(-0.5f), square, result) + r;
    return multiply_add(e, broadcast(0.693359375f), result);
}

TATAMI_INLINE Vector sum_of_neighbours(const float* terms, Index neighbours) {
    Vector sum = load(terms);
    for (Index j = 1; j < neighbours; ++j) sum += load(terms + j);
    return sum;
}

// The squares of one pixel into scratch, behind `before` zeros, and as many zeros and a vector more behind them.
TATAMI_INLINE void spread(float* terms, Index before, Index channels, Index size) {
    for (Index i = 0; i < before; ++i) terms[i] = 0.0f;
    for (Index i = before + channels; i < before + channels + size + lanes; ++i) terms[i] = 0.0f;
}

void local_response(const LocalResponse& job) {
    const Vector alpha = broadcast(job.alpha), k = broadcast(job.k), power = broadcast(-job.beta);
    float* const terms = job.scratch;
    spread(terms, job.before, job.channels, job.size);
    for (Index p = 0; p < job.pixels; ++p) {
        const float* const x = job.x + p * job.x_stride;
        float* const y = job.output + p * job.output_stride;
        multiply(x, x, terms + job.before, job.channels, false);
        for_each_vector(job.channels, [&](Index c, int n) {
            const Vector d = multiply_add(alpha, sum_of_neighbours(terms + c, job.size), k);
            store_some(y + c, load_some(x + c, n) * exponential(power * logarithm(d)), n);
        });
    }
}

void local_response_gradient(const LocalResponse& job) {
    const Vector alpha = broadcast(job.alpha), k = broadcast(job.k), power = broadcast(-job.beta);
    const Vector twice = broadcast(-2.0f * job.alpha * job.beta);
    const Index after = job.size - 1 - job.before, room = job.channels + 2 * job.size + 2 * lanes;
    float *const terms = job.scratch, *const through = terms + room, *const damping = through + room;
    spread(terms, job.before, job.channels, job.size);
    spread(through, after, job.channels, job.size);
    for (Index p = 0; p < job.pixels; ++p) {
        const float* const x = job.x + p * job.x_stride;
        const float* const dy = job.dy + p * job.dy_stride;
        float* const dx = job.output + p * job.output_stride;
        multiply(x, x, terms + job.before, job.channels, false);
        for_each_vector(job.channels, [&](Index c, int n) {
            const Vector d = multiply_add(alpha, sum_of_neighbours(terms + c, job.size), k);
            const Vector damped = exponential(power * logarithm(d));
            store_some(damping + c, damped, n);
            store_some(through + after + c, load_some(dy + c, n) * load_some(x + c, n) * damped / d, n);
        });
        for_each_vector(job.channels, [&](Index c, int n) {
            Vector gradient = load_some(dy + c, n) * load_some(damping + c, n);
            gradient = multiply_add(twice * load_some(x + c, n), sum_of_neighbours(through + c, job.size), gradient);
            if (job.accumulate) gradient += load_some(dx + c, n);
            store_some(dx + c, gradient, n);
        });
    }
}

}  // namespace
