// Convolution: what is planned once, and the forward pass.
//
// A panel of filters is taken over all rows of output pixels. With ReLU and 2×2 maxima fused, four pixels stay in registers
// until their maximum is known; products of bf16, and signals of few channels, go two rows, or one, at a time through a strip of
// scratch memory that stays in the first-level cache. 3×3 windows with enough channels take Winograd's way, signals with enough
// channels another form of it (convolution_signal.cpp), 1×1 windows behind ReLU skip its zeros (skipping.hpp), and
// where every channel has its own filter the vector runs over channels. Other activations and averages: convolution_fused.cpp.
//
// At prediction a batch normalisation behind it is a line through constants, and goes into the weights when they are packed:
//   (x * w + b - mean) · factor + β = x * (w · factor) + ((b - mean) · factor + β),  factor = γ / √(σ² + ε)
#include "convolution.hpp"

#include <cmath>

namespace tatami {

Convolution::Convolution(Plan& owner, const Fused& with)
    : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(with.first)].inputs[0], with.output),
      fused(with),
      convolution(with.first),
      normalization(with.normalization),
      settings(owner.engine.nodes()[static_cast<std::size_t>(convolution)]),
      curve(fused_curve(owner.engine, with)),
      pool(with.pool >= 0),
      average(pool && owner.engine.nodes()[static_cast<std::size_t>(with.pool)].kind == Kind::average_pool),
      relu(is_relu(curve) && !average),
      depthwise(is_depthwise(owner.engine, convolution)),
      pairs(uses_pairs(owner.engine, convolution)),
      rounds(rounds_operands(owner.engine, convolution)),
      lanes(owner.kernels.lanes) {
    const Shape& from = owner.engine.nodes()[static_cast<std::size_t>(input)].shape;
    group_channels = from.channels / settings.groups;
    group_filters = settings.shape.channels / settings.groups;
    find_phases(from);
    winograd = winograd_fits(owner.engine, convolution);
    if (winograd)
        for (int axis = 1; axis < 3; ++axis) border_after[axis] += from.size[axis] % 2;
    signal = signal_fits(owner.engine, convolution);
    if (signal) border_after[2] += from.size[2] % 2;
    if (!pool) {
        Tensor& dy = plan.gradient_to_arrange(node);
        dy.before = border_before;
        dy.after = border_after;
    }
}

std::string Convolution::describe() const {
    std::string text = depthwise ? "depthwise convolution" : settings.connections.empty() ? "convolution" : "table convolution";
    if (settings.bias) text += " + bias";
    text += describe_fused(plan.engine, fused);
    if (winograd || signal_forward) text += ", Winograd";
    if (winograd_pairs) text += ", Winograd of pairs";
    if (skipping || skipping_input) text += ", zeros skipped";
    if (sparse || chosen) text += ", sparse gradients";
    if (pairs || rounds) text += ", bf16";
    return text;
}

void Convolution::prepare() {
    const Tensor& x = plan.value(input);
    list_window(x);
    winograd = winograd && x.stride % lanes == 0 && !(pool && pair_rows() == 1);
    winograd_pairs = winograd && pairs && (relu || (curve == nullptr && !pool));
    winograd = winograd && !pairs;
    if (winograd) {
        winograd_weight = plan.reserve(plan.trains() ? 16 * round_up(settings.shape.channels, lanes) * group_channels
                                                     : winograd_weights(group_channels, settings.shape.channels));
        plan.need_scratch(plan.trains() ? exact_tiles(x.stride) * 16 * (x.stride + 2 * lanes) : winograd_scratch(x.stride));
    }
    if (normalization >= 0) {
        folded_weight = plan.reserve(parameter(0).padded);
        folded_bias = plan.reserve(parameter(1).padded);
    }
    prepare_signal(x);
    const Node& from = plan.engine.nodes()[static_cast<std::size_t>(input)];
    skipping = skips_zeros(settings.shape.channels) && !pool && (relu || !curve) && from.kind == Kind::activation &&
               from.curve.kind == Activation::relu;
    choose_winograd_gradient(x);
    if (pool) prepare_pooling(x);
    prepare_activation();
    if (pairs) prepare_pairs();
    if (rounds) {
        rounded_image = &plan.reserve_tensor(x, true);
        rounded_weight = plan.reserve(parameter(0).padded);
    }
    if (plan.trains()) prepare_gradients(x);
}

// Where the window's floats lie, relative to its first tap.
void Convolution::list_window(const Tensor& x) {
    const WindowSettings& w = settings.window;
    const Index channels = group_channels;
    for (int axis = 0; axis < 3; ++axis) first_tap += (x.before[axis] - w.before[axis]) * x.step[axis];
    const bool joined = w.dilation[2] == 1 && settings.groups == 1 && x.stride == x.channels;
    for (Index d = 0; d < w.kernel[0]; ++d)
        for (Index h = 0; h < w.kernel[1]; ++h) {
            const Index line = d * w.dilation[0] * x.step[0] + h * w.dilation[1] * x.step[1];
            for (Index t = 0; t < w.kernel[2]; ++t) tap_offsets.push_back(line + t * w.dilation[2] * x.step[2]);
            if (joined)
                segments.push_back({line, w.kernel[2] * channels});
            else
                for (Index t = 0; t < w.kernel[2]; ++t)
                    segments.push_back({line + t * w.dilation[2] * x.step[2], channels});
        }
    taps = static_cast<Index>(tap_offsets.size());
    for (Index t = 0; t < taps; ++t) tap_rows.push_back(t * round_up(settings.shape.channels, lanes));
}

void Convolution::prepare_gradients(const Tensor& x) {
    partial_weight = plan.reserve_partial(
        sparse ? settings.shape.channels * static_cast<Index>(segments.size()) * padded_run : parameter(0).padded);
    partial_bias = plan.reserve_partial(parameter(1).padded);
    if (wants_input_gradient) prepare_phases();
    if (wants_input_gradient && !pairs) prepare_scatter(x);
    if (pairs) prepare_gradient_pairs();
    prepare_signal_gradient();
    skipping_input = wants_input_gradient && relu && !pool && !accumulate_input && skips_zeros(group_channels);
    if (winograd_gradient) prepare_winograd_gradient(x);
    winograd_input = winograd && wants_input_gradient && !sparse_input;
    if (winograd_input) {
        const Tensor& du = pool ? *full_gradient : plan.gradient(node);
        winograd_input_weight = plan.reserve(winograd_weights(settings.shape.channels, group_channels));
        plan.need_scratch(winograd_scratch(du.stride));
    }
}

Index Convolution::parts(Index wanted) const {
    constexpr Index worthwhile = 200000;  // multiplications: a thread needs microseconds to join in
    const Index work = settings.shape.count() * group_channels * taps;
    const Index rows = plan.value(node).size[1];
    return settings.shape.size[0] == 1 && work >= worthwhile ? std::min(wanted, rows) : 1;
}

void Convolution::forward_part(Index n, int slot, int thread, Index part, Index parts) {
    const Tensor& x = plan.value(input);
    const Tensor& y = plan.value(node);
    const float* const from = image_values(n, slot, thread) + first_tap;
    float* const to = plan.image(y, n, slot) + y.origin;
    Index begin = y.size[1] * part / parts, end = y.size[1] * (part + 1) / parts;
    if (depthwise) {
        forward_depthwise(from, to, n, slot, begin, end);
        return;
    }
    if (skipping) {
        forward_skipping(from, to, begin, end);
        return;
    }
    if (signal_forward) {
        forward_signal(from, to, n, thread);
        return;
    }
    if (winograd) {  // tiles are not cut: they have four rows, or two small ones
        const Index tile_rows = pool ? 2 : 4;
        begin = round_up(begin, tile_rows);
        end = std::min(round_up(end, tile_rows), y.size[1]);
        if (begin >= end) return;
    }
    if (winograd && !relu && (curve || pool)) {
        winograd_and_activation(from, to, n, slot, thread, begin, end);
        return;
    }
    if (winograd) {
        forward_winograd(from, to, n, thread, begin, end);
        return;
    }
    if (winograd_pairs) {
        forward_winograd_pairs(from, to, n, thread, begin, end);
        return;
    }
    const Operand source = pairs ? channel_pairs(n, slot, thread) : Operand{from, &x, segments, plan.kernels.correlate};
    const WindowSettings& w = settings.window;
    const Size& size = settings.shape.size;
    CorrelateRow row{};
    row.input_stride = w.stride[2] * source.tensor->step[2];
    row.segments = source.segments.data();
    row.segment_count = static_cast<Index>(source.segments.size());
    row.relu = relu;
    for (const Panel& panel : plan_panels()) {
        const Index filter = panel.group * group_filters + panel.first;
        row.vectors = panel.vectors;
        row.columns = settings.groups == 1 ? panel.vectors * lanes : static_cast<int>(panel.columns);
        row.weight = pairs ? plan.arena() + pair_weight + panel.group * packed_group() + panel.first * taps * channel_words
                           : weight_values() + panel.weight;
        row.bias = bias_values() + filter;
        const float* const panel_input = source.data + panel.group * (pairs ? channel_words : group_channels);
        if (pool && !relu) {
            activated_panel(row, source, panel_input, to + filter, n, thread, filter, begin, end);
            continue;
        }
        if (pool && !pairs && pair_rows() == 2) {
            maxima_of_panel(row, panel_input, to + filter, n, filter, begin, end);
            continue;
        }
        if (pool) {
            pooled_panel(row, source, panel_input, to + filter, n, thread, filter, begin, end);
            continue;
        }
        row.pixels = size[2];
        const Tensor& own = before ? *before : y;
        row.output_stride = own.step[2];
        for (Index d = 0; d < size[0]; ++d)
            for (Index h = begin; h < end; ++h) {
                float* const pixels = to + filter + d * y.step[0] + h * y.step[1];
                row.input = panel_input + d * w.stride[0] * source.tensor->step[0] + h * w.stride[1] * source.tensor->step[1];
                row.output = before ? plan.image(own, n, slot) + filter + d * own.step[0] + h * own.step[1] : pixels;
                source.correlate(row);
                if (curve && !relu) activate_row(row.output, row.output_stride, pixels, y.step[2], row.pixels, row.columns);
            }
    }
}

// Two dimensions, so that one call covers an image; whole blocks of the kernel's filters.
bool Convolution::skips_zeros(Index columns) const {
    const WindowSettings& w = settings.window;
    return w.kernel == Size{1, 1, 1} && w.stride == Size{1, 1, 1} && w.before == Size{0, 0, 0} && w.after == Size{0, 0, 0} &&
           settings.groups == 1 && settings.shape.size[0] == 1 && !pairs && !rounds && columns % 64 == 0;
}

void Convolution::forward_skipping(const float* from, float* to, Index begin, Index end) const {
    const Tensor& x = plan.value(input);
    const Tensor& y = plan.value(node);
    SkippingImage job{};
    job.input = from + begin * x.step[1];
    job.input_stride = x.step[2];
    job.input_line = x.step[1];
    job.rows = group_channels;
    job.weight = weight_values();
    job.panel_floats = group_channels * 2 * lanes;
    job.bias = bias_values();
    job.output = to + begin * y.step[1];
    job.output_stride = y.step[2];
    job.output_line = y.step[1];
    job.pixels = y.size[2];
    job.lines = end - begin;
    job.columns = settings.shape.channels;
    job.relu = relu;
    plan.kernels.correlate_skipping(job);
}

void Convolution::forward_depthwise(const float* from, float* to, Index n, int slot, Index begin, Index end) const {
    const Tensor& x = plan.value(input);
    const Tensor& y = plan.value(node);
    const Tensor& own = before ? *before : y;
    const WindowSettings& w = settings.window;
    DepthwiseRow row{};
    row.input_stride = w.stride[2] * x.step[2];
    row.tap_offsets = tap_offsets.data();
    row.weight_offsets = tap_rows.data();
    row.taps = taps;
    row.weight = weight_values();
    row.bias = bias_values();
    row.output_stride = own.step[2];
    row.pixels = settings.shape.size[2];
    row.channels = y.stride;
    row.relu = relu;
    for (Index d = 0; d < settings.shape.size[0]; ++d)
        for (Index h = begin; h < end; ++h) {
            float* const pixels = to + d * y.step[0] + h * y.step[1];
            row.input = from + d * w.stride[0] * x.step[0] + h * w.stride[1] * x.step[1];
            row.output = before ? plan.image(own, n, slot) + d * own.step[0] + h * own.step[1] : pixels;
            plan.kernels.depthwise(row);
            if (curve && !relu) activate_row(row.output, row.output_stride, pixels, y.step[2], row.pixels, row.channels);
        }
}

// What does not depend on the rows.
Winograd Convolution::winograd_of(int thread) const {
    const Tensor& x = plan.value(input);
    Winograd job{};
    job.line = x.step[1];
    job.pixel = x.step[2];
    job.input_channels = group_channels;
    job.width = settings.shape.size[2];
    job.small_height = is_small(settings.shape.size[1]);
    job.small_width = is_small(settings.shape.size[2]);
    job.weight = plan.arena() + winograd_weight;
    set_panels(job, group_filters);
    job.bias = bias_values();
    job.scratch = plan.scratch(thread);
    job.tiles = plan.trains() ? exact_tiles(x.stride) : tiles_at_once(x.stride);
    return job;
}

void Convolution::forward_winograd(const float* from, float* to, Index n, int thread, Index begin, Index end) const {
    const Tensor& y = plan.value(node);
    Winograd job = winograd_of(thread);
    job.input = from + begin * (pool ? 2 : 1) * job.line;
    job.height = winograd_rows(begin, end);
    job.output = to + begin * y.step[1];
    job.output_line = y.step[1];
    job.output_pixel = y.step[2];
    job.relu = relu;
    job.pool = pool;
    job.code = pool && plan.trains() ? plan.codes(code_base, n, code_image) + begin * y.size[2] * y.stride : nullptr;
    job.code_stride = y.stride;
    job.code_line = y.size[2] * y.stride;
    run_winograd(job);
}

Index Convolution::exact_tiles(Index pixel) const {
    constexpr Index floats = 65536;
    return std::max<Index>(14, floats / (16 * (pixel + 2 * lanes)));
}

// Tiles of Winograd's convolution whose transformed patches and products fit the second-level cache.
Index Convolution::tiles_at_once(Index pixel) const {
    constexpr Index floats = 65536;
    return std::max<Index>(16, floats / (winograd_positions * (pixel + 2 * lanes)));
}

void Convolution::set_panels(Winograd& job, Index columns) const {
    job.panels = (columns + 2 * lanes - 1) / (2 * lanes);
    job.last_vectors = columns - (job.panels - 1) * 2 * lanes > lanes ? 2 : 1;
}

void Convolution::maxima_of_panel(const CorrelateRow& row, const float* from, float* to, Index n, Index filter, Index begin,
                                  Index end) const {
    const Tensor& x = plan.value(input);
    const Tensor& y = plan.value(node);
    PooledRow job{};
    job.input_stride = row.input_stride;
    job.input_line = settings.window.stride[1] * x.step[1];
    job.segments = row.segments;
    job.segment_count = row.segment_count;
    job.weight = row.weight;
    job.bias = row.bias;
    job.output_stride = y.step[2];
    job.code_stride = y.stride;
    job.pixels = y.size[2];
    job.vectors = row.vectors;
    for (Index h = begin; h < end; ++h) {
        job.input = from + 2 * h * job.input_line;
        job.output = to + h * y.step[1];
        job.code = plan.trains() ? plan.codes(code_base, n, code_image) + h * y.size[2] * y.stride + filter : nullptr;
        plan.kernels.correlate_and_pool(job);
    }
}

// Two rows of pixels at a time into a strip, and their maxima out of it.
void Convolution::pooled_panel(CorrelateRow row, const Operand& source, const float* from, float* to, Index n, int thread,
                  Index filter, Index begin, Index end) {
    const Tensor& y = plan.value(node);
    const WindowSettings& w = settings.window;
    const Index width = row.vectors * lanes;
    float* const strip = plan.scratch(thread);
    row.output_stride = width;
    row.pixels = 2 * y.size[2];
    PoolPair pair{};
    pair.upper = strip;
    pair.lower = strip + (pair_rows() - 1) * row.pixels * width;
    pair.stride = width;
    pair.output_stride = y.step[2];
    pair.pixels = y.size[2];
    pair.channels = width;
    for (Index h = begin; h < end; ++h) {
        for (Index half = 0; half < pair_rows(); ++half) {
            row.input = from + (2 * h + half) * w.stride[1] * source.tensor->step[1];
            row.output = strip + half * row.pixels * width;
            source.correlate(row);
        }
        pair.output = to + h * y.step[1];
        pair.code = plan.trains() ? plan.codes(code_base, n, code_image) + h * y.size[2] * y.stride + filter : nullptr;
        plan.kernels.pool_pair(pair);
    }
}

void Convolution::fold_normalization() {
    const Node& norm = plan.engine.nodes()[static_cast<std::size_t>(normalization)];
    const float* const mean = plan.state(normalization, 0);
    const float* const variance = plan.state(normalization, 1);
    const float* const scale = plan.weights(normalization, 0, "scale");
    const float* const shift = plan.weights(normalization, 0, "bias");
    const float* const bias = plan.weights(convolution, 0, "bias");
    float* const to = plan.arena() + folded_bias;
    std::vector<float> factors(static_cast<std::size_t>(round_up(settings.shape.channels, lanes) + 2 * lanes), 0.0f);
    for (Index k = 0; k < settings.shape.channels; ++k) {
        double factor = 1.0 / std::sqrt(static_cast<double>(variance[k]) + norm.epsilon);
        if (norm.affine) factor *= static_cast<double>(scale[k]);
        factors[static_cast<std::size_t>(k)] = static_cast<float>(factor);
        to[k] = static_cast<float>((static_cast<double>(bias[k]) - static_cast<double>(mean[k])) * factor +
                                   (norm.affine ? static_cast<double>(shift[k]) : 0.0));
    }
    const float* const weight = plan.weights(convolution, 0, "weight");
    float* const folded = plan.arena() + folded_weight;
    const auto fold_rows = [&](Index at, Index rows, Index width, Index filter) {
        for (Index row = 0; row < rows; ++row, at += width)
            plan.kernels.multiply(weight + at, factors.data() + filter, folded + at, width, false);
    };
    if (depthwise) fold_rows(0, taps, round_up(settings.shape.channels, lanes), 0);
    for (const Panel& panel : plan_panels())
        fold_rows(panel.weight, taps * group_channels, panel.vectors * lanes, panel.group * group_filters + panel.first);
}

std::unique_ptr<Operation> make_convolution(Plan& plan, const Fused& fused) {
    return std::make_unique<Convolution>(plan, fused);
}

}  // namespace tatami
