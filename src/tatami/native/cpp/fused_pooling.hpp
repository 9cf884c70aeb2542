// ReLU's and 2×2 max pooling's last step: two rows of a convolution's output, already max(0, ·), become one pooled row.
//
// Besides the maximum one byte per pooled value is written: which of the four positions won (0 … 3, row by row, the first
// of equal ones) or `inactive`, where the maximum is 0 and ReLU passes no gradient. The backward pass needs nothing else:
// at most one in four gradients of the convolution's output differs from zero. Signals are pooled in windows of 1×2; then the
// lower row is the upper one once more, and the first of equal ones keeps the winner in it.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;
using tatami::PoolPair;

constexpr std::int32_t inactive = 4;

// As maximum_of_four decides, lane by lane.
TATAMI_INLINE Vector larger(Vector best, Vector other) { return other > best ? other : best; }

// The maximum of four vectors, and into `code` which it was.
TATAMI_INLINE Vector maximum_of_four(Vector a, Vector b, Vector c, Vector d, Integers& code) {
    Vector best = a;
    Integers won{};
    won = b > best ? Integers{} + 1 : won;
    best = b > best ? b : best;
    won = c > best ? Integers{} + 2 : won;
    best = c > best ? c : best;
    won = d > best ? Integers{} + 3 : won;
    best = d > best ? d : best;
    code = best > zero() ? won : Integers{} + inactive;
    return best;
}

void pool_pair(const PoolPair& job) {
    for (Index p = 0; p < job.pixels; ++p)
        for (Index c = 0; c < job.channels; c += lanes) {
            const float* const upper = job.upper + 2 * p * job.stride + c;
            const float* const lower = job.lower + 2 * p * job.stride + c;
            Integers code;
            const Vector best =
                maximum_of_four(load(upper), load(upper + job.stride), load(lower), load(lower + job.stride), code);
            store(job.output + p * job.output_stride + c, best);
            if (job.code) store_bytes(job.code + p * job.output_stride + c, code);
        }
}

void unpool_pair(const tatami::UnpoolPair& job) {
    for (Index p = 0; p < job.pixels; ++p)
        for (Index c = 0; c < job.channels; c += lanes) {
            const Vector dy = load(job.dy + p * job.dy_stride + c);
            const Integers code = load_bytes(job.code + p * job.code_stride + c);
            float* const upper = job.upper + 2 * p * job.stride + c;
            float* const lower = job.lower ? job.lower + 2 * p * job.stride + c : nullptr;
            store(upper, code == Integers{} ? dy : zero());
            store(upper + job.stride, code == Integers{} + 1 ? dy : zero());
            if (job.lower == nullptr) continue;
            store(lower, code == Integers{} + 2 ? dy : zero());
            store(lower + job.stride, code == Integers{} + 3 ? dy : zero());
        }
}

}  // namespace
