// Convolution: the dense gradients, and the weights transposed for them.
//
// Input gradient. dx(u) = sum over taps t and filters of dy((u - d·t) / s) · weight(t), where the division leaves no remainder.
// Input positions with the same remainder (a phase) see the same taps at the same distances, so each phase is a correlation
// of dy, bordered by zeros, with its share of the weights transposed. Without stride there is one phase, and 3×3 windows with
// enough channels take Winograd's way, and so do signals (convolution_signal.cpp). Where the input has few channels every gradient is spread over its window instead.
//
// Weight gradient. Images are summed within their chunk, chunks in order (`add_up`), whatever the number of threads.
#include "convolution.hpp"

namespace tatami {

namespace {

// Positions along one axis that share a remainder, and the taps that reach them.
struct AxisPhase {
    Index first, count;           // positions first, first + stride, …
    std::vector<Index> taps;      // tap numbers
    std::vector<Index> distance;  // the output position that tap reads at the phase's first position
};

std::vector<AxisPhase> axis_phases(Index size, const WindowSettings& window, int axis) {
    std::vector<AxisPhase> phases;
    const Index stride = window.stride[axis];
    for (Index residue = 0; residue < std::min(stride, size); ++residue) {
        AxisPhase phase{residue, (size - residue + stride - 1) / stride, {}, {}};
        for (Index tap = 0; tap < window.kernel[axis]; ++tap) {
            const Index distance = window.before[axis] + residue - tap * window.dilation[axis];
            if (distance % stride != 0) continue;
            phase.taps.push_back(tap);
            phase.distance.push_back(distance / stride);
        }
        phases.push_back(std::move(phase));
    }
    return phases;
}

}  // namespace

void Convolution::pack() {
    if (normalization >= 0) fold_normalization();
    if (rounds) {
        const Index count = parameter(0).padded;
        std::copy_n(plan.weights(convolution, 0, "weight"), count, plan.arena() + rounded_weight);
        plan.kernels.round_floats(plan.arena() + rounded_weight, count);
    }
    if (winograd)
        for (const Panel& panel : plan_panels()) {
            const bool exact = plan.trains();
            const Index at = exact ? panel.first * 16 * group_channels : panel.first / (2 * lanes) * winograd_panel(group_channels);
            (exact ? plan.kernels.winograd_exact_weight : plan.kernels.winograd_weight)(
                weight_values() + panel.weight, plan.arena() + winograd_weight + at, group_channels, panel.vectors, false);
        }
    if (pairs) pack_weight_pairs();
    pack_transposed();
    if (pairs) pack_transposed_pairs();
    pack_signal();
    if (winograd_input)
        for (Index first = 0; first < group_channels; first += 2 * lanes)
            plan.kernels.winograd_weight(plan.arena() + phases[0].weight + first * 9 * group_filters,
                                         plan.arena() + winograd_input_weight + first / (2 * lanes) * winograd_panel(group_filters), group_filters,
                                         group_channels - first > lanes ? 2 : 1, true);
}

void Convolution::pack_transposed() {
    if (!plan.trains() || !wants_input_gradient || depthwise) return;
    if (scatter)
        pack_scatter();
    else if (sparse_input)
        pack_winners();
    else
        for (const Phase& phase : phases) pack_phase(phase);
}

// Filters and channels change places: group by group, panel by panel of input channels, then (tap, filter) rows.
void Convolution::pack_phase(const Phase& phase) {
    const float* const weight = weight_values();
    const Index width = 2 * lanes, rows = static_cast<Index>(phase.taps.size()) * group_filters;
    for (const Panel& panel : plan_panels())
        for (std::size_t t = 0; t < phase.taps.size(); ++t)
            for (Index first = 0; first < group_channels; first += width) {
                const Index columns = std::min(width, group_channels - first);
                const Index to_width = columns > lanes ? width : lanes, from_width = panel.vectors * lanes;
                float* const to = plan.arena() + phase.weight + panel.group * transposed_group(phase) + first * rows +
                                  (static_cast<Index>(t) * group_filters + panel.first) * to_width;
                plan.kernels.transpose(weight + panel.weight + (phase.taps[t][0] * group_channels + first) * from_width,
                                       from_width, to, to_width, columns, panel.columns);
            }
}

void Convolution::backward(Index n, int thread, Index chunk, bool first_image) {
    const Tensor& du = pool ? *full_gradient : plan.gradient(node);
    float* const gradient = plan.image(du, n, thread);
    const bool bf16 = pairs || rounds;
    if (curve && !average && !(pool && relu))  // behind ReLU and maxima the winners' codes know
        through_activation(*curve, before, n, thread, plan.image(plan.gradient(node), n, thread));
    if (bf16 && !average) plan.kernels.round_floats(plan.image(plan.gradient(node), n, thread), plan.gradient(node).image);
    if (sparse) winners_weight_gradient(n, thread, chunk, !first_image);
    if (chosen) chosen_weight_gradient(n, thread, chunk, !first_image);
    if (sparse_input) winners_input_gradient(n, thread);
    if ((sparse || chosen) && (sparse_input || !wants_input_gradient)) return;
    if (average) {
        averages_gradient(n, thread, gradient);
        if (bf16) plan.kernels.round_floats(gradient, du.image);
    } else if (pool) {
        unpool(n, thread, gradient);
    }
    if (winograd_gradient)
        winograd_weight_gradient(n, thread, chunk, first_image, du, gradient + du.origin);
    else if (!sparse && !chosen)
        weight_gradient(n, thread, chunk, !first_image, du, gradient);
    if (wants_input_gradient && !sparse_input) input_gradient(n, thread, du, gradient);
}

void Convolution::add_up(Index used_chunks) {
    for (int which = 0; which < 2; ++which) {
        const Parameter& p = parameter(which);
        if (p.count == 0) continue;
        float* const total = plan.weights(convolution, 1, which == 0 ? "weight" : "bias");
        if (sparse && which == 0) {
            add_up_winners(used_chunks, total);
            continue;
        }
        const Index offset = which == 0 ? partial_weight : partial_bias;
        constexpr Index block = 2048;
        const Index blocks = (p.padded + block - 1) / block;
        parallel_for(plan.running_threads(), blocks, 1, [&](Index b, int) {
            const Index begin = b * block, count = std::min(block, p.padded - begin);
            std::copy_n(plan.partial(0) + offset + begin, count, total + begin);
            for (Index chunk = 1; chunk < used_chunks; ++chunk)
                plan.kernels.add(plan.partial(chunk) + offset + begin, total + begin, count);
        });
    }
    plan.engine.clear_unconnected(convolution);
}

void Convolution::find_phases(const Shape& from) {
    const WindowSettings& w = settings.window;
    std::array<std::vector<AxisPhase>, 3> axes;
    for (int axis = 0; axis < 3; ++axis) {
        axes[static_cast<std::size_t>(axis)] = axis_phases(from.size[axis], w, axis);
        for (const AxisPhase& phase : axes[static_cast<std::size_t>(axis)])
            for (Index distance : phase.distance) {
                border_before[axis] = std::max(border_before[axis], -distance);
                border_after[axis] =
                    std::max(border_after[axis], distance + phase.count - settings.shape.size[axis]);
            }
    }
    for (const AxisPhase& d : axes[0])
        for (const AxisPhase& h : axes[1])
            for (const AxisPhase& v : axes[2]) {
                Phase phase;
                phase.first = {d.first, h.first, v.first};
                phase.count = {d.count, h.count, v.count};
                for (std::size_t i = 0; i < d.taps.size(); ++i)
                    for (std::size_t j = 0; j < h.taps.size(); ++j)
                        for (std::size_t k = 0; k < v.taps.size(); ++k)
                            phase.taps.push_back({(d.taps[i] * w.kernel[1] + h.taps[j]) * w.kernel[2] + v.taps[k],
                                                  d.distance[i], h.distance[j], v.distance[k]});
                phases.push_back(std::move(phase));
            }
}

void Convolution::prepare_phases() {
    const Tensor& dy = pool ? *full_gradient : plan.gradient(node);
    for (Phase& phase : phases) {
        for (const auto& tap : phase.taps) {
            const Index offset = tap[1] * dy.step[0] + tap[2] * dy.step[1] + tap[3] * dy.step[2];
            phase.segments.push_back({offset, group_filters});
            phase.offsets.push_back(offset);
            phase.tap_weights.push_back(tap[0] * round_up(settings.shape.channels, lanes));
        }
        if (!depthwise) phase.weight = plan.reserve(settings.groups * transposed_group(phase) + 2 * lanes);
    }
}

// Spreading pays where the input's channels leave vectors mostly empty: compare the multiplications of both ways.
void Convolution::prepare_scatter(const Tensor& x) {
    const WindowSettings& w = settings.window;
    const Size& size = settings.shape.size;
    const Index run = w.kernel[2] * group_channels;
    padded_run = round_up(run, lanes);
    const Index all_taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
    const Index gathering = x.size[1] * x.size[2] * all_taps * settings.shape.channels * (round_up(group_channels, lanes) / lanes) /
                            (w.stride[1] * w.stride[2]);
    const Index spreading = size[1] * size[2] * (settings.shape.channels + 3) * w.kernel[1] * (padded_run / lanes);
    scatter = !sparse_input && !winograd && !signal && !depthwise && settings.groups == 1 && w.dilation[2] == 1 && w.kernel[0] == 1 &&
              size[0] == 1 && x.size[0] == 1 && 4 * spreading < 3 * gathering;
    if (!scatter) return;
    window.channels = window.stride = group_channels;
    window.size = {1, x.size[1] + w.before[1] + w.after[1], x.size[2] + w.before[2] + w.after[2]};
    window.arrange();
    plan.need_scratch(window.image + padded_run);
    scatter_weight = plan.reserve(settings.shape.channels * w.kernel[1] * padded_run);
}

void Convolution::pack_scatter() {
    const Index rows = settings.window.kernel[1], run = settings.window.kernel[2] * group_channels;
    for (const Panel& panel : plan_panels())
        for (Index row = 0; row < rows; ++row)
            plan.kernels.transpose(weight_values() + panel.weight + row * run * panel.vectors * lanes,
                                   panel.vectors * lanes,
                                   plan.arena() + scatter_weight + (panel.first * rows + row) * padded_run,
                                   rows * padded_run, run, panel.columns);
}

void Convolution::scatter_gradient(Index n, int thread, const Tensor& du, const float* dy) {
    const Tensor& dx = plan.gradient(input);
    const WindowSettings& w = settings.window;
    float* const bordered = plan.scratch(thread);
    std::fill_n(bordered, window.image + padded_run, 0.0f);
    ScatterGradient job{};
    job.dy = dy;
    job.dy_stride = du.step[2];
    job.dy_line = du.step[1];
    job.height = settings.shape.size[1];
    job.width = settings.shape.size[2];
    job.channels = settings.shape.channels;
    job.weight = plan.arena() + scatter_weight;
    job.rows = w.kernel[1];
    job.padded_run = padded_run;
    job.window = bordered;
    job.window_row = w.dilation[1] * window.step[1];
    job.window_stride = w.stride[2] * window.step[2];
    job.window_line = w.stride[1] * window.step[1];
    plan.kernels.scatter_gradient(job);
    float* const to = plan.image(dx, n, thread) + dx.origin;
    for (Index h = 0; h < dx.size[1]; ++h)
        for (Index v = 0; v < dx.size[2]; ++v) {
            const float* const from =
                bordered + (h + w.before[1]) * window.step[1] + (v + w.before[2]) * window.step[2];
            float* const pixel = to + h * dx.step[1] + v * dx.step[2];
            for (Index c = 0; c < group_channels; ++c) pixel[c] = accumulate_input ? pixel[c] + from[c] : from[c];
        }
}

void Convolution::weight_gradient(Index n, int thread, Index chunk, bool accumulate, const Tensor& du, const float* gradient) {
    const Tensor& x = plan.value(input);
    const WindowSettings& w = settings.window;
    const Size& size = settings.shape.size;
    const float* const from = image_values(n, thread, thread) + first_tap;
    const float* const dy = gradient + du.origin;
    float* const dweight = plan.partial(chunk) + partial_weight;
    const Index pixels_of_word = pairs ? 2 : 1;
    const Tensor& dy_tensor = pairs ? *pixel_pairs : du;
    if (pairs) pack_pixel_pairs(n, thread, du, gradient);
    if (settings.bias)
        for (Index d = 0; d < size[0]; ++d)
            plan.kernels.column_sums(dy + d * du.step[0], du.step[2], du.step[1], size[2], size[1], du.stride,
                                     plan.partial(chunk) + partial_bias, accumulate || d > 0);
    for (Index d = 0; d < size[0]; ++d) {
        const bool add = accumulate || d > 0;
        const float* const plane =
            (pairs ? plan.image(*shifted_pairs, n, thread) + first_tap : from) + d * w.stride[0] * x.step[0];
        if (depthwise) {
            depthwise_weight_gradient(plane, du, dy + d * du.step[0], dweight, add);
            continue;
        }
        WeightGradient job{};
        job.input_stride = w.stride[2] * x.step[2] * pixels_of_word;
        job.input_line = w.stride[1] * x.step[1];
        job.dy_stride = dy_tensor.step[2];
        job.dy_line = dy_tensor.step[1];
        job.pixels = dy_tensor.size[2];
        job.lines = size[1];
        job.accumulate = add;
        for (const Panel& panel : plan_panels()) {
            job.vectors = panel.vectors;
            job.columns = static_cast<int>(panel.columns);
            job.dy = (pairs ? plan.image(dy_tensor, n, thread) : dy) + d * dy_tensor.step[0] +
                     panel.group * group_filters + panel.first;
            Index row = 0;
            for (const Segment& segment : segments) {
                job.input = plane + panel.group * group_channels + segment.offset;
                job.rows = segment.length;
                job.dweight = dweight + panel.weight + row * panel.vectors * lanes;
                (pairs ? plan.kernels.weight_gradient_of_pairs : plan.kernels.weight_gradient)(job);
                row += segment.length;
            }
        }
    }
}

void Convolution::input_gradient(Index n, int thread, const Tensor& du, const float* gradient) {
    const Tensor& dx = plan.gradient(input);
    float* const to = plan.image(dx, n, thread) + dx.origin;
    const float* const dy = gradient + du.origin;
    const Size& stride = settings.window.stride;
    const Index width = 2 * lanes;
    if (scatter) {
        scatter_gradient(n, thread, du, dy);
        return;
    }
    if (skipping_input) {
        skipping_input_gradient(du, dy, to);
        return;
    }
    if (signal_backward) {
        signal_input_gradient(du, dy, to, thread);
        return;
    }
    if (winograd_pairs_input) {
        winograd_pairs_input_gradient(du, dy, to, thread);
        return;
    }
    if (winograd_input) {
        winograd_input_gradient(du, dy, to, thread);
        return;
    }
    const Tensor& dy_tensor = pairs ? *filter_pairs : du;
    const float* const operand = pairs ? pack_filter_pairs(n, thread, du, gradient) : dy;
    for (const Phase& phase : phases) {
        const Index start = phase.first[0] * dx.step[0] + phase.first[1] * dx.step[1] + phase.first[2] * dx.step[2];
        if (depthwise) {
            depthwise_input_gradient(phase, du, dy, to + start);
            continue;
        }
        CorrelateRow row{};
        row.input_stride = dy_tensor.step[2];
        row.segments = pairs ? phase.pair_segments.data() : phase.segments.data();
        row.segment_count = static_cast<Index>(phase.segments.size());
        row.output_stride = stride[2] * dx.step[2];
        row.pixels = phase.count[2];
        row.accumulate = accumulate_input;
        const Index rows = static_cast<Index>(phase.taps.size()) * group_filters;
        for (Index g = 0; g < settings.groups; ++g)
            for (Index first = 0; first < group_channels; first += width) {
                const Index columns = std::min(width, group_channels - first);
                row.vectors = columns > lanes ? 2 : 1;
                row.columns = settings.groups == 1 ? row.vectors * lanes : static_cast<int>(columns);
                row.weight = pairs ? plan.arena() + phase.pair_weight + g * transposed_pair_group(phase) + first * pair_rows_of(phase)
                                   : plan.arena() + phase.weight + g * transposed_group(phase) + first * rows;
                for (Index d = 0; d < phase.count[0]; ++d)
                    for (Index h = 0; h < phase.count[1]; ++h) {
                        row.input = operand + g * (pairs ? filter_words : group_filters) + d * dy_tensor.step[0] + h * dy_tensor.step[1];
                        row.output = to + start + g * group_channels + first + d * stride[0] * dx.step[0] +
                                     h * stride[1] * dx.step[1];
                        (pairs ? plan.kernels.correlate_pairs : plan.kernels.correlate)(row);
                    }
            }
    }
}

void Convolution::skipping_input_gradient(const Tensor& du, const float* dy, float* to) const {
    const Tensor& dx = plan.gradient(input);
    SkippingImage job{};
    job.input = dy;
    job.input_stride = du.step[2];
    job.input_line = du.step[1];
    job.rows = group_filters;
    job.weight = plan.arena() + phases[0].weight;
    job.panel_floats = group_filters * 2 * lanes;
    job.output = to;
    job.output_stride = dx.step[2];
    job.output_line = dx.step[1];
    job.pixels = dx.size[2];
    job.lines = dx.size[1];
    job.columns = group_channels;
    plan.kernels.correlate_skipping(job);
}

// The same convolution of dy, with the taps turned by 180 degrees.
void Convolution::winograd_input_gradient(const Tensor& du, const float* dy, float* to, int thread) const {
    const Tensor& dx = plan.gradient(input);
    const WindowSettings& w = settings.window;
    Winograd job{};
    job.input = dy + (w.before[1] - 2) * du.step[1] + (w.before[2] - 2) * du.step[2];
    job.line = du.step[1];
    job.pixel = du.step[2];
    job.input_channels = group_filters;
    job.height = dx.size[1];
    job.width = dx.size[2];
    job.small_height = is_small(dx.size[1]);
    job.small_width = is_small(dx.size[2]);
    job.weight = plan.arena() + winograd_input_weight;
    set_panels(job, group_channels);
    job.output = to;
    job.output_line = dx.step[1];
    job.output_pixel = dx.step[2];
    job.accumulate = accumulate_input;
    job.scratch = plan.scratch(thread);
    job.tiles = tiles_at_once(du.stride);
    plan.kernels.winograd(job);
}

void Convolution::depthwise_input_gradient(const Phase& phase, const Tensor& du, const float* dy, float* to) const {
    const Tensor& dx = plan.gradient(input);
    const Size& stride = settings.window.stride;
    DepthwiseRow row{};
    row.input_stride = du.step[2];
    row.tap_offsets = phase.offsets.data();
    row.weight_offsets = phase.tap_weights.data();
    row.taps = static_cast<Index>(phase.taps.size());
    row.weight = weight_values();
    row.output_stride = stride[2] * dx.step[2];
    row.pixels = phase.count[2];
    row.channels = dx.stride;
    row.accumulate = accumulate_input;
    for (Index d = 0; d < phase.count[0]; ++d)
        for (Index h = 0; h < phase.count[1]; ++h) {
            row.input = dy + d * du.step[0] + h * du.step[1];
            row.output = to + d * stride[0] * dx.step[0] + h * stride[1] * dx.step[1];
            plan.kernels.depthwise(row);
        }
}

void Convolution::depthwise_weight_gradient(const float* plane, const Tensor& du, const float* dy, float* dweight,
                                            bool add) const {
    const Tensor& x = plan.value(input);
    const WindowSettings& w = settings.window;
    DepthwiseWeightGradient job{};
    job.input = plane;
    job.input_stride = w.stride[2] * x.step[2];
    job.input_line = w.stride[1] * x.step[1];
    job.dy = dy;
    job.dy_stride = du.step[2];
    job.dy_line = du.step[1];
    job.pixels = settings.shape.size[2];
    job.lines = settings.shape.size[1];
    job.tap_offsets = tap_offsets.data();
    job.taps = taps;
    job.dweight = dweight;
    job.channels = du.stride;
    job.valid_channels = settings.shape.channels;
    job.accumulate = add;
    plan.kernels.depthwise_weight_gradient(job);
}

}  // namespace tatami
