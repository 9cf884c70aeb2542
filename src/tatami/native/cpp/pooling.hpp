// Pooling of one image, channels-last: the vector runs over channels, the windows are visited one by one.
//
// A window is clipped to the image, so padded positions are never looked at. Maximum: the first of equal maxima in row
// order wins, because a later one has to be larger; its tap number is kept for the gradient. Gradients add into dx, which
// the engine has set to zero (or which holds another consumer's gradient), window by window in row order.
#pragma once

#include "vector.hpp"
#include "kernel_table.hpp"

namespace {

using tatami::Index;
using tatami::Pooling;
using tatami::PoolingGradient;

// The part of a window that lies inside the image: taps [from, to) along each axis, and where tap 0 would stand.
struct Window {
    Index from[3], to[3], start[3];

    static Window at(const Pooling& job, const Index position[3]) {
        Window window;
        for (int axis = 0; axis < 3; ++axis) {
            const Index start = position[axis] * job.stride[axis] - job.before[axis];
            window.start[axis] = start;
            const Index gap = job.dilation[axis];
            window.from[axis] = start < 0 ? (gap == 1 ? -start : (gap - 1 - start) / gap) : 0;
            const Index beyond = job.size[axis] - start;  // taps stand at 0, gap, 2·gap, … below it
            const Index room = gap == 1 || beyond <= 0 ? beyond : (beyond + gap - 1) / gap;
            window.to[axis] = room < job.kernel[axis] ? room : job.kernel[axis];
            if (window.to[axis] < window.from[axis]) window.to[axis] = window.from[axis];
        }
        return window;
    }

    Index inside() const { return (to[0] - from[0]) * (to[1] - from[1]) * (to[2] - from[2]); }
};

TATAMI_INLINE Index offset_of(const Index position[3], const Index step[3]) {
    return position[0] * step[0] + position[1] * step[1] + position[2] * step[2];
}

// Calls visit(position, window) for every output position in row order.
template <typename Visit>
TATAMI_INLINE void for_each_window(const Pooling& job, Visit visit) {
    Index position[3];
    for (position[0] = 0; position[0] < job.output_size[0]; ++position[0])
        for (position[1] = 0; position[1] < job.output_size[1]; ++position[1])
            for (position[2] = 0; position[2] < job.output_size[2]; ++position[2])
                visit(position, Window::at(job, position));
}

// Calls visit(tap number, input offset) for every tap inside the image in row order.
template <typename Visit>
TATAMI_INLINE void for_each_tap(const Pooling& job, const Window& window, const Index step[3], Visit visit) {
    const Index origin = offset_of(window.start, step);
    const Index plane = job.dilation[0] * step[0], row = job.dilation[1] * step[1], pixel = job.dilation[2] * step[2];
    for (Index d = window.from[0]; d < window.to[0]; ++d)
        for (Index h = window.from[1]; h < window.to[1]; ++h)
            for (Index w = window.from[2]; w < window.to[2]; ++w)
                visit(static_cast<std::int32_t>((d * job.kernel[1] + h) * job.kernel[2] + w),
                      origin + d * plane + h * row + w * pixel);
}

void max_pool(const Pooling& job) {
    for_each_window(job, [&](const Index position[3], const Window& window) {
        float* const y = job.output + offset_of(position, job.output_step);
        std::int32_t* const winners = job.winner ? job.winner + offset_of(position, job.winner_step) : nullptr;
        for (Index c = 0; c < job.channels; c += lanes) {
            Vector best = zero();
            Integers winner{};
            bool first = true;
            for_each_tap(job, window, job.input_step, [&](std::int32_t tap, Index offset) {
                const Vector x = load(job.input + offset + c);
                const Integers larger = first ? Integers{} - 1 : Integers(x > best);
                best = larger ? x : best;
                winner = larger ? Integers{} + tap : winner;
                first = false;
            });
            store(y + c, best);
            if (winners) store_integers(winners + c, winner);
        }
    });
}

// Every maximum of a window gets dy, or all of them share it.
TATAMI_INLINE void max_pool_gradient_of_ties(const PoolingGradient& job) {
    for_each_window(job.forward, [&](const Index position[3], const Window& window) {
        const float* const dy = job.dy + offset_of(position, job.dy_step);
        const float* const y = job.forward.output + offset_of(position, job.forward.output_step);
        for (Index c = 0; c < job.forward.channels; c += lanes) {
            const Vector maximum = load(y + c);
            Vector count = zero();
            for_each_tap(job.forward, window, job.forward.input_step, [&](std::int32_t, Index offset) {
                count += load(job.forward.input + offset + c) == maximum ? broadcast(1.0f) : zero();
            });
            const Vector share = job.forward.ties == tatami::Ties::even ? load(dy + c) / count : load(dy + c);
            for (Index d = window.from[0]; d < window.to[0]; ++d)
                for (Index h = window.from[1]; h < window.to[1]; ++h)
                    for (Index w = window.from[2]; w < window.to[2]; ++w) {
                        const Index at[3] = {window.start[0] + d * job.forward.dilation[0],
                                             window.start[1] + h * job.forward.dilation[1],
                                             window.start[2] + w * job.forward.dilation[2]};
                        const auto won = load(job.forward.input + offset_of(at, job.forward.input_step) + c) == maximum;
                        float* const dx = job.dx + offset_of(at, job.dx_step) + c;
                        store(dx, load(dx) + (won ? share : zero()));
                    }
        }
    });
}

void max_pool_gradient(const PoolingGradient& job) {
    if (job.forward.ties != tatami::Ties::first) return max_pool_gradient_of_ties(job);
    for_each_window(job.forward, [&](const Index position[3], const Window& window) {
        const float* const dy = job.dy + offset_of(position, job.dy_step);
        const std::int32_t* const winners = job.forward.winner + offset_of(position, job.forward.winner_step);
        for_each_tap(job.forward, window, job.dx_step, [&](std::int32_t tap, Index offset) {
            for (Index c = 0; c < job.forward.channels; c += lanes) {
                const Integers won = load_integers(winners + c) == Integers{} + tap;
                float* const dx = job.dx + offset + c;
                store(dx, load(dx) + (won ? load(dy + c) : zero()));
            }
        });
    });
}

TATAMI_INLINE float average_share(const Pooling& job, const Window& window) {
    const Index all = job.kernel[0] * job.kernel[1] * job.kernel[2];
    const Index count = job.count_padding ? all : window.inside();
    return count > 0 ? 1.0f / static_cast<float>(count) : 0.0f;
}

void average_pool(const Pooling& job) {
    for_each_window(job, [&](const Index position[3], const Window& window) {
        float* const y = job.output + offset_of(position, job.output_step);
        const Vector share = broadcast(average_share(job, window));
        for (Index c = 0; c < job.channels; c += lanes) {
            Vector sum = zero();
            for_each_tap(job, window, job.input_step,
                         [&](std::int32_t, Index offset) { sum += load(job.input + offset + c); });
            store(y + c, sum * share);
        }
    });
}

void average_pool_gradient(const PoolingGradient& job) {
    for_each_window(job.forward, [&](const Index position[3], const Window& window) {
        const float* const dy = job.dy + offset_of(position, job.dy_step);
        const Vector share = broadcast(average_share(job.forward, window));
        for_each_tap(job.forward, window, job.dx_step, [&](std::int32_t, Index offset) {
            for (Index c = 0; c < job.forward.channels; c += lanes) {
                float* const dx = job.dx + offset + c;
                store(dx, load(dx) + load(dy + c) * share);
            }
        });
    });
}

// x^p for 0 <= x: p = 1 and 2 exactly, the rest channel by channel with the C library.
TATAMI_INLINE Vector power(Vector x, float p) {
    if (p == 0.0f) return broadcast(1.0f);
    if (p == 1.0f) return x;
    if (p == 2.0f) return x * x;
    if (p == 0.5f) return square_root(x);
    Vector result = zero();
    for (int lane = 0; lane < lanes; ++lane) result[lane] = __builtin_powf(x[lane], p);
    return result;
}

TATAMI_INLINE Vector magnitude(Vector x) { return x < zero() ? -x : x; }

// y = (m · sum |x|^p)^(1/p), the largest |x| taken out of the root so that nothing overflows.
void lp_pool(const Pooling& job) {
    for_each_window(job, [&](const Index position[3], const Window& window) {
        float* const y = job.output + offset_of(position, job.output_step);
        const Vector share = broadcast(job.normalise ? average_share(job, window) : 1.0f);
        for (Index c = 0; c < job.channels; c += lanes) {
            Vector largest = zero();
            for_each_tap(job, window, job.input_step, [&](std::int32_t, Index offset) {
                const Vector x = magnitude(load(job.input + offset + c));
                largest = x > largest ? x : largest;
            });
            const Vector divisor = largest > zero() ? largest : broadcast(1.0f);
            Vector sum = zero();
            for_each_tap(job, window, job.input_step, [&](std::int32_t, Index offset) {
                sum += power(magnitude(load(job.input + offset + c)) / divisor, job.exponent);
            });
            store(y + c, largest * power(sum * share, 1.0f / job.exponent));
        }
    });
}

// dx = m · sign(x) · (|x| / y)^(p - 1) · dy; 0 where the whole window is zero.
void lp_pool_gradient(const PoolingGradient& job) {
    for_each_window(job.forward, [&](const Index position[3], const Window& window) {
        const float* const dy = job.dy + offset_of(position, job.dy_step);
        const float* const y = job.forward.output + offset_of(position, job.forward.output_step);
        const Vector share = broadcast(job.forward.normalise ? average_share(job.forward, window) : 1.0f);
        for_each_tap(job.forward, window, job.dx_step, [&](std::int32_t tap, Index offset) {
            const Index width = job.forward.kernel[2], height = job.forward.kernel[1];
            const Index* const gap = job.forward.dilation;
            const Index at[3] = {window.start[0] + tap / (height * width) * gap[0],
                                 window.start[1] + tap / width % height * gap[1], window.start[2] + tap % width * gap[2]};
            const float* const x = job.forward.input + offset_of(at, job.forward.input_step);
            for (Index c = 0; c < job.forward.channels; c += lanes) {
                const Vector norm = load(y + c), value = load(x + c);
                const Vector divisor = norm > zero() ? norm : broadcast(1.0f);
                const Vector slope = power(magnitude(value) / divisor, job.forward.exponent - 1.0f);
                Vector signed_slope = value > zero() ? slope : zero();
                signed_slope = value < zero() ? -slope : signed_slope;
                const Vector given = norm > zero() ? load(dy + c) * share : zero();
                float* const dx = job.dx + offset + c;
                store(dx, load(dx) + given * signed_slope);
            }
        });
    });
}

}  // namespace
