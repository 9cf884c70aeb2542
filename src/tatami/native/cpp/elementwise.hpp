// Everything that goes entry by entry: activations, sums, dropout's factors, sums over pixels, transposition.
//
// Counts may be any number; full vectors first, then one partial vector.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Activation;
using tatami::Index;

// Calls body(offset, lanes in use) for consecutive vectors; load_some and store_some handle the last, partial one.
template <typename Body>
TATAMI_INLINE void for_each_vector(Index count, Body body) {
    Index i = 0;
    for (; i + lanes <= count; i += lanes) body(i, lanes);
    if (i < count) body(i, static_cast<int>(count - i));
}

TATAMI_INLINE Vector load_some(const float* from, int count) {
    return count == lanes ? load(from) : load_partial(from, count);
}

TATAMI_INLINE void store_some(float* to, Vector value, int count) {
    if (count == lanes)
        store(to, value);
    else
        store_partial(to, value, count);
}

TATAMI_INLINE Vector sigmoid(Vector x) {
    const Vector one = broadcast(1.0f);
    const Vector small = exponential(x < zero() ? x : -x);  // of -|x|: cannot overflow
    return (x < zero() ? small : one) / (one + small);
}

// tanh x = (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x; near 0 a series, where the difference would lose digits.
TATAMI_INLINE Vector hyperbolic_tangent(Vector x) {
    const Vector one = broadcast(1.0f);
    const Vector magnitude = x < zero() ? -x : x;
    const Vector small = exponential(broadcast(-2.0f) * magnitude);
    Vector large = (one - small) / (one + small);
    large = x < zero() ? -large : large;
    const Vector square = x * x;  // Cephes' tanhf for |x| < 0.625
    Vector series = broadcast(-5.70498872745e-3f);
    series = multiply_add(series, square, broadcast(2.06390887954e-2f));
    series = multiply_add(series, square, broadcast(-5.37397155531e-2f));
    series = multiply_add(series, square, broadcast(1.33314422036e-1f));
    series = multiply_add(series, square, broadcast(-3.33332819422e-1f));
    series = multiply_add(series * square, x, x);
    return magnitude < broadcast(0.625f) ? series : large;
}

template <typename Function>
TATAMI_INLINE void map_vectors(const float* x, float* y, Index count, Function function) {
    for_each_vector(count, [&](Index i, int n) { store_some(y + i, function(load_some(x + i, n)), n); });
}

void activate(Activation kind, const float* x, float* y, Index count) {
    switch (kind) {
        case Activation::identity: map_vectors(x, y, count, [](Vector v) { return v; }); break;
        case Activation::step:
            map_vectors(x, y, count, [](Vector v) { return v > zero() ? broadcast(1.0f) : zero(); });
            break;
        case Activation::sigmoid: map_vectors(x, y, count, [](Vector v) { return sigmoid(v); }); break;
        case Activation::tanh: map_vectors(x, y, count, [](Vector v) { return hyperbolic_tangent(v); }); break;
        case Activation::relu: map_vectors(x, y, count, [](Vector v) { return relu(v); }); break;
    }
}

template <typename Slope>
TATAMI_INLINE void chain(const float* y, const float* dy, float* dx, Index count, bool accumulate, Slope slope) {
    for_each_vector(count, [&](Index i, int n) {
        Vector d = slope(load_some(y + i, n), load_some(dy + i, n));
        if (accumulate) d += load_some(dx + i, n);
        store_some(dx + i, d, n);
    });
}

void activate_gradient(Activation kind, const float* y, const float* dy, float* dx, Index count, bool accumulate) {
    switch (kind) {
        case Activation::identity:
            chain(y, dy, dx, count, accumulate, [](Vector, Vector d) { return d; });
            break;
        case Activation::step:
            chain(y, dy, dx, count, accumulate, [](Vector, Vector) { return zero(); });
            break;
        case Activation::sigmoid:
            chain(y, dy, dx, count, accumulate, [](Vector v, Vector d) { return v * (broadcast(1.0f) - v) * d; });
            break;
        case Activation::tanh:
            chain(y, dy, dx, count, accumulate, [](Vector v, Vector d) { return (broadcast(1.0f) - v * v) * d; });
            break;
        case Activation::relu:
            chain(y, dy, dx, count, accumulate, [](Vector v, Vector d) { return v > zero() ? d : zero(); });
            break;
    }
}

void add(const float* x, float* sum, Index count) {
    for_each_vector(count, [&](Index i, int n) { store_some(sum + i, load_some(sum + i, n) + load_some(x + i, n), n); });
}

void multiply(const float* x, const float* y, float* product, Index count, bool accumulate) {
    for_each_vector(count, [&](Index i, int n) {
        Vector p = load_some(x + i, n) * load_some(y + i, n);
        if (accumulate) p += load_some(product + i, n);
        store_some(product + i, p, n);
    });
}

void column_sums(const float* x, Index stride, Index line, Index pixels, Index lines, Index channels, float* sums,
                 bool accumulate) {
    for (Index c = 0; c < channels; c += lanes) {
        Vector sum = accumulate ? load(sums + c) : zero();
        for (Index l = 0; l < lines; ++l) {
            const float* from = x + l * line + c;
            for (Index p = 0; p < pixels; ++p, from += stride) sum += load(from);
        }
        store(sums + c, sum);
    }
}

#if !defined(__clang__)
// One step of the exchange below: lanes without bit `step` of the lower vector stay, the others trade places.
template <int step>
TATAMI_INLINE void exchange(Vector (&block)[lanes]) {
    Integers lower{}, upper{};
    for (int lane = 0; lane < lanes; ++lane) {
        lower[lane] = (lane & step) == 0 ? lane : lanes + lane - step;
        upper[lane] = (lane & step) == 0 ? lane + step : lanes + lane;
    }
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
        if ((i & step) != 0) continue;
        const Vector a = block[i], b = block[i + step];
        block[i] = __builtin_shuffle(a, b, lower);
        block[i + step] = __builtin_shuffle(a, b, upper);
    }
}

// lanes × lanes entries at once: halves, quarters … of the block are exchanged across the diagonal.
TATAMI_INLINE void transpose_block(const float* from, Index from_stride, float* to, Index to_stride) {
    Vector block[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) block[i] = load(from + i * from_stride);
    exchange<1>(block);
    exchange<2>(block);
    if constexpr (lanes >= 8) exchange<4>(block);
    if constexpr (lanes >= 16) exchange<8>(block);
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) store(to + i * to_stride, block[i]);
}
#endif

void transpose(const float* from, Index from_stride, float* to, Index to_stride, Index rows, Index columns) {
    for (Index i0 = 0; i0 < rows; i0 += lanes) {
        const Index i1 = i0 + lanes < rows ? i0 + lanes : rows;
        Index j = 0;
#if !defined(__clang__)
        if (i1 - i0 == lanes)
            for (; j + lanes <= columns; j += lanes)
                transpose_block(from + i0 * from_stride + j, from_stride, to + j * to_stride + i0, to_stride);
#endif
        for (; j < columns; ++j)
            for (Index i = i0; i < i1; ++i) to[j * to_stride + i] = from[i * from_stride + j];
    }
}

}  // namespace
