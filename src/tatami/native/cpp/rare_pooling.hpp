// Poolings of a rarer kind, for one image: where maxima stood, and a random entry of every window.
//
//   take_winners     dx(i) (+)= dy(winner(i)): the way back through an unpooling
//   stochastic_pool  with u(i) drawn from 0 to 1: the first tap m with a(0) + … + a(m) > u·Σ a, else Σ (a/Σ a)·a; a = max(x, 0)
//
// Windows are visited as in pooling.hpp, the vector runs over channels. The chosen tap is kept as a maximum's is, so that
// the way back is that of a maximum; where nothing is above 0 no tap is chosen.
#pragma once

#include "layer_table.hpp"
#include "pooling.hpp"
#include "vector.hpp"

namespace {

void take_winners(const PoolingGradient& job, bool accumulate) {
    for_each_window(job.forward, [&](const Index position[3], const Window& window) {
        float* const dx = job.dx + offset_of(position, job.dx_step);
        const std::int32_t* const winners = job.forward.winner + offset_of(position, job.forward.winner_step);
        for (Index c = 0; c < job.forward.channels; c += lanes) {
            const Integers winner = load_integers(winners + c);
            Vector taken = zero();
            for_each_tap(job.forward, window, job.dy_step, [&](std::int32_t tap, Index offset) {
                taken = winner == Integers{} + tap ? load(job.dy + offset + c) : taken;
            });
            store(dx + c, accumulate ? load(dx + c) + taken : taken);
        }
    });
}

void stochastic_pool(const Pooling& job, const float* drawn) {
    for_each_window(job, [&](const Index position[3], const Window& window) {
        float* const y = job.output + offset_of(position, job.output_step);
        const Index at = drawn ? offset_of(position, job.winner_step) : 0;
        for (Index c = 0; c < job.channels; c += lanes) {
            const auto entry = [&](Index offset) { return relu(load(job.input + offset + c)); };
            Vector total = zero();
            for_each_tap(job, window, job.input_step, [&](std::int32_t, Index offset) { total += entry(offset); });
            Vector result = zero();
            if (drawn == nullptr) {
                const Vector safe = total > zero() ? total : broadcast(1.0f);
                for_each_tap(job, window, job.input_step, [&](std::int32_t, Index offset) {
                    const Vector a = entry(offset);
                    result += a / safe * a;
                });
                store(y + c, result);
                continue;
            }
            const Vector threshold = load(drawn + at + c) * total;
            Vector running = zero();
            Integers winner = Integers{} - 1;
            for_each_tap(job, window, job.input_step, [&](std::int32_t tap, Index offset) {
                const Vector a = entry(offset);
                running += a;
                const Integers now = Integers(running > threshold) & Integers(winner < Integers{});
                result = now ? a : result;
                winner = now ? Integers{} + tap : winner;
            });
            store(y + c, result);
            store_integers(job.winner + at + c, winner);
        }
    });
}

}  // namespace
