// Convolution behind fused 2×2 maxima: gradients from the winners alone; see sparse_gradient.hpp, for windows of few floats
// chosen_gradient.hpp, for signals sparse_signal.hpp.
//
// The forward pass left one byte for every pooled value that says where its winner stood. (Averages have no winners: their
// gradient is spread out, and the dense kernels read it.) Weight and input gradient walk over
// the winners; where their kernels do not fit, the pooled gradient is spread out again and the dense kernels take over.
#include "convolution.hpp"

namespace tatami {

void Convolution::prepare_pooling(const Tensor& x) {
    const Tensor& y = plan.value(node);
    const WindowSettings& w = settings.window;
    plan.need_scratch(2 * settings.shape.size[2] * 2 * lanes);
    if (!plan.trains()) return;
    const Index pixels = y.size[1] * y.size[2];
    const bool joined = !average && w.dilation[2] == 1 && settings.groups == 1 && x.stride == x.channels;
    code_image = pixels * y.stride;
    if (!average) code_base = plan.reserve_codes(code_image);
    // Offsets of winners, and their places in the lists of a vector of filters, are 32-bit numbers.
    const Index floats = group_channels * taps;  // of a window
    chosen = joined && !pairs && (segments[0].length < lanes || floats <= 4 * lanes);
    sparse = joined && !chosen && !winograd_gradient && (!pairs || group_channels % 2 == 0) && x.image < (Index{1} << 30) &&
             pixels < (Index{1} << 26);
    const bool signal = is_signal() && w.kernel[0] * w.kernel[1] == 1 && w.kernel[2] >= 2 && w.kernel[2] <= 9;
    sparse_input = !average && !winograd_gradient && wants_input_gradient && (signal || (!is_signal() && w.kernel == Size{1, 3, 3})) &&
                   w.stride == Size{1, 1, 1} && w.dilation == Size{1, 1, 1};
    if (chosen) prepare_chosen();
    padded_run = round_up(segments[0].length, pairs ? 2 * lanes : lanes);
    plan.need_scratch(winner_entries(pixels) * 2 + round_up(settings.shape.channels, lanes));
    if (sparse_input) {
        window.channels = x.channels;
        window.stride = round_up(x.channels, lanes);
        window.size = {1, x.size[1] + w.before[1] + w.after[1], x.size[2] + w.before[2] + w.after[2]};
        window.arrange();
        if (signal) plan.need_scratch(window.image + 64);
        winner_weight = plan.reserve(settings.shape.channels * taps * window.stride);
        if (pairs && !is_signal()) winner_pairs = plan.reserve((settings.shape.channels + 1) / 2 * 9 * window.stride);
    }
    Tensor full;
    full.channels = settings.shape.channels;
    full.stride = y.stride;
    full.size = settings.shape.size;
    full.before = border_before;
    full.after = border_after;
    full_gradient = &plan.reserve_tensor(full, true);
}

// The weights as sparse_input_gradient reads them: (vector of input channels, filter, tap).
void Convolution::pack_winners() {
    const float* const weight = weight_values();
    for (const Panel& panel : plan_panels())
        for (Index tap = 0; tap < taps; ++tap)
            for (Index c = 0; c < group_channels; c += lanes)
                plan.kernels.transpose(
                    weight + panel.weight + (tap * group_channels + c) * panel.vectors * lanes, panel.vectors * lanes,
                    plan.arena() + winner_weight + ((c / lanes * settings.shape.channels + panel.first) * taps + tap) * lanes,
                    taps * lanes, std::min<Index>(lanes, group_channels - c), panel.columns);
}

// One row of pooled gradients becomes two rows of the convolution's, for passes that read all of them.
void Convolution::unpool(Index n, int thread, float* full) {
    const Tensor& dy = plan.gradient(node);
    const Tensor& du = *full_gradient;
    UnpoolPair pair{};
    pair.dy_stride = dy.step[2];
    pair.code_stride = dy.stride;
    pair.stride = du.step[2];
    pair.pixels = dy.size[2];
    pair.channels = dy.stride;
    for (Index h = 0; h < dy.size[1]; ++h) {
        pair.dy = plan.image(dy, n, thread) + dy.origin + h * dy.step[1];
        pair.code = plan.codes(code_base, n, code_image) + h * dy.size[2] * dy.stride;
        pair.upper = full + du.origin + 2 * h * du.step[1];
        pair.lower = pair_rows() == 2 ? pair.upper + du.step[1] : nullptr;
        plan.kernels.unpool_pair(pair);
    }
}

void Convolution::winners_weight_gradient(Index n, int thread, Index chunk, bool accumulate) {
    const Tensor& x = plan.value(input);
    const Tensor& y = plan.value(node);
    const Tensor& dy = plan.gradient(node);
    const Index pixels = y.size[1] * y.size[2];
    SparseWeightGradient job{};
    job.code = plan.codes(code_base, n, code_image);
    job.code_stride = y.stride;
    job.dy = plan.image(dy, n, thread) + dy.origin;
    job.dy_stride = dy.step[2];
    job.dy_line = dy.step[1];
    job.pooled_height = y.size[1];
    job.pooled_width = y.size[2];
    job.channels = settings.shape.channels;
    const Tensor& from = pairs ? *image_pairs : x;  // bf16 numbers are half a word
    job.input = pairs ? pack_channel_pairs(n, thread, thread) + first_pair : image_values(n, thread, thread) + first_tap;
    job.input_stride = settings.window.stride[2] * from.step[2] * (pairs ? 2 : 1);
    job.input_line = settings.window.stride[1] * from.step[1] * (pairs ? 2 : 1);
    job.segments = pairs ? number_segments.data() : segments.data();
    job.segment_count = static_cast<Index>(segments.size());
    job.input_channels = group_channels;
    job.dweight = plan.partial(chunk) + partial_weight;
    job.padded_run = padded_run;
    job.dbias = settings.bias ? plan.partial(chunk) + partial_bias : nullptr;
    job.accumulate = accumulate;
    job.entries = reinterpret_cast<std::uint64_t*>(plan.scratch(thread));
    job.counts = reinterpret_cast<std::int32_t*>(job.entries + winner_entries(pixels));
    (pairs ? plan.kernels.sparse_weight_gradient_of_pairs : plan.kernels.sparse_weight_gradient)(job);
}

void Convolution::prepare_chosen() {
    const WindowSettings& w = settings.window;
    const Tensor& y = plan.value(node);
    ChosenWeightGradient& job = chosen_job;
    job.line_step = pair_rows() == 2 ? w.stride[1] : 0;
    job.window_lines = (w.kernel[1] - 1) * w.dilation[1] + 1;
    job.line_floats = (2 * y.size[2] - 2) * w.stride[2] * group_channels + segments[0].length;
    constexpr Index floats = 16384;  // of quads: 64 KB
    const Index lines = std::max<Index>(0, floats / (4 * job.line_floats) - job.window_lines);
    job.rows_at_once = std::min(y.size[1], 1 + lines / std::max<Index>(1, 2 * job.line_step));
    plan.need_scratch(multiply_sizes({(2 * job.rows_at_once - 2) * job.line_step + job.window_lines, 4, job.line_floats}));
    for (Index row = 0; row < w.kernel[1]; ++row)
        for (Index i = 0; i < segments[0].length; ++i)
            quad_offsets.push_back(4 * (row * w.dilation[1] * job.line_floats + i));
}

void Convolution::chosen_weight_gradient(Index n, int thread, Index chunk, bool accumulate) {
    const Tensor& x = plan.value(input);
    const Tensor& y = plan.value(node);
    const Tensor& dy = plan.gradient(node);
    ChosenWeightGradient job = chosen_job;
    job.code = plan.codes(code_base, n, code_image);
    job.code_stride = y.stride;
    job.dy = plan.image(dy, n, thread) + dy.origin;
    job.dy_stride = dy.step[2];
    job.dy_line = dy.step[1];
    job.pooled_height = y.size[1];
    job.pooled_width = y.size[2];
    job.channels = settings.shape.channels;
    job.input = image_values(n, thread, thread) + first_tap;
    job.input_stride = settings.window.stride[2] * x.step[2];
    job.input_line = job.line_step * x.step[1];
    job.line = x.step[1];
    job.quad_offsets = quad_offsets.data();
    job.taps = static_cast<Index>(quad_offsets.size());
    job.quads = plan.scratch(thread);
    job.dweight = plan.partial(chunk) + partial_weight;
    job.dbias = settings.bias ? plan.partial(chunk) + partial_bias : nullptr;
    job.accumulate = accumulate;
    plan.kernels.chosen_weight_gradient(job);
}

// Filters × rows × padded row, summed over the chunks, into the weights' own arrangement.
void Convolution::add_up_winners(Index used_chunks, float* total) {
    const Index rows = static_cast<Index>(segments.size());
    const Index filter_floats = rows * padded_run;
    const auto& panels = plan_panels();
    parallel_for(plan.running_threads(), static_cast<Index>(panels.size()), 1, [&](Index i, int) {
        const Panel& panel = panels[static_cast<std::size_t>(i)];
        float* const sum = plan.partial(0) + partial_weight + panel.first * filter_floats;
        for (Index chunk = 1; chunk < used_chunks; ++chunk)
            plan.kernels.add(plan.partial(chunk) + partial_weight + panel.first * filter_floats, sum,
                             panel.columns * filter_floats);
        if (pairs) put_in_order(sum, panel.columns * rows);
        for (Index row = 0; row < rows; ++row)
            plan.kernels.transpose(sum + row * padded_run, filter_floats,
                                   total + panel.weight + row * segments[0].length * panel.vectors * lanes,
                                   panel.vectors * lanes, panel.columns, segments[0].length);
    });
}

void Convolution::winners_input_gradient(Index n, int thread) {
    if (is_signal()) {
        signal_input_gradient(n, thread);
        return;
    }
    const Tensor& dx = plan.gradient(input);
    const Tensor& dy = plan.gradient(node);
    float* const to = plan.image(dx, n, thread) + dx.origin;
    for (Index h = 0; h < dx.size[1] && !accumulate_input; ++h) std::fill_n(to + h * dx.step[1], dx.size[2] * dx.stride, 0.0f);
    SparseInputGradient job{};
    job.code = plan.codes(code_base, n, code_image);
    job.code_stride = dy.stride;
    job.dy = plan.image(dy, n, thread) + dy.origin;
    job.dy_stride = dy.step[2];
    job.dy_line = dy.step[1];
    job.pooled_height = dy.size[1];
    job.pooled_width = dy.size[2];
    job.channels = settings.shape.channels;
    job.weight = plan.arena() + (pairs ? winner_pairs : winner_weight);
    job.input_vectors = window.stride / lanes;
    job.dx = to;
    job.height = dx.size[1];
    job.width = dx.size[2];
    job.top = settings.window.before[1];
    job.left = settings.window.before[2];
    job.pixel = dx.step[2];
    job.line = dx.step[1];
    (pairs ? plan.kernels.sparse_input_gradient_of_pairs : plan.kernels.sparse_input_gradient)(job);
}

void Convolution::signal_input_gradient(Index n, int thread) const {
    const Tensor& dx = plan.gradient(input);
    const Tensor& dy = plan.gradient(node);
    float* const bordered = plan.scratch(thread);
    std::fill_n(bordered, window.image, 0.0f);
    SignalInputGradient job{};
    job.code = plan.codes(code_base, n, code_image);
    job.code_stride = dy.stride;
    job.dy = plan.image(dy, n, thread) + dy.origin;
    job.dy_stride = dy.step[2];
    job.pooled_width = dy.size[2];
    job.channels = settings.shape.channels;
    job.taps = taps;
    job.weight = plan.arena() + winner_weight;
    job.input_vectors = window.stride / lanes;
    job.window = bordered;
    job.pixel = window.step[2];
    plan.kernels.sparse_signal_gradient(job);
    float* const to = plan.image(dx, n, thread) + dx.origin;
    const float* const from = bordered + settings.window.before[2] * window.step[2];
    if (accumulate_input)
        plan.kernels.add(from, to, dx.size[2] * dx.stride);
    else
        std::copy_n(from, dx.size[2] * dx.stride, to);
}

}  // namespace tatami
