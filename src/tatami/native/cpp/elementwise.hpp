// What goes entry by entry: sums, products, sums over pixels, transposition. (Activations: activations.hpp.)
//
// Counts may be any number; full vectors first, then one partial vector.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

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
