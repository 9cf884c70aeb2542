// An activation and 2×2 pooling with stride 2, the last steps of a convolution: two rows of pixels become one pooled row.
//
//   maxima     output(p, c) = max over the window of f(x),  code(p, c) = the position that won, winner(p, c) = its x
//   averages   output(p, c) = sum over the window of f(x) / 4
//
// The two rows were just written and lie in the first-level cache; the vector runs over channels. Signals have windows of
// 1×2, and no lower row. The activation comes before the maximum, though most activations never fall: f(x) of two different x
// may be the same float (tanh 9.1 = tanh 9.2 = 1), and the first of equal f(x) wins, as in the reference, where the larger x
// need not be the first. For the way back through maxima f'(winner) on pooled rows is enough (curve_gradient); through averages
// every pixel has a slope of its own.
#pragma once

#include "activations.hpp"
#include "fused_pooling.hpp"

namespace {

using tatami::ActivatedPair;
using tatami::ActivatedPairGradient;

template <int rows, typename Function>
TATAMI_INLINE void maxima_of_activated(const ActivatedPair& job, Function function) {
    for (Index p = 0; p < job.pixels; ++p)
        for (Index c = 0; c < job.channels; c += lanes) {
            const float* const line[2] = {job.upper + 2 * p * job.stride + c, rows == 2 ? job.lower + 2 * p * job.stride + c : nullptr};
            Vector seen = load(line[0]), best = function(seen);
            Integers won{};
#pragma GCC unroll 4
            for (int i = 1; i < 2 * rows; ++i) {
                const Vector x = load((i < 2 ? line[0] : line[1]) + i % 2 * job.stride), y = function(x);
                const auto larger_one = y > best;
                won = larger_one ? Integers{} + i : won;
                seen = larger_one ? x : seen;
                best = larger_one ? y : best;
            }
            store(job.output + p * job.output_stride + c, best);
            if (job.code) store_bytes(job.code + p * job.code_stride + c, won);
            if (job.winner) store(job.winner + p * job.winner_stride + c, seen);
        }
}

template <int rows, typename Function>
TATAMI_INLINE void averages_of_activated(const ActivatedPair& job, Function function) {
    const Vector share = broadcast(0.5f / rows);
    for (Index p = 0; p < job.pixels; ++p)
        for (Index c = 0; c < job.channels; c += lanes) {
            Vector sum = zero();
#pragma GCC unroll 4
            for (int i = 0; i < 2 * rows; ++i) {
                float* const at = (i < 2 ? job.upper : job.lower) + (2 * p + i % 2) * job.stride + c;
                const Vector y = function(load(at));
                if (job.keep_activated) store(at, y);
                sum += y;
            }
            store(job.output + p * job.output_stride + c, sum * share);
        }
}

void activate_pair(const ActivatedPair& job) {
    with_function(job.curve, [&](auto function) {
        if (job.average)
            job.lower ? averages_of_activated<2>(job, function) : averages_of_activated<1>(job, function);
        else
            job.lower ? maxima_of_activated<2>(job, function) : maxima_of_activated<1>(job, function);
    });
}

void activate_pair_gradient(const ActivatedPairGradient& job) {
    const Vector share = broadcast(job.dx[1] ? 0.25f : 0.5f);
    with_slope(job.curve, [&](auto slope) {
        for (Index p = 0; p < job.pixels; ++p)
            for (Index c = 0; c < job.channels; c += lanes) {
                const Vector d = load(job.dy + p * job.dy_stride + c) * share;
                for (int row = 0; row < (job.dx[1] ? 2 : 1); ++row)
                    for (Index i = 2 * p; i < 2 * p + 2; ++i)
                        store(job.dx[row] + i * job.dx_stride + c, slope(load(job.kept[row] + i * job.kept_stride + c), d));
            }
    });
}

}  // namespace
