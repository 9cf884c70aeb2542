// Convolution of signals, Winograd's way along the one axis: forward, and the input gradient as the same convolution of dy with
// the taps from the last to the first. See winograd_signal.hpp.
#include "convolution.hpp"

namespace tatami {

namespace {

// Products for two outputs: runs of three taps take 4, runs of two take 3.
Index products_of(Index taps) {
    const Index threes = taps % 3 == 1 ? (taps - 4) / 3 : taps / 3;
    return 4 * threes + 3 * ((taps - 3 * threes) / 2);
}

// Pairs of outputs whose transformed inputs leave half of the first-level cache to the weights.
Index pairs_at_once(Index products, Index pixel) {
    constexpr Index floats = 4096;
    return std::max<Index>(3, floats / (products * pixel));
}

}  // namespace

void Convolution::prepare_signal(const Tensor& x) {
    const bool plain = !average && (relu || (!curve && !pool));
    signal_forward = signal && plain && x.stride % lanes == 0;
    const Index products = products_of(taps);
    if (signal_forward) {
        signal_weight = plan.reserve(products * round_up(settings.shape.channels, lanes) * group_channels);
        plan.need_scratch(pairs_at_once(products, x.stride) * products * x.stride);
    }
}

void Convolution::prepare_signal_gradient() {
    signal_backward = signal && wants_input_gradient && !sparse_input;
    if (!signal_backward) return;
    const Tensor& du = pool ? *full_gradient : plan.gradient(node);
    const Index products = products_of(taps);
    signal_input_weight = plan.reserve(products * round_up(group_channels, lanes) * settings.shape.channels);
    plan.need_scratch(pairs_at_once(products, du.stride) * products * du.stride);
}

void Convolution::pack_signal() {
    const Index products = products_of(taps);
    if (signal_forward)
        for (const Panel& panel : plan_panels())
            plan.kernels.signal_winograd_weight(weight_values() + panel.weight,
                                                plan.arena() + signal_weight + panel.first * products * group_channels,
                                                group_channels, taps, panel.vectors, false);
    if (signal_backward)
        for (Index first = 0; first < group_channels; first += 2 * lanes)
            plan.kernels.signal_winograd_weight(plan.arena() + phases[0].weight + first * taps * group_filters,
                                                plan.arena() + signal_input_weight + first * products * group_filters,
                                                group_filters, taps, group_channels - first > lanes ? 2 : 1, true);
}

// What forward pass and input gradient have in common: `from` is read, `columns` filters are written.
SignalWinograd Convolution::signal_of(const Tensor& from, Index channels, Index columns, int thread) const {
    SignalWinograd job{};
    job.pixel = from.stride;
    job.input_channels = channels;
    job.taps = taps;
    job.panels = (columns + 2 * lanes - 1) / (2 * lanes);
    job.last_vectors = columns - (job.panels - 1) * 2 * lanes > lanes ? 2 : 1;
    job.pairs = pairs_at_once(products_of(taps), from.stride);
    job.scratch = plan.scratch(thread);
    return job;
}

void Convolution::forward_signal(const float* from, float* to, Index n, int thread) const {
    const Tensor& y = plan.value(node);
    SignalWinograd job = signal_of(plan.value(input), group_channels, group_filters, thread);
    job.input = from;
    job.width = settings.shape.size[2];
    job.weight = plan.arena() + signal_weight;
    job.bias = bias_values();
    job.output = to;
    job.output_pixel = y.step[2];
    job.relu = relu;
    job.pool = pool;
    job.code = pool && plan.trains() ? plan.codes(code_base, n, code_image) : nullptr;
    job.code_stride = y.stride;
    plan.kernels.signal_winograd(job);
}

void Convolution::signal_input_gradient(const Tensor& du, const float* dy, float* to, int thread) const {
    const Tensor& dx = plan.gradient(input);
    SignalWinograd job = signal_of(du, group_filters, group_channels, thread);
    job.input = dy + (settings.window.before[2] - taps + 1) * du.step[2];
    job.width = dx.size[2];
    job.weight = plan.arena() + signal_input_weight;
    job.output = to;
    job.output_pixel = dx.step[2];
    job.accumulate = accumulate_input;
    plan.kernels.signal_winograd(job);
}

}  // namespace tatami
