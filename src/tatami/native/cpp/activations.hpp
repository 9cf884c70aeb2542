// Activations, entry by entry: y = f(x) and dx (+)= f'(x) · dy.
//
//   identity      x                               leaky ReLU    x, or s·x where x <= 0
//   step          1 where x > 0, else 0           ELU, SELU     λ·x, or λα·(e^x - 1) where x <= 0
//   sigmoid       1 / (1 + e^-x)                  hard sigmoid  s·x + 1/2 within 0 … 1
//   tanh          (e^x - e^-x) / (e^x + e^-x)     softplus      log(1 + e^x)
//   ReLU          max(0, x)                       Swish         x·σ(βx)
//   GELU          x·Φ(x), or its tanh form        Mish          x·tanh(softplus(x))
//
// There is no layout to speak of: numbers come one after the other, a vector at a time, the last one partial. Each function
// takes the exponential of -|x| or of something else that is never positive, so that nothing overflows, and avoids
// differences of nearly equal numbers, so that small results keep their digits: all are right to 1e-6 of their value
// (tests/native/test_activations.py holds them to it). Derivatives are computed from x, or from y where that is shorter:
// slope_needs_input says which; identity, step, sigmoid, tanh, ReLU, leaky ReLU and hard sigmoid never look at x, which
// may then be anything. with_function and with_slope hand the formulas to whoever applies them: to numbers in a row (here), or
// to the rows of a convolution on their way into a pooling (activated_pooling.hpp).
#pragma once

#include "elementwise.hpp"
#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Activation;
using tatami::Curve;

TATAMI_INLINE Vector magnitude_of(Vector x) { return x < zero() ? -x : x; }

TATAMI_INLINE Vector sigmoid(Vector x) {
    const Vector one = broadcast(1.0f);
    const Vector small = exponential(x < zero() ? x : -x);  // of -|x|: cannot overflow
    return (x < zero() ? small : one) / (one + small);
}

// tanh x = (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x; near 0 a series, where the difference would lose digits.
TATAMI_INLINE Vector hyperbolic_tangent(Vector x) {
    const Vector one = broadcast(1.0f);
    const Vector magnitude = magnitude_of(x);
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

// e^x - 1 for x <= 0, by way of t = tanh(x/2), which keeps its digits near 0: e^x - 1 = 2t / (1 - t).
TATAMI_INLINE Vector exponential_less_one(Vector x) {
    const Vector t = hyperbolic_tangent(broadcast(0.5f) * x);
    return (t + t) / (broadcast(1.0f) - t);
}

// log(1 + u) for 0 <= u <= 1. The sum w = 1 + u is rounded; what it lost, u - (w - 1), is put back divided by w, the slope of
// the logarithm. log w by Cephes' polynomial in w - 1, for w above √2 of w/2, with log 2 in two pieces added.
TATAMI_INLINE Vector logarithm_of_one_and(Vector u) {
    const Vector one = broadcast(1.0f);
    const Vector w = one + u;
    const Vector lost = (u - (w - one)) / w;
    const auto large = w > broadcast(1.41421356f);
    const Vector r = (large ? broadcast(0.5f) * w : w) - one;
    const Vector square = r * r;
    Vector result = logarithm_polynomial(r) * r * square;
    result = large ? multiply_add(broadcast(-2.12194440e-4f), one, result) : result;
    result = multiply_add(broadcast(-0.5f), square, result) + r;
    result = large ? result + broadcast(0.693359375f) : result;
    return result + lost;
}

TATAMI_INLINE Vector softplus(Vector x) {
    return relu(x) + logarithm_of_one_and(exponential(-magnitude_of(x)));
}

// tanh(log(1 + e^x)) = ((1 + e^x)² - 1) / ((1 + e^x)² + 1), divided through by the larger power of e.
TATAMI_INLINE Vector tanh_of_softplus(Vector x) {
    const Vector one = broadcast(1.0f), two = broadcast(2.0f);
    const Vector q = exponential(-magnitude_of(x));
    const Vector left = q * (q + two), right = one + two * q;
    return x < zero() ? left / (left + two) : right / (right + two * (q * q));
}

// Φ(x), the normal distribution function: erfc(z)/2 with z = -x/√2, and erfc(z) = e^(-z²) · t·P(t), t = 1 / (1 + z/2), z >= 0.
// P is our least-squares fit in Chebyshev polynomials over 0 <= z <= 10.5, right to 6e-9; beyond, erfc is below 1e-49.
TATAMI_INLINE Vector normal_distribution(Vector x) {
    const Vector one = broadcast(1.0f);
    Vector z = magnitude_of(x) * broadcast(0.70710678f);
    z = z > broadcast(10.5f) ? broadcast(10.5f) : z;
    const Vector t = one / multiply_add(broadcast(0.5f), z, one);
    Vector p = broadcast(3.320108572e-02f);
    p = multiply_add(p, t, broadcast(-1.764524742e-01f));
    p = multiply_add(p, t, broadcast(3.452935637e-01f));
    p = multiply_add(p, t, broadcast(-2.383526527e-01f));
    p = multiply_add(p, t, broadcast(-6.788244323e-02f));
    p = multiply_add(p, t, broadcast(6.248514798e-02f));
    p = multiply_add(p, t, broadcast(4.427630127e-02f));
    p = multiply_add(p, t, broadcast(1.883063404e-01f));
    p = multiply_add(p, t, broadcast(2.447470329e-01f));
    p = multiply_add(p, t, broadcast(2.822910507e-01f));
    p = multiply_add(p, t, broadcast(2.820870497e-01f));
    const Vector half = broadcast(0.5f) * t * p * exponential(broadcast(-0.5f) * x * x);
    return x < zero() ? half : one - half;
}

// What the tanh form of GELU takes the hyperbolic tangent of, √(2/π)·(x + 0.044715·x³), and its derivative.
TATAMI_INLINE Vector gelu_inner(Vector x) {
    return broadcast(0.79788456f) * x * multiply_add(broadcast(0.044715f), x * x, broadcast(1.0f));
}
TATAMI_INLINE Vector gelu_inner_slope(Vector x) {
    return broadcast(0.79788456f) * multiply_add(broadcast(0.134145f), x * x, broadcast(1.0f));
}

// NaN stays NaN: both comparisons are false for it.
TATAMI_INLINE Vector between_0_and_1(Vector x) {
    const Vector low = x < zero() ? zero() : x;
    return low > broadcast(1.0f) ? broadcast(1.0f) : low;
}

template <typename Function>
TATAMI_INLINE void map_vectors(const float* x, float* y, Index count, Function function) {
    for_each_vector(count, [&](Index i, int n) { store_some(y + i, function(load_some(x + i, n)), n); });
}

// Calls visit(f) with f: x -> y.
template <typename Visit>
TATAMI_INLINE void with_function(const Curve& settings, Visit visit) {
    const Vector one = broadcast(1.0f), a = broadcast(settings.first), b = broadcast(settings.second);
    switch (settings.kind) {
        case Activation::identity: visit([](Vector v) { return v; }); break;
        case Activation::step: visit([=](Vector v) { return v > zero() ? one : zero(); }); break;
        case Activation::sigmoid: visit([](Vector v) { return sigmoid(v); }); break;
        case Activation::tanh: visit([](Vector v) { return hyperbolic_tangent(v); }); break;
        case Activation::relu: visit([](Vector v) { return relu(v); }); break;
        case Activation::leaky_relu: visit([=](Vector v) { return v > zero() ? v : a * v; }); break;
        case Activation::elu: visit([=](Vector v) { return v > zero() ? b * v : b * a * exponential_less_one(v); }); break;
        case Activation::softplus: visit([](Vector v) { return softplus(v); }); break;
        case Activation::swish: visit([=](Vector v) { return v * sigmoid(a * v); }); break;
        case Activation::mish: visit([](Vector v) { return v * tanh_of_softplus(v); }); break;
        case Activation::gelu: visit([](Vector v) { return v * normal_distribution(v); }); break;
        // ½(1 + tanh u) = σ(2u), which keeps the digits of its tail.
        case Activation::gelu_tanh: visit([](Vector v) { return v * sigmoid(broadcast(2.0f) * gelu_inner(v)); }); break;
        case Activation::hard_sigmoid: visit([=](Vector v) { return between_0_and_1(a * v + broadcast(0.5f)); }); break;
    }
}

// Calls visit(g) with g: (v, dy) -> f' · dy; v is x where slope_needs_input says so, else y.
template <typename Visit>
TATAMI_INLINE void with_slope(const Curve& settings, Visit visit) {
    const Vector one = broadcast(1.0f), a = broadcast(settings.first), b = broadcast(settings.second);
    switch (settings.kind) {
        case Activation::identity: visit([](Vector, Vector d) { return d; }); break;
        case Activation::step: visit([](Vector, Vector) { return zero(); }); break;
        case Activation::sigmoid: visit([=](Vector v, Vector d) { return v * (one - v) * d; }); break;
        case Activation::tanh: visit([=](Vector v, Vector d) { return (one - v * v) * d; }); break;
        case Activation::relu: visit([](Vector v, Vector d) { return v > zero() ? d : zero(); }); break;
        case Activation::leaky_relu: visit([=](Vector v, Vector d) { return v > zero() ? d : a * d; }); break;
        case Activation::elu:
            visit([=](Vector v, Vector d) { return d * b * (v > zero() ? one : a * exponential(v)); });
            break;
        case Activation::softplus: visit([](Vector v, Vector d) { return sigmoid(v) * d; }); break;
        case Activation::swish:
            visit([=](Vector v, Vector d) {
                const Vector gate = sigmoid(a * v);
                return d * (gate + a * v * gate * (one - gate));
            });
            break;
        case Activation::mish:
            visit([=](Vector v, Vector d) {
                const Vector gate = tanh_of_softplus(v);
                return d * (gate + v * (one - gate * gate) * sigmoid(v));
            });
            break;
        case Activation::gelu:
            visit([](Vector v, Vector d) {
                const Vector density = broadcast(0.39894228f) * exponential(broadcast(-0.5f) * v * v);
                return d * (normal_distribution(v) + v * density);
            });
            break;
        case Activation::gelu_tanh:
            visit([=](Vector v, Vector d) {
                const Vector chance = sigmoid(broadcast(2.0f) * gelu_inner(v));
                return d * (chance + broadcast(2.0f) * v * chance * (one - chance) * gelu_inner_slope(v));
            });
            break;
        case Activation::hard_sigmoid:
            visit([=](Vector v, Vector d) {
                const auto on_ramp = (v > zero()) & (v < one);
                return on_ramp ? a * d : zero();
            });
            break;
    }
}

void curve(const Curve& settings, const float* x, float* y, Index count) {
    with_function(settings, [&](auto function) { map_vectors(x, y, count, function); });
}

// Some floats of every pixel of a row, while the row is in the first-level cache.
void curve_pixels(const tatami::CurvedRow& row) {
    with_function(row.curve, [&](auto function) {
        for (Index p = 0; p < row.pixels; ++p) map_vectors(row.x + p * row.x_stride, row.y + p * row.y_stride, row.count, function);
    });
}

void curve_gradient(const Curve& settings, const float* x, const float* y, const float* dy, float* dx, Index count,
                    bool accumulate) {
    const float* const seen = tatami::slope_needs_input(settings) ? x : y;
    with_slope(settings, [&](auto slope) {
        for_each_vector(count, [&](Index i, int n) {
            Vector d = slope(load_some(seen + i, n), load_some(dy + i, n));
            if (accumulate) d += load_some(dx + i, n);
            store_some(dx + i, d, n);
        });
    });
}

// The same for activations without settings whose derivative needs y alone.
void activate(Activation kind, const float* x, float* y, Index count) { curve({kind, 0, 0}, x, y, count); }

void activate_gradient(Activation kind, const float* y, const float* dy, float* dx, Index count, bool accumulate) {
    curve_gradient({kind, 0, 0}, y, y, dy, dx, count, accumulate);
}

}  // namespace
