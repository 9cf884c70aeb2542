// One step of a recurrent layer behind its matrix products, and the way back through it, image by image.
//
//   Elman  h = f(a)                                                      f = tanh or ReLU
//   LSTM   i, f, o = σ(a_i, a_f, a_o), g = tanh(a_g), c = f·c⁻ + i·g, s = tanh(c), h = o·s
//   GRU    r, z = σ(a_r, a_z), n = tanh(a_n + r·past), h = (1 - z)·n + z·h⁻
//
// a is what the products of the input and of the state before, h⁻, give; c⁻ is the memory before. An image's row of a holds
// its gates one behind the other, each padded to whole vectors: i, f, g, o, or r, z, n, past (the proposal's part of the state's
// product, which the reset gate lets through or not). What the gates become replaces the row, and on the way back the row's
// gradient replaces that: nothing is computed twice and nothing copied. The rows of a block of images have just been written
// by the product and lie in the cache.
//
// A mask may say that an image's sequence has ended: its state is carried on, its output is 0 and its row's gradient is 0.
// Padding: products give 0 there, and every cell makes 0 of it, forwards and backwards.
#pragma once

#include "activations.hpp"
#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Cell;
using tatami::CellGradient;
using tatami::CellStep;

TATAMI_INLINE bool is_present(const float* present, Index stride, Index n) {
    return present == nullptr || present[n * stride] > 0.5f;
}

void carry_on(const CellStep& step, Index n) {
    const float* const before = step.state + n * step.state_stride;
    float* const after = step.next + n * step.next_stride;
    for (Index u = 0; u < step.width; u += lanes) {
        store(after + u, load(before + u));
        if (step.output) store(step.output + n * step.output_stride + u, zero());
        if (step.cell != Cell::lstm) continue;
        store(step.cell_after + n * step.cell_stride + u, load(step.cell_before + n * step.cell_stride + u));
    }
}

// What one vector of units becomes: h, with what the way back needs stored.
template <Cell cell>
TATAMI_INLINE Vector cell_of(const CellStep& step, Index n, Index u) {
    float* const gates = step.gates + n * step.gates_stride + u;
    const Index gate = step.width;
    if constexpr (cell == Cell::rnn_tanh || cell == Cell::rnn_relu) {
        const Vector a = load(gates);
        const Vector h = cell == Cell::rnn_tanh ? hyperbolic_tangent(a) : relu(a);
        store(gates, h);
        return h;
    } else if constexpr (cell == Cell::lstm) {
        const Vector i = sigmoid(load(gates)), f = sigmoid(load(gates + gate));
        const Vector g = hyperbolic_tangent(load(gates + 2 * gate)), o = sigmoid(load(gates + 3 * gate));
        const Vector c = multiply_add(f, load(step.cell_before + n * step.cell_stride + u), i * g);
        const Vector s = hyperbolic_tangent(c);
        store(step.cell_after + n * step.cell_stride + u, c);
        if (step.squashed) {
            store(gates, i);
            store(gates + gate, f);
            store(gates + 2 * gate, g);
            store(gates + 3 * gate, o);
            store(step.squashed + n * step.squashed_stride + u, s);
        }
        return o * s;
    } else {
        const Vector r = sigmoid(load(gates)), z = sigmoid(load(gates + gate));
        const Vector proposal = hyperbolic_tangent(multiply_add(r, load(gates + 3 * gate), load(gates + 2 * gate)));
        store(gates, r);
        store(gates + gate, z);
        store(gates + 2 * gate, proposal);
        const Vector before = load(step.state + n * step.state_stride + u);
        return multiply_add(z, before, (broadcast(1.0f) - z) * proposal);
    }
}

template <Cell cell>
void step_through(const CellStep& step) {
    for (Index n = 0; n < step.images; ++n) {
        if (!is_present(step.present, step.present_stride, n)) {
            carry_on(step, n);
            continue;
        }
        for (Index u = 0; u < step.width; u += lanes) {
            const Vector h = cell_of<cell>(step, n, u);
            store(step.next + n * step.next_stride + u, h);
            if (step.output) store(step.output + n * step.output_stride + u, h);
        }
    }
}

void recurrent_step(const CellStep& step) {
    switch (step.cell) {
        case Cell::rnn_tanh: step_through<Cell::rnn_tanh>(step); break;
        case Cell::rnn_relu: step_through<Cell::rnn_relu>(step); break;
        case Cell::lstm: step_through<Cell::lstm>(step); break;
        case Cell::gru: step_through<Cell::gru>(step); break;
    }
}

// One vector of units: dh in, the gates' gradients stored in their places, and what of dh goes straight to h before.
template <Cell cell>
TATAMI_INLINE Vector cell_gradient_of(const CellGradient& job, Index n, Index u, Vector dh) {
    float* const gates = job.gates + n * job.gates_stride + u;
    const Index gate = job.width;
    const Vector one = broadcast(1.0f);
    if constexpr (cell == Cell::rnn_tanh || cell == Cell::rnn_relu) {
        const Vector h = load(gates);
        store(gates, cell == Cell::rnn_tanh ? dh * (one - h * h) : (h > zero() ? dh : zero()));
        return zero();
    } else if constexpr (cell == Cell::lstm) {
        const Vector i = load(gates), f = load(gates + gate), g = load(gates + 2 * gate), o = load(gates + 3 * gate);
        const Vector s = load(job.squashed + n * job.squashed_stride + u);
        float* const dcell = job.dcell + n * job.dstate_stride + u;
        const Vector dc = multiply_add(dh * o, one - s * s, load(dcell));
        const Vector before = load(job.cell_before + n * job.cell_stride + u);
        store(gates, dc * g * i * (one - i));
        store(gates + gate, dc * before * f * (one - f));
        store(gates + 2 * gate, dc * i * (one - g * g));
        store(gates + 3 * gate, dh * s * o * (one - o));
        store(dcell, dc * f);
        return zero();
    } else {
        const Vector r = load(gates), z = load(gates + gate), proposal = load(gates + 2 * gate), past = load(gates + 3 * gate);
        const Vector before = load(job.state + n * job.state_stride + u);
        const Vector dn = dh * (one - z) * (one - proposal * proposal);
        store(gates, dn * past * r * (one - r));
        store(gates + gate, dh * (before - proposal) * z * (one - z));
        store(gates + 2 * gate, dn);
        store(gates + 3 * gate, dn * r);
        return dh * z;
    }
}

template <Cell cell>
void go_back(const CellGradient& job) {
    constexpr Index gates = cell == Cell::lstm || cell == Cell::gru ? 4 : 1;
    for (Index n = 0; n < job.images; ++n) {
        if (!is_present(job.present, job.present_stride, n)) {
            for (Index i = 0; i < gates * job.width; i += lanes) store(job.gates + n * job.gates_stride + i, zero());
            continue;
        }
        const float* const dy = job.dy ? job.dy + n * job.dy_stride : nullptr;
        float* const dstate = job.dstate + n * job.dstate_stride;
        for (Index u = 0; u < job.width; u += lanes) {
            Vector dh = load(dstate + u);
            if (dy) dh += u + lanes <= job.units ? load(dy + u) : load_partial(dy + u, static_cast<int>(job.units - u));
            store(dstate + u, cell_gradient_of<cell>(job, n, u, dh));
        }
    }
}

void recurrent_gradient(const CellGradient& job) {
    switch (job.cell) {
        case Cell::rnn_tanh: go_back<Cell::rnn_tanh>(job); break;
        case Cell::rnn_relu: go_back<Cell::rnn_relu>(job); break;
        case Cell::lstm: go_back<Cell::lstm>(job); break;
        case Cell::gru: go_back<Cell::gru>(job); break;
    }
}

}  // namespace
