// Convolutions with few filters: vectors run over the pixels of a row, one plane of numbers for every channel and filter.
//
//   correlate_planes        output(k, p)    = bias(k) + sum over taps t of input(p + offset(t)) · weight(t, k)
//   planes_weight_gradient  dweight(t, k)  += sum over pixels p of input(p + offset(t)) · dy(k, p)
//   pool_planes             an activation and 2×2 maxima or averages of two rows of one plane, and the way back
//
// Channels-last vectors of 16 are mostly empty with 6 filters; 28 pixels of a row fill 2 vectors but for 4 floats. A tap is
// a row of the window in one channel: an unaligned load. Rows are a whole number of vectors long; what stands behind the last
// pixel is computed like a pixel and never used: there dy is zero.
//
// Tiles: 6 filters × 4 vectors of pixels (24 sums, 4 vectors of input, a weight in all lanes; 3 × 3 with 16 registers), and
// for the weight gradient 6 filters × 4 taps (3 × 3): each load serves as many products as the tile is high. Sums run over the taps
// in the order of correlate.hpp, to the same bits. The weight gradient keeps a sum for every lane, which whoever adds the images
// up adds in order.
#pragma once

#include "activations.hpp"
#include "fused_pooling.hpp"
#include "planes_table.hpp"

#include <type_traits>

namespace {

using tatami::PlaneCorrelation;
using tatami::PlanePair;
using tatami::PlaneWeightGradient;

constexpr int tile_filters = registers == 32 ? 6 : 3;
constexpr int tile_width = registers == 32 ? 4 : 3;

template <int filters, int vectors>
void planes_tile(const PlaneCorrelation& job, Index filter, Index first) {
    Vector sum[filters][vectors];
    const float* x[vectors];
#pragma GCC unroll 6
    for (int f = 0; f < filters; ++f)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[f][v] = broadcast(job.bias[filter + f]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) x[v] = job.input + job.from[first + v];
    const float* weight = job.weight + filter;
    for (Index t = 0; t < job.taps; ++t, weight += job.weight_stride) {
        Vector pixels[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) pixels[v] = load(x[v] + job.offsets[t]);
#pragma GCC unroll 6
        for (int f = 0; f < filters; ++f) {
            const Vector w = broadcast(weight[f]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) sum[f][v] = multiply_add(pixels[v], w, sum[f][v]);
        }
    }
#pragma GCC unroll 6
    for (int f = 0; f < filters; ++f)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) store(job.output + (filter + f) * job.plane + job.to[first + v], sum[f][v]);
}

template <int rows, int columns>
void planes_weight_tile(const PlaneWeightGradient& job, Index filter, Index tap) {
    Vector sum[columns][rows];
    float* const to = job.dweight + (tap * job.filters + filter) * lanes;
#pragma GCC unroll 4
    for (int t = 0; t < columns; ++t)
#pragma GCC unroll 6
        for (int f = 0; f < rows; ++f) sum[t][f] = job.accumulate ? load(to + (t * job.filters + f) * lanes) : zero();
    const float* x[columns];
#pragma GCC unroll 4
    for (int t = 0; t < columns; ++t) x[t] = job.input + job.offsets[tap + t];
    const float* dy[rows];
#pragma GCC unroll 6
    for (int f = 0; f < rows; ++f) dy[f] = job.dy + (filter + f) * job.plane;
    for (Index i = 0; i < job.vectors; ++i) {
        Vector d[rows];
#pragma GCC unroll 6
        for (int f = 0; f < rows; ++f) d[f] = load(dy[f] + job.to[i]);
#pragma GCC unroll 4
        for (int t = 0; t < columns; ++t) {
            const Vector pixels = load(x[t] + job.from[i]);
#pragma GCC unroll 6
            for (int f = 0; f < rows; ++f) sum[t][f] = multiply_add(pixels, d[f], sum[t][f]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < columns; ++t)
#pragma GCC unroll 6
        for (int f = 0; f < rows; ++f) store(to + (t * job.filters + f) * lanes, sum[t][f]);
}

// Calls visit(count as a constant, start) for pieces of nearly equal size, at most `most`.
template <int most, typename Visit>
TATAMI_INLINE void in_pieces(Index total, Visit visit) {
    const Index pieces = (total + most - 1) / most;
    for (Index piece = 0, start = 0; piece < pieces; ++piece) {
        const Index count = (total - start + pieces - piece - 1) / (pieces - piece);
        switch (count) {
            case 1: visit(std::integral_constant<int, 1>{}, start); break;
            case 2: visit(std::integral_constant<int, 2>{}, start); break;
            case 3: visit(std::integral_constant<int, 3>{}, start); break;
            case 4: if constexpr (most >= 4) visit(std::integral_constant<int, 4>{}, start); break;
            case 5: if constexpr (most >= 5) visit(std::integral_constant<int, 5>{}, start); break;
            case 6: if constexpr (most >= 6) visit(std::integral_constant<int, 6>{}, start); break;
            default: break;
        }
        start += count;
    }
}

void correlate_planes(const PlaneCorrelation& job) {
    in_pieces<tile_width>(job.vectors, [&](auto vectors, Index first) {
        in_pieces<tile_filters>(job.filters, [&](auto filters, Index filter) {
            planes_tile<decltype(filters)::value, decltype(vectors)::value>(job, filter, first);
        });
    });
}

void planes_weight_gradient(const PlaneWeightGradient& job) {
    in_pieces<tile_width>(job.taps, [&](auto taps, Index tap) {
        in_pieces<tile_filters>(job.filters, [&](auto filters, Index filter) {
            planes_weight_tile<decltype(filters)::value, decltype(taps)::value>(job, filter, tap);
        });
    });
    for (Index f = 0; f < job.filters; ++f) {
        Vector sum = job.accumulate ? load(job.dbias + f * lanes) : zero();
        for (Index i = 0; i < job.vectors; ++i) sum += load(job.dy + f * job.plane + job.to[i]);
        store(job.dbias + f * lanes, sum);
    }
}

// Lane l of the result is entry index(l) of a and b, one behind the other.
#if defined(__clang__)
#define TATAMI_CHOOSE(NAME, INDEX)                                                              \
    TATAMI_INLINE Vector NAME(Vector a, Vector b) {                                             \
        Vector result{};                                                                        \
        for (int l = 0; l < lanes; ++l) result[l] = INDEX < lanes ? a[INDEX] : b[INDEX - lanes]; \
        return result;                                                                          \
    }
#else
#define TATAMI_CHOOSE(NAME, INDEX)                     \
    TATAMI_INLINE Vector NAME(Vector a, Vector b) {    \
        Integers index{};                              \
        for (int l = 0; l < lanes; ++l) index[l] = INDEX; \
        return __builtin_shuffle(a, b, index);         \
    }
#endif
TATAMI_CHOOSE(even_entries, (2 * l))
TATAMI_CHOOSE(odd_entries, (2 * l + 1))
TATAMI_CHOOSE(lower_interleaved, (l / 2 + l % 2 * lanes))
TATAMI_CHOOSE(upper_interleaved, (lanes / 2 + l / 2 + l % 2 * lanes))
#undef TATAMI_CHOOSE

// Two neighbouring vectors of a row; behind the last one zeros.
TATAMI_INLINE Vector second_vector(const float* row, Index v, Index vectors) {
    return v + 1 < vectors ? load(row + (v + 1) * lanes) : zero();
}

void pool_planes(const PlanePair& job) {
    with_function(job.curve, [&](auto function) {
        const int rows = job.row[1] ? 2 : 1;
        const Vector share = broadcast(0.5f / static_cast<float>(rows));
        for (Index v = 0; v < job.vectors; v += 2) {
            Vector sum = zero(), best{}, seen{};
            Integers won{};
            for (int row = 0; row < rows; ++row) {
                float* const from = job.row[row] + v * lanes;
                const Vector x0 = load(from), x1 = second_vector(job.row[row], v, job.vectors);
                const Vector y0 = function(x0), y1 = function(x1);
                const Vector even = even_entries(y0, y1), odd = odd_entries(y0, y1);
                if (job.keep_activated) {
                    store(from, y0);
                    if (v + 1 < job.vectors) store(from + lanes, y1);
                }
                if (job.average) {
                    sum = (sum + even) + odd;
                    continue;
                }
                const Vector even_x = even_entries(x0, x1), odd_x = odd_entries(x0, x1);
                const Integers even_wins = row == 0 ? Integers{} - 1 : Integers(even > best);
                won = even_wins ? Integers{} + 2 * row : won;
                seen = even_wins ? even_x : seen;
                best = even_wins ? even : best;
                const Integers odd_wins = odd > best;
                won = odd_wins ? Integers{} + (2 * row + 1) : won;
                seen = odd_wins ? odd_x : seen;
                best = odd_wins ? odd : best;
            }
            const Index to = v / 2 * lanes;
            store(job.pooled + to, job.average ? sum * share : best);
            if (job.code) store_bytes(job.code + to, won);
            if (job.winner) store(job.winner + to, seen);
        }
    });
}

// The gradient of a pooled row becomes that of the two rows in front: through the activation with averages, to the winners' places
// with maxima (whose gradient has gone through the activation already).
void pool_planes_gradient(const PlanePair& job) {
    const int rows = job.row[1] ? 2 : 1;
    const Vector share = broadcast(0.5f / static_cast<float>(rows));
    const auto write = [&](float* to, Index v, Vector lower, Vector upper) {
        store(to + v * lanes, lower);
        if (v + 1 < job.vectors) store(to + (v + 1) * lanes, upper);
    };
    if (!job.average) {
        for (Index v = 0; v < job.vectors; v += 2) {
            const Vector d = load(job.pooled + v / 2 * lanes);
            const Integers code = load_bytes(job.code + v / 2 * lanes);
            for (int row = 0; row < rows; ++row) {
                const Vector even = code == Integers{} + 2 * row ? d : zero();
                const Vector odd = code == Integers{} + (2 * row + 1) ? d : zero();
                write(job.gradient[row], v, lower_interleaved(even, odd), upper_interleaved(even, odd));
            }
        }
        return;
    }
    with_slope(job.curve, [&](auto slope) {
        for (Index v = 0; v < job.vectors; v += 2) {
            const Vector d = load(job.pooled + v / 2 * lanes) * share;
            const Vector lower = lower_interleaved(d, d), upper = upper_interleaved(d, d);
            for (int row = 0; row < rows; ++row)
                write(job.gradient[row], v, slope(load(job.row[row] + v * lanes), lower),
                      slope(second_vector(job.row[row], v, job.vectors), upper));
        }
    });
}

constexpr tatami::PlaneKernels plane_kernels = {correlate_planes, planes_weight_gradient, pool_planes, pool_planes_gradient};

}  // namespace
