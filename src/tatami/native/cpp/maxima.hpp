// Maxima over neighbouring channels (maxout) and of two maps (the funnel); the first of equal ones wins, and NaN stays NaN.
//
//   y(k) = max x(k·P + j) over j < P        dx(k·P + j) = dy(k) for the winning j, 0 for the others
//   y    = x where x >= t, else t           dx = dy where x >= t, dt = dy elsewhere
//
// Maxout reads every P-th number: the lanes of a vector are gathered, P vectors for one vector of results. The winners are
// found again on the way back, which is cheaper than to keep them.
#pragma once

#include "elementwise.hpp"
#include "layer_table.hpp"
#include "vector.hpp"

namespace {

using tatami::PiecesLine;

TATAMI_INLINE Vector gather(const float* from, Index step, int count) {
    Vector value{};
    for (int lane = 0; lane < count; ++lane) value[lane] = from[lane * step];
    return value;
}

// The largest of the pieces of `count` channels and, in `winner`, its number.
TATAMI_INLINE Vector largest_piece(const float* x, Index pieces, int count, Integers& winner) {
    Vector best = gather(x, pieces, count);
    winner = Integers{};
    for (Index j = 1; j < pieces; ++j) {
        const Vector next = gather(x + j, pieces, count);
        const Integers larger = (next > best) | ((next != next) & (best == best));
        best = larger ? next : best;
        winner = larger ? Integers{} + static_cast<std::int32_t>(j) : winner;
    }
    return best;
}

void maxima_of_pieces(const PiecesLine& line) {
    for (Index p = 0; p < line.pixels; ++p)
        for_each_vector(line.channels, [&](Index c, int n) {
            Integers winner;
            const Vector best = largest_piece(line.x + p * line.x_stride + c * line.pieces, line.pieces, n, winner);
            store_some(line.output + p * line.output_stride + c, best, n);
        });
}

void maxima_of_pieces_gradient(const PiecesLine& line) {
    for (Index p = 0; p < line.pixels; ++p)
        for_each_vector(line.channels, [&](Index c, int n) {
            Integers winner;
            largest_piece(line.x + p * line.x_stride + c * line.pieces, line.pieces, n, winner);
            const float* const dy = line.dy + p * line.dy_stride + c;
            float* const dx = line.output + p * line.output_stride + c * line.pieces;
            for (int lane = 0; lane < n; ++lane)
                for (Index j = 0; j < line.pieces; ++j) {
                    const float share = winner[lane] == j ? dy[lane] : 0.0f;
                    float& to = dx[lane * line.pieces + j];
                    to = line.accumulate ? to + share : share;
                }
        });
}

void larger(const float* x, const float* other, float* y, Index count) {
    for_each_vector(count, [&](Index i, int n) {
        const Vector a = load_some(x + i, n), b = load_some(other + i, n);
        store_some(y + i, ((a >= b) | (a != a)) ? a : b, n);
    });
}

void larger_gradient(const float* x, const float* other, const float* dy, float* d, Index count, bool of_other,
                     bool accumulate) {
    for_each_vector(count, [&](Index i, int n) {
        const auto won = load_some(x + i, n) >= load_some(other + i, n);
        const Vector given = load_some(dy + i, n);
        Vector share = of_other ? (won ? zero() : given) : (won ? given : zero());
        if (accumulate) share += load_some(d + i, n);
        store_some(d + i, share, n);
    });
}

}  // namespace
