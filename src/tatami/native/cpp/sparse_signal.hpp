// Input gradient of a signal's convolution behind fused ReLU and pooling in pairs, from the winners alone.
//
//   dx(2p + j + t) += dy(p, k) · weight(k, t)      for the one position j of {0, 1} that won, where ReLU was active
//
// At most one of two gradients of the convolution's output differs from zero, and that only where ReLU let it pass: about
// three in ten. For each pooled value the filters that won are the bits of two masks, one for each position, as in
// sparse_gradient.hpp. Both positions together see taps + 1 pixels; with one vector of input channels they stay in registers
// while the masks of up to 64 filters are walked, and are added to dx once. The weights lie as (vector of input channels,
// filter, tap), so that 64 filters of 5 taps, 20 KB with AVX-512, stay in the first-level cache for a whole signal.
#pragma once

#include "sparse_gradient.hpp"

namespace {

using tatami::SignalInputGradient;

constexpr int signal_filters = 64;  // of one mask

// Bit i: whether filter i won at that position.
TATAMI_INLINE std::uint64_t winners_at(const std::uint8_t* code, std::uint8_t position, Index count) {
    std::uint64_t found = equal_bytes(code, position);
    if (count > 32) found |= std::uint64_t{equal_bytes(code + 32, position)} << 32;
    return count < signal_filters ? found & ((std::uint64_t{1} << count) - 1) : found;
}

template <int taps, int first>
TATAMI_INLINE void add_signal_filters(std::uint64_t mask, const float* dy, const float* weight, Vector (&window)[taps + 1]) {
    while (mask != 0) {
        const int k = __builtin_ctzll(mask);
        mask &= mask - 1;
        const Vector g = broadcast(dy[k]);
        const float* const row = weight + k * taps * lanes;
#pragma GCC unroll 16
        for (int t = 0; t < taps; ++t) window[first + t] = multiply_add(g, load(row + t * lanes), window[first + t]);
    }
}

template <int taps>
void signal_block(const SignalInputGradient& job, Index vector, Index first) {
    const float* const weight = job.weight + (vector * job.channels + first) * taps * lanes;
    const Index left = job.channels - first, count = left < signal_filters ? left : signal_filters;
    for (Index p = 0; p < job.pooled_width; ++p) {
        const std::uint8_t* const code = job.code + p * job.code_stride + first;
        const float* const dy = job.dy + p * job.dy_stride + first;
        Vector window[taps + 1] = {};
        add_signal_filters<taps, 0>(winners_at(code, 0, count), dy, weight, window);
        add_signal_filters<taps, 1>(winners_at(code, 1, count), dy, weight, window);
        float* const to = job.window + 2 * p * job.pixel + vector * lanes;
#pragma GCC unroll 16
        for (int t = 0; t < taps + 1; ++t) store(to + t * job.pixel, load(to + t * job.pixel) + window[t]);
    }
}

template <int taps>
void signal_blocks(const SignalInputGradient& job) {
    for (Index vector = 0; vector < job.input_vectors; ++vector)
        for (Index first = 0; first < job.channels; first += signal_filters) signal_block<taps>(job, vector, first);
}

void sparse_signal_gradient(const SignalInputGradient& job) {
    switch (job.taps) {
        case 2: signal_blocks<2>(job); break;
        case 3: signal_blocks<3>(job); break;
        case 4: signal_blocks<4>(job); break;
        case 5: signal_blocks<5>(job); break;
        case 6: signal_blocks<6>(job); break;
        case 7: signal_blocks<7>(job); break;
        case 8: signal_blocks<8>(job); break;
        case 9: signal_blocks<9>(job); break;
        default: break;
    }
}

}  // namespace
