// The input gradient of sparse_gradient.hpp with products of bf16 pairs: filters 2m and 2m + 1 share a word.
//
//   window(row, column) += g(2m) · weight(2m, tap) + g(2m + 1) · weight(2m + 1, tap)
//
// For each of the four positions under a pooled value a word holds dy of the two filters, and zero for one whose winner stands
// elsewhere; pairs of which neither stands there are skipped. With one winner in four that saves but one product in ten. What
// pays is that the weights take half the room: 64 filters' share for one vector of input channels fits the first-level cache, not
// 32, so the image is walked half as often, with half the mispredicted ends of loops and half the additions to dx.
//
// Only processors whose instruction multiplies pairs take this way; they have 32 registers, 16 of which hold the 4×4 window.
#pragma once

#include "pairs.hpp"
#include "sparse_gradient.hpp"

namespace {

constexpr int pair_filters = 64;  // filters of one mask

TATAMI_INLINE std::uint32_t bits_of_float(const float* from) {
    std::uint32_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return bits;
}

// A bit for every filter of the mask; dy is rounded to bf16.
template <int top, int left>
TATAMI_INLINE void add_filter_pairs(std::uint64_t mask, const float* dy, const float* weight, Vector (&window)[16]) {
    std::uint64_t left_over = (mask | mask >> 1) & 0x5555555555555555u;
    while (left_over != 0) {
        const int k = __builtin_ctzll(left_over);
        left_over &= left_over - 1;
        const std::uint32_t own = static_cast<std::uint32_t>(mask >> k);
        const std::uint32_t lower = bits_of_float(dy + k) >> 16 & (0u - (own & 1u));
        const std::uint32_t upper = bits_of_float(dy + k + 1) & upper_half & (0u - (own >> 1 & 1u));
        const PairVector g = PairVector{} + (lower | upper);
        const float* const taps = weight + k / 2 * 9 * lanes;
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
            for (int c = 0; c < 3; ++c)
                window[(top + r) * 4 + left + c] =
                    dot_pairs(load_words(taps + (r * 3 + c) * lanes), g, window[(top + r) * 4 + left + c]);
    }
}

// `weight` of the job: vectors of input channels × pairs of filters × 9 × lanes words.
void sparse_input_gradient_of_pairs(const SparseInputGradient& job) {
    const Index pairs = (job.channels + 1) / 2;
    for (Index vector = 0; vector < job.input_vectors; ++vector)
        for (Index first = 0; first < job.channels; first += pair_filters) {
            const float* const weight = job.weight + (vector * pairs + first / 2) * 9 * lanes;
            const Index count = job.channels - first;
            for (Index h = 0; h < job.pooled_height; ++h) {
                const Index y = 2 * h - job.top;
                const unsigned inside = rows_inside(job, y, 4);
                Index x = -job.left;
                Vector window[16] = {};
                for (Index w = 0; w < job.pooled_width; ++w, x += 2) {
                    const std::uint8_t* const code = job.code + (h * job.pooled_width + w) * job.code_stride + first;
                    const float* const dy = job.dy + h * job.dy_line + w * job.dy_stride + first;
                    std::uint32_t low[4], high[4] = {};
                    winners(code, count, low);
                    if (count > word_filters) winners(code + word_filters, count - word_filters, high);
                    std::uint64_t found[4];
                    for (int position = 0; position < 4; ++position)
                        found[position] = std::uint64_t{high[position]} << 32 | low[position];
                    add_filter_pairs<0, 0>(found[0], dy, weight, window);
                    add_filter_pairs<0, 1>(found[1], dy, weight, window);
                    add_filter_pairs<1, 0>(found[2], dy, weight, window);
                    add_filter_pairs<1, 1>(found[3], dy, weight, window);
                    add_columns<2, 4>(job, vector, y, x, inside, window);
                    next_columns(window);
                }
                add_columns<2, 4>(job, vector, y, x, inside, window);
            }
        }
}

}  // namespace
