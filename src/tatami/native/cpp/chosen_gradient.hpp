// Weight gradient behind fused ReLU and 2×2 pooling for windows of few floats (a grey image's 3×3 has 9, its 5×5 has 25).
//
//   dweight(t, k) += sum over pooled pixels p of input(winner(p, k) + offset(t)) · dy(p, k)
//
// The vector runs over filters k. Of the four positions under a pooled value each filter has its own winner, so every lane needs
// another input float. The four candidates of a tap are laid side by side beforehand, for all floats of the image,
//
//   quads(i) = (input(i), input(i + pixel), input(i + line), input(i + line + pixel))
//
// and one permutation within groups of four lanes picks each lane's candidate by the winner's code: one multiplication for
// each pooled value instead of four, three of which would be with zero. Where ReLU was inactive dy counts as zero.
// Tile: up to 9 taps × 2 vectors of filters in registers (4 × 2 where there are 16) while the sum runs over a band of pooled
// rows, whose quads fit the first two caches, however large the image.
#pragma once

#include "fused_pooling.hpp"

namespace {

using tatami::ChosenWeightGradient;

constexpr Index chosen_taps = registers == 32 ? 9 : 4;

// The same four floats in every group of four lanes.
TATAMI_INLINE Vector load_quad(const float* from) {
#if defined(__AVX512F__)
    return _mm512_broadcast_f32x4(_mm_loadu_ps(from));
#elif defined(__AVX2__)
    return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(from));
#else
    return load(from);
#endif
}

// quad[code] lane by lane. Codes beyond 3 pick one of the four, whichever.
TATAMI_INLINE Vector pick(Vector quad, Integers code) {
#if defined(__AVX512F__)
    return _mm512_permutevar_ps(quad, reinterpret_cast<__m512i>(code));
#elif defined(__AVX2__)
    return _mm256_permutevar_ps(quad, reinterpret_cast<__m256i>(code));
#elif defined(__ARM_NEON)
    const Integers bytes = code * 0x04040404 + 0x03020100;  // of the float that each lane wants; zero beyond the quad
    return reinterpret_cast<Vector>(vqtbl1q_u8(reinterpret_cast<uint8x16_t>(quad), reinterpret_cast<uint8x16_t>(bytes)));
#else
    Vector picked = broadcast(quad[0]);
    for (int position = 1; position < 4; ++position) picked = code == Integers{} + position ? broadcast(quad[position]) : picked;
    return picked;
#endif
}

// The quads of the lines that so many pooled rows see, from row `first` on.
void lay_out_quads(const ChosenWeightGradient& job, Index first, Index rows) {
    const Index lines = (2 * rows - 2) * job.line_step + job.window_lines;
    for (Index line = 0; line < lines; ++line) {
        const float* const upper = job.input + (2 * first * job.line_step + line) * job.line;
        const float* const lower = upper + job.input_line;
        float* const to = job.quads + line * 4 * job.line_floats;
        for (Index i = 0; i < job.line_floats; ++i) {
            to[4 * i] = upper[i];
            to[4 * i + 1] = upper[i + job.input_stride];
            to[4 * i + 2] = lower[i];
            to[4 * i + 3] = lower[i + job.input_stride];
        }
    }
}

// Some pooled rows; `add`: to what dweight and dbias hold.
struct Band {
    Index first, rows;
    bool add;
};

template <int taps, int vectors>
void chosen_tile(const ChosenWeightGradient& job, const Band& band, Index first_tap, Index k) {
    const bool with_bias = job.dbias != nullptr && first_tap == 0;  // the first tile sums the bias's gradient, too
    Vector sum[taps][vectors], bias[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) bias[v] = with_bias && band.add ? load(job.dbias + k + v * lanes) : zero();
    float* const to = job.dweight + k * job.taps + first_tap * vectors * lanes;
#pragma GCC unroll 9
    for (int t = 0; t < taps; ++t)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sum[t][v] = band.add ? load(to + (t * vectors + v) * lanes) : zero();
    const Index* const offsets = job.quad_offsets + first_tap;
    for (Index h = band.first; h < band.first + band.rows; ++h)
        for (Index w = 0; w < job.pooled_width; ++w) {
            const std::uint8_t* const codes = job.code + (h * job.pooled_width + w) * job.code_stride + k;
            const float* const dy = job.dy + h * job.dy_line + w * job.dy_stride + k;
            const float* const corner =
                job.quads + 4 * (2 * (h - band.first) * job.line_step * job.line_floats + 2 * w * job.input_stride);
            Vector d[vectors];
            Integers code[vectors];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) {
                code[v] = load_bytes(codes + v * lanes);
                d[v] = code[v] < Integers{} + inactive ? load(dy + v * lanes) : zero();
                bias[v] += d[v];
            }
#pragma GCC unroll 9
            for (int t = 0; t < taps; ++t) {
                const Vector quad = load_quad(corner + offsets[t]);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; ++v) sum[t][v] = multiply_add(pick(quad, code[v]), d[v], sum[t][v]);
            }
        }
#pragma GCC unroll 9
    for (int t = 0; t < taps; ++t)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) store(to + (t * vectors + v) * lanes, sum[t][v]);
    if (with_bias)
        for (int v = 0; v < vectors; ++v) store(job.dbias + k + v * lanes, bias[v]);
}

template <int vectors>
void chosen_panel(const ChosenWeightGradient& job, const Band& band, Index k) {
    const Index tiles = (job.taps + chosen_taps - 1) / chosen_taps;
    for (Index tile = 0, t = 0; tile < tiles; ++tile) {
        const Index count = (job.taps - t + tiles - tile - 1) / (tiles - tile);  // nearly equal
        switch (count) {
            case 1: chosen_tile<1, vectors>(job, band, t, k); break;
            case 2: chosen_tile<2, vectors>(job, band, t, k); break;
            case 3: chosen_tile<3, vectors>(job, band, t, k); break;
            case 4: chosen_tile<4, vectors>(job, band, t, k); break;
#if defined(__AVX512F__) || defined(__ARM_NEON)
            case 5: chosen_tile<5, vectors>(job, band, t, k); break;
            case 6: chosen_tile<6, vectors>(job, band, t, k); break;
            case 7: chosen_tile<7, vectors>(job, band, t, k); break;
            case 8: chosen_tile<8, vectors>(job, band, t, k); break;
            case 9: chosen_tile<9, vectors>(job, band, t, k); break;
#endif
            default: break;
        }
        t += count;
    }
}

void chosen_weight_gradient(const ChosenWeightGradient& job) {
    for (Index first = 0; first < job.pooled_height; first += job.rows_at_once) {
        const Index left = job.pooled_height - first;
        const Band band{first, left < job.rows_at_once ? left : job.rows_at_once, first > 0 || job.accumulate};
        lay_out_quads(job, first, band.rows);
        for (Index k = 0; k < job.channels; k += 2 * lanes)
            job.channels - k > lanes ? chosen_panel<2>(job, band, k) : chosen_panel<1>(job, band, k);
    }
}

}  // namespace
