// Winograd's convolution along one axis, for signals: two neighbouring outputs at a time, with 2/3 to 3/4 of the products.
//
// A window is cut into runs of three and two taps. For a run of three with weights g and the four inputs d that two outputs see,
//   u = (d0 - d2, d1 + d2, d2 - d1, d1 - d3),  w = (g0, (g0 + g1 + g2)/2, (g0 - g1 + g2)/2, g2),  m = u · w
//   y0 += m0 + m1 + m2,  y1 += m1 - m2 - m3
// and for a run of two, Karatsuba's way,
//   u = (d0 - d1, d1, d1 - d2),  w = (g0, g0 + g1, g1):  y0 += m0 + m1,  y1 += m1 - m2
// (S. Winograd, Arithmetic Complexity of Computations, 1980). Products that enter y0 and y1 with the same signs are summed
// together: four sums for two outputs whatever the length of the window, and no product leaves the registers. A window of 5
// takes 7 products instead of 10, one of 3 takes 4 instead of 6. Small whole numbers stay exact, halves included.
//
// Tile: 3 pairs of outputs × 4 sums × 2 vectors of filters are 24 registers; with 16 registers 2 pairs × 4 sums × 1 vector.
// The u of as many pairs as fit the first-level cache are made first and serve all panels of filters. The bias stands in the sum
// that both outputs take. ReLU and the maximum of two, which is one pair, follow in registers.
#pragma once

#include "fused_pooling.hpp"

namespace {

using tatami::SignalWinograd;

constexpr int signal_pairs = registers == 32 ? 3 : 2;
constexpr int signal_vectors = registers == 32 ? 2 : 1;  // of filters in one tile

// Runs of three taps come first; what they leave is a run of two, or two of them where one tap would be left.
struct Runs {
    Index threes, twos;
    explicit Runs(Index taps) : threes(taps % 3 == 1 ? (taps - 4) / 3 : taps / 3), twos((taps - 3 * threes) / 2) {}
    Index products() const { return 4 * threes + 3 * twos; }
};

void transform_signal(const SignalWinograd& job, Index first, Index pairs) {
    const Runs runs(job.taps);
    const Index pixel = job.pixel;
    float* to = job.scratch;
    for (Index p = 0; p < pairs; ++p) {
        const float* d = job.input + 2 * (first + p) * pixel;
        for (Index run = 0; run < runs.threes; ++run, d += 3 * pixel, to += 4 * pixel)
            for (Index c = 0; c < pixel; c += lanes) {
                const Vector d0 = load(d + c), d1 = load(d + pixel + c), d2 = load(d + 2 * pixel + c), d3 = load(d + 3 * pixel + c);
                store(to + c, d0 - d2);
                store(to + pixel + c, d1 + d2);
                store(to + 2 * pixel + c, d2 - d1);
                store(to + 3 * pixel + c, d1 - d3);
            }
        for (Index run = 0; run < runs.twos; ++run, d += 2 * pixel, to += 3 * pixel)
            for (Index c = 0; c < pixel; c += lanes) {
                const Vector d0 = load(d + c), d1 = load(d + pixel + c), d2 = load(d + 2 * pixel + c);
                store(to + c, d0 - d1);
                store(to + pixel + c, d1);
                store(to + 2 * pixel + c, d1 - d2);
            }
    }
}

// One run over all input channels: `rows` products for each pair, the last of which belongs to the last sum.
template <int rows, int pairs, int vectors>
TATAMI_INLINE void add_run(const float* u, Index pair_floats, Index pixel, Index channels, const float* weight, Index panel,
                           Vector (&sum)[4 * pairs][vectors]) {
    const float* base[pairs];
#pragma GCC unroll 3
    for (int p = 0; p < pairs; ++p) base[p] = u + p * pair_floats;
    for (Index c = 0; c < channels; ++c, weight += rows * panel) {
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
            Vector w[vectors];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) w[v] = in_register(load(weight + r * panel + v * lanes));
#pragma GCC unroll 3
            for (int p = 0; p < pairs; ++p) {
                const Vector x = broadcast(base[p][r * pixel]);
                const int to = 4 * p + (r + 1 == rows ? 3 : r);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; ++v) sum[to][v] = multiply_add(x, w[v], sum[to][v]);
            }
        }
#pragma GCC unroll 3
        for (int p = 0; p < pairs; ++p) ++base[p];
    }
}

TATAMI_INLINE void write_signal(float* to, Vector y, bool relu_too, bool accumulate) {
    if (relu_too) y = relu(y);
    store(to, accumulate ? load(to) + y : y);
}

// Pairs from `pair` on, whose u start at `u`, and filters from k on.
template <int pairs, int vectors>
void signal_tile(const SignalWinograd& job, const float* u, const float* weight, Index panel, Index pair, Index k) {
    const Runs runs(job.taps);
    const Index pair_floats = runs.products() * job.pixel;
    Vector sum[4 * pairs][vectors];
#pragma GCC unroll 12
    for (int s = 0; s < 4 * pairs; ++s)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sum[s][v] = s % 4 == 1 && job.bias ? load(job.bias + k + v * lanes) : zero();
    for (Index run = 0; run < runs.threes; ++run, u += 4 * job.pixel, weight += 4 * job.input_channels * panel)
        add_run<4, pairs, vectors>(u, pair_floats, job.pixel, job.input_channels, weight, panel, sum);
    for (Index run = 0; run < runs.twos; ++run, u += 3 * job.pixel, weight += 3 * job.input_channels * panel)
        add_run<3, pairs, vectors>(u, pair_floats, job.pixel, job.input_channels, weight, panel, sum);
#pragma GCC unroll 3
    for (int p = 0; p < pairs; ++p)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            const Vector y0 = sum[4 * p][v] + sum[4 * p + 1][v] + sum[4 * p + 2][v];
            const Vector y1 = sum[4 * p + 1][v] - sum[4 * p + 2][v] - sum[4 * p + 3][v];
            const Index at = pair + p, to = k + v * lanes;
            if (job.pool) {
                const Vector a = relu(y0), b = relu(y1);
                Integers code;
                store(job.output + at * job.output_pixel + to, maximum_of_four(a, b, a, b, code));
                if (job.code) store_bytes(job.code + at * job.code_stride + to, code);
                continue;
            }
            write_signal(job.output + 2 * at * job.output_pixel + to, y0, job.relu, job.accumulate);
            if (2 * at + 1 < job.width)
                write_signal(job.output + (2 * at + 1) * job.output_pixel + to, y1, job.relu, job.accumulate);
        }
}

// `count` pairs from `first` on, whose u the scratch memory holds, and one panel of `vectors` vectors of filters.
template <int vectors>
void signal_panel(const SignalWinograd& job, Index first, Index count, const float* weight, Index panel, Index k) {
    const Index pair_floats = Runs(job.taps).products() * job.pixel;
    Index p = 0;
    for (; p + signal_pairs <= count; p += signal_pairs)
        signal_tile<signal_pairs, vectors>(job, job.scratch + p * pair_floats, weight, panel, first + p, k);
    if constexpr (signal_pairs > 2)
        if (count - p == 2) {
            signal_tile<2, vectors>(job, job.scratch + p * pair_floats, weight, panel, first + p, k);
            return;
        }
    if (count - p == 1) signal_tile<1, vectors>(job, job.scratch + p * pair_floats, weight, panel, first + p, k);
}

void signal_winograd(const SignalWinograd& job) {
    const Index pairs = job.pool ? job.width / 2 : (job.width + 1) / 2;
    const Index panel_floats = Runs(job.taps).products() * job.input_channels * 2 * lanes;
    const Index pieces = (pairs + job.pairs - 1) / job.pairs;
    for (Index piece = 0, first = 0; piece < pieces; ++piece) {
        const Index count = (pairs - first + pieces - piece - 1) / (pieces - piece);
        transform_signal(job, first, count);
        for (Index panel = 0; panel < job.panels; ++panel) {
            const int vectors = panel + 1 < job.panels ? 2 : job.last_vectors;
            const float* const weight = job.weight + panel * panel_floats;
            const Index k = panel * 2 * lanes;
            if (vectors == signal_vectors) {
                signal_panel<signal_vectors>(job, first, count, weight, vectors * lanes, k);
                continue;
            }
            for (int v = 0; v < vectors; ++v)
                signal_panel<1>(job, first, count, weight + v * lanes, vectors * lanes, k + v * lanes);
        }
        first += count;
    }
}

// One panel's weights, (tap, input channel) × panel, as add_run reads them: run by run (input channel, product) × panel.
void signal_winograd_weight(const float* weight, float* transformed, Index input_channels, Index taps, int vectors, bool reversed) {
    const Runs runs(taps);
    const Index panel = vectors * lanes;
    const auto tap = [&](Index t, Index c, Index i) {
        return load(weight + ((reversed ? taps - 1 - t : t) * input_channels + c) * panel + i);
    };
    const Vector half = broadcast(0.5f);
    float* to = transformed;
    for (Index run = 0; run < runs.threes; ++run)
        for (Index c = 0; c < input_channels; ++c, to += 4 * panel)
            for (Index i = 0; i < panel; i += lanes) {
                const Vector g0 = tap(3 * run, c, i), g1 = tap(3 * run + 1, c, i), g2 = tap(3 * run + 2, c, i);
                store(to + i, g0);
                store(to + panel + i, (g0 + g2 + g1) * half);
                store(to + 2 * panel + i, (g0 + g2 - g1) * half);
                store(to + 3 * panel + i, g2);
            }
    for (Index run = 0; run < runs.twos; ++run)
        for (Index c = 0; c < input_channels; ++c, to += 3 * panel)
            for (Index i = 0; i < panel; i += lanes) {
                const Index first = 3 * runs.threes + 2 * run;
                const Vector g0 = tap(first, c, i), g1 = tap(first + 1, c, i);
                store(to + i, g0);
                store(to + panel + i, g0 + g1);
                store(to + 2 * panel + i, g1);
            }
}

}  // namespace
