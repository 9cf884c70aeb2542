// Convolution in a plan: which kernel runs on which part of an image, for forward, input gradient and weight gradient.
//
// Forward. A panel of filters is taken over all rows of output pixels. With ReLU and 2×2 pooling fused, two rows at a time go
// through a strip of scratch memory that stays in the first-level cache.
//
// Input gradient. dx(u) = sum over taps t and filters of dy((u - d·t) / s) · weight(t), where the division leaves no remainder.
// Input positions with the same remainder (a phase) see the same taps at the same distances, so each phase is a correlation
// of dy, bordered by zeros, with its share of the weights transposed. Without stride there is one phase.
//
// With bf16 (`pairs`) every pass first copies its operands into the words that pairs.hpp describes: the image with its channels
// in pairs, which the forward pass and the sparse weight gradient read; dy with its filters in pairs; and for a weight
// gradient that is not sparse the image paired with itself one step to the right, and the pixels of dy in pairs.
#include <algorithm>

#include "plan.hpp"

namespace tatami {

namespace {

Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

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

struct Phase {
    Size first, count;
    std::vector<std::array<Index, 4>> taps;  // tap number, and distances along the axes
    std::vector<Segment> segments;           // relative to dy's pixel at the same index
    std::vector<Index> offsets;              // the same for depthwise kernels
    std::vector<Index> tap_weights;          // depthwise: offset of each tap's weights
    Index weight = 0;                        // offset of the transposed weights
    std::vector<Segment> pair_segments;      // the same in words
    Index pair_weight = 0;
};

class Convolution : public Operation {
public:
    Convolution(Plan& owner, int convolution_node, bool with_relu, bool with_pool, int output)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(convolution_node)].inputs[0], output),
          convolution(convolution_node),
          settings(owner.engine.nodes()[static_cast<std::size_t>(convolution_node)]),
          relu(with_relu),
          pool(with_pool),
          depthwise(is_depthwise(owner.engine, convolution_node)),
          pairs(uses_pairs(owner.engine, convolution_node)),
          lanes(owner.kernels.lanes) {
        const Shape& from = owner.engine.nodes()[static_cast<std::size_t>(input)].shape;
        group_channels = from.channels / settings.groups;
        group_filters = settings.shape.channels / settings.groups;
        find_phases(from);
        winograd = winograd_fits(owner.engine, convolution_node);
        if (winograd)
            for (int axis = 1; axis < 3; ++axis) border_after[axis] += from.size[axis] % 2;
        if (!pool) {
            Tensor& dy = plan.gradient_to_arrange(node);
            dy.before = border_before;
            dy.after = border_after;
        }
    }

    std::string describe() const override {
        std::string text = depthwise ? "depthwise convolution" : "convolution";
        if (settings.bias) text += " + bias";
        if (relu) text += " + ReLU";
        if (pool) text += " + max pool";
        if (winograd) text += ", Winograd";
        if (sparse || masked) text += ", sparse gradients";
        if (pairs) text += ", bf16";
        return text;
    }

    void prepare() override {
        const Tensor& x = plan.value(input);
        const WindowSettings& w = settings.window;
        const Index channels = group_channels;
        first_tap = 0;
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
        for (const Segment& segment : segments)
            for (Index i = 0; i < segment.length; ++i) float_offsets.push_back(segment.offset + i);
        for (Index t = 0; t < taps; ++t) tap_rows.push_back(t * round_up(settings.shape.channels, lanes));
        winograd = winograd && x.stride % lanes == 0 && !(pool && pair_rows() == 1);
        if (winograd) {
            winograd_weight = plan.reserve(16 * round_up(settings.shape.channels, lanes) * channels);
            plan.need_scratch(winograd_scratch(x.stride));
        }
        if (pool) {
            const Tensor& y = plan.value(node);
            plan.need_scratch(2 * settings.shape.size[2] * 2 * lanes);
            if (plan.trains()) {
                code_image = y.size[1] * y.size[2] * y.stride;
                code_base = plan.reserve_codes(code_image);
                // The winners' offsets are 32-bit numbers, and a window must not reach beyond its image.
                const Index pixels = y.size[1] * y.size[2];
                masked = joined && !pairs && segments[0].length < lanes;
                sparse = joined && !masked && (!pairs || channels % 2 == 0) && x.image < (Index{1} << 30);
                sparse_input = wants_input_gradient && y.size[1] * 2 <= settings.shape.size[1] && w.kernel == Size{1, 3, 3} && w.stride == Size{1, 1, 1} &&
                               w.dilation == Size{1, 1, 1};
                padded_run = round_up(segments[0].length, pairs ? 2 * lanes : lanes);
                plan.need_scratch(settings.shape.channels * 2 * (pixels + 1) + 64);
                if (sparse_input) {
                    window.channels = x.channels;
                    window.stride = round_up(x.channels, lanes);
                    window.size = {1, x.size[1] + w.before[1] + w.after[1], x.size[2] + w.before[2] + w.after[2]};
                    window.arrange();
                    plan.need_scratch(window.image + 64);
                    winner_weight = plan.reserve(settings.shape.channels * 9 * window.stride);
                }
                Tensor full;
                full.channels = settings.shape.channels;
                full.stride = y.stride;
                full.size = settings.shape.size;
                full.before = border_before;
                full.after = border_after;
                full_gradient = &plan.reserve_tensor(full, true);
            }
        }
        if (pairs) prepare_pairs();
        if (plan.trains()) {
            partial_weight =
                plan.reserve_partial(sparse ? settings.shape.channels * static_cast<Index>(segments.size()) * padded_run
                                            : parameter(0).padded);
            partial_bias = plan.reserve_partial(parameter(1).padded);
            if (wants_input_gradient) prepare_phases();
            if (wants_input_gradient && !pairs) prepare_scatter(x);
            if (pairs) prepare_gradient_pairs();
            winograd_input = winograd && wants_input_gradient && !sparse_input;
            if (winograd_input) {
                const Tensor& du = pool ? *full_gradient : plan.gradient(node);
                winograd_input_weight = plan.reserve(16 * round_up(channels, lanes) * settings.shape.channels);
                plan.need_scratch(winograd_scratch(du.stride));
            }
        }
    }

    void pack() override {
        if (winograd)
            for (const Panel& panel : plan_panels())
                plan.kernels.winograd_weight(plan.weights(convolution, 0, "weight") + panel.weight,
                                             plan.arena() + winograd_weight + panel.first * 16 * group_channels, group_channels,
                                             panel.vectors, false);
        if (pairs) pack_weight_pairs();
        pack_transposed();
        if (pairs) pack_transposed_pairs();
        if (winograd_input)
            for (Index first = 0; first < group_channels; first += 2 * lanes)
                plan.kernels.winograd_weight(plan.arena() + phases[0].weight + first * 9 * group_filters,
                                             plan.arena() + winograd_input_weight + first * 16 * group_filters, group_filters,
                                             group_channels - first > lanes ? 2 : 1, true);
    }

    void pack_transposed() {
        if (!plan.trains() || !wants_input_gradient || depthwise) return;
        const float* const weight = plan.weights(convolution, 0, "weight");
        const Index width = 2 * lanes;
        if (scatter) {
            pack_scatter();
            return;
        }
        if (sparse_input) {
            const Index channels = group_channels;
            for (const Panel& panel : plan_panels())
                for (Index tap = 0; tap < 9; ++tap)
                    for (Index c = 0; c < channels; c += lanes)
                        plan.kernels.transpose(weight + panel.weight + (tap * channels + c) * panel.vectors * lanes,
                                               panel.vectors * lanes,
                                               plan.arena() + winner_weight +
                                                   ((c / lanes * settings.shape.channels + panel.first) * 9 + tap) * lanes,
                                               9 * lanes, std::min<Index>(lanes, channels - c), panel.columns);
            return;
        }
        for (const Phase& phase : phases)
            for (Index g = 0; g < settings.groups; ++g)
                for (std::size_t t = 0; t < phase.taps.size(); ++t)
                    for (const Panel& panel : plan_panels())
                        if (panel.group == g)
                            for (Index first = 0; first < group_channels; first += width) {
                                const Index columns = std::min(width, group_channels - first);
                                const Index panel_width = columns > lanes ? width : lanes;
                                const Index rows = static_cast<Index>(phase.taps.size()) * group_filters;
                                float* const to = plan.arena() + phase.weight + g * transposed_group(phase) + first * rows +
                                                  (static_cast<Index>(t) * group_filters + panel.first) * panel_width;
                                const Index from_width = panel.vectors * lanes;
                                plan.kernels.transpose(
                                    weight + panel.weight + (phase.taps[t][0] * group_channels + first) * from_width,
                                    from_width, to, panel_width, columns, panel.columns);
                            }
    }

    Index parts(Index wanted) const override {
        constexpr Index worthwhile = 200000;  // multiplications: a thread needs microseconds to join in
        const Index work = settings.shape.count() * group_channels * taps;
        const Index rows = plan.value(node).size[1];
        if (sparse && pairs) return 1;  // threads would write the same copy of the image
        return settings.shape.size[0] == 1 && work >= worthwhile ? std::min(wanted, rows) : 1;
    }

    void forward(Index n, int thread) override { forward_part(n, thread, thread, 0, 1); }

    // Rows `begin` to `end` of the output (pooled rows with pooling).
    void forward_part(Index n, int slot, int thread, Index part, Index parts) override {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        const float* const from = plan.image(x, n, slot) + first_tap;
        float* const to = plan.image(y, n, slot) + y.origin;
        Index begin = y.size[1] * part / parts, end = y.size[1] * (part + 1) / parts;
        if (winograd && !pool) {  // tiles have two rows
            begin = part == 0 ? 0 : round_up(begin, 2);
            end = part + 1 == parts ? y.size[1] : round_up(end, 2);
        }
        const float* const weight = plan.weights(convolution, 0, "weight");
        const float* const bias = plan.weights(convolution, 0, "bias");
        const WindowSettings& w = settings.window;
        const Size& size = settings.shape.size;
        if (depthwise) {
            DepthwiseRow row{};
            row.input_stride = w.stride[2] * x.step[2];
            row.tap_offsets = tap_offsets.data();
            row.weight_offsets = tap_rows.data();
            row.taps = taps;
            row.weight = weight;
            row.bias = bias;
            row.output_stride = y.step[2];
            row.pixels = size[2];
            row.channels = y.stride;
            row.relu = relu;
            for (Index d = 0; d < size[0]; ++d)
                for (Index h = begin; h < end; ++h) {
                    row.input = from + d * w.stride[0] * x.step[0] + h * w.stride[1] * x.step[1];
                    row.output = to + d * y.step[0] + h * y.step[1];
                    plan.kernels.depthwise(row);
                }
            return;
        }
        if (winograd) {
            if (begin >= end) return;
            const Index rows = pool ? 2 : 1;
            Winograd job{};
            job.input = from + begin * rows * x.step[1];
            job.line = x.step[1];
            job.pixel = x.step[2];
            job.input_channels = group_channels;
            job.height = end == y.size[1] ? size[1] - begin * rows : (end - begin) * rows;
            job.width = size[2];
            job.weight = plan.arena() + winograd_weight;
            set_panels(job, group_filters);
            job.bias = bias;
            job.output = to + begin * y.step[1];
            job.output_line = y.step[1];
            job.output_pixel = y.step[2];
            job.relu = relu;
            job.pool = pool;
            job.code = pool && plan.trains() ? plan.codes(code_base, n, code_image) + begin * y.size[2] * y.stride : nullptr;
            job.code_stride = y.stride;
            job.code_line = y.size[2] * y.stride;
            job.scratch = plan.scratch(thread);
            job.tiles = tiles_at_once(x.stride);
            plan.kernels.winograd(job);
            return;
        }
        const Operand source = pairs ? channel_pairs(n, slot, thread) : Operand{from, &x, segments, plan.kernels.correlate};
        CorrelateRow row{};
        row.input_stride = w.stride[2] * source.tensor->step[2];
        row.segments = source.segments.data();
        row.segment_count = static_cast<Index>(source.segments.size());
        row.relu = relu;
        for (const Panel& panel : plan_panels()) {
            const Index filter = panel.group * group_filters + panel.first;
            row.vectors = panel.vectors;
            row.columns = settings.groups == 1 ? panel.vectors * lanes : static_cast<int>(panel.columns);
            row.weight = pairs ? plan.arena() + pair_weight + panel.first * taps * channel_words : weight + panel.weight;
            row.bias = bias + filter;
            const float* const panel_input = source.data + panel.group * group_channels;
            if (pool) {
                pooled_panel(row, source, panel_input, to + filter, n, thread, filter, begin, end);
                continue;
            }
            row.pixels = size[2];
            row.output_stride = y.step[2];
            for (Index d = 0; d < size[0]; ++d)
                for (Index h = begin; h < end; ++h) {
                    row.input = panel_input + d * w.stride[0] * source.tensor->step[0] +
                                h * w.stride[1] * source.tensor->step[1];
                    row.output = to + filter + d * y.step[0] + h * y.step[1];
                    source.correlate(row);
                }
        }
    }

    void backward(Index n, int thread, Index chunk, bool first_image) override {
        const Tensor& du = pool ? *full_gradient : plan.gradient(node);
        float* const gradient = plan.image(du, n, thread);
        if (pairs) plan.kernels.round_floats(plan.image(plan.gradient(node), n, thread), plan.gradient(node).image);
        if (sparse) winners_weight_gradient(n, thread, chunk, !first_image);
        if (masked) masked_weight_gradient(n, thread, chunk, !first_image);
        if (sparse_input) winners_input_gradient(n, thread);
        if ((sparse || masked) && (sparse_input || !wants_input_gradient)) return;
        if (pool)
            unpool(n, thread, gradient);
        else if (relu)
            through_relu(n, thread, gradient);
        if (!sparse && !masked) weight_gradient(n, thread, chunk, !first_image, du, gradient);
        if (wants_input_gradient && !sparse_input) input_gradient(n, thread, du, gradient);
    }

    void add_up(Index used_chunks) override {
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
    }

private:
    // What the forward pass reads: floats, or words of bf16.
    struct Operand {
        const float* data;  // at the first tap of the first output pixel
        const Tensor* tensor;
        const std::vector<Segment>& segments;
        void (*correlate)(const CorrelateRow&);
    };

    const std::vector<Panel>& plan_panels() const;
    const Parameter& parameter(int which) const;

    void find_phases(const Shape& from) {
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

    Index transposed_group(const Phase& phase) const {
        return static_cast<Index>(phase.taps.size()) * group_filters * round_up(group_channels, lanes);
    }

    void prepare_phases() {
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

    // Tiles of Winograd's convolution whose transformed patches and products fit the second-level cache.
    Index tiles_at_once(Index pixel) const {
        constexpr Index floats = 65536;
        return std::max<Index>(14, floats / (16 * (pixel + 2 * lanes)));
    }

    Index winograd_scratch(Index pixel) const { return tiles_at_once(pixel) * 16 * (pixel + 2 * lanes); }

    void set_panels(Winograd& job, Index columns) const {
        job.panels = (columns + 2 * lanes - 1) / (2 * lanes);
        job.last_vectors = columns - (job.panels - 1) * 2 * lanes > lanes ? 2 : 1;
    }

    // Rows of a pooling window: 2, or 1 for signals.
    Index pair_rows() const { return plan.value(node).size[1] * 2 <= settings.shape.size[1] ? 2 : 1; }

    // Spreading pays where the input's channels leave vectors mostly empty: compare the multiplications of both ways.
    void prepare_scatter(const Tensor& x) {
        const WindowSettings& w = settings.window;
        const Size& size = settings.shape.size;
        const Index run = w.kernel[2] * group_channels;
        padded_run = round_up(run, lanes);
        const Index all_taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
        const Index gathering = x.size[1] * x.size[2] * all_taps * settings.shape.channels * (round_up(group_channels, lanes) / lanes) /
                                (w.stride[1] * w.stride[2]);
        const Index spreading = size[1] * size[2] * (settings.shape.channels + 3) * w.kernel[1] * (padded_run / lanes);
        scatter = !sparse_input && !winograd && !depthwise && settings.groups == 1 && w.dilation[2] == 1 && w.kernel[0] == 1 &&
                  size[0] == 1 && x.size[0] == 1 && 4 * spreading < 3 * gathering;
        if (!scatter) return;
        window.channels = window.stride = group_channels;
        window.size = {1, x.size[1] + w.before[1] + w.after[1], x.size[2] + w.before[2] + w.after[2]};
        window.arrange();
        plan.need_scratch(window.image + padded_run);
        scatter_weight = plan.reserve(settings.shape.channels * w.kernel[1] * padded_run);
    }

    void pack_scatter() {
        const Index rows = settings.window.kernel[1], run = settings.window.kernel[2] * group_channels;
        for (const Panel& panel : plan_panels())
            for (Index row = 0; row < rows; ++row)
                plan.kernels.transpose(plan.weights(convolution, 0, "weight") + panel.weight + row * run * panel.vectors * lanes,
                                       panel.vectors * lanes,
                                       plan.arena() + scatter_weight + (panel.first * rows + row) * padded_run,
                                       rows * padded_run, run, panel.columns);
    }

    void scatter_gradient(Index n, int thread, const Tensor& du, const float* dy) {
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

    // Two rows of pixels at a time into a strip, and their maxima out of it.
    void pooled_panel(CorrelateRow row, const Operand& source, const float* from, float* to, Index n, int thread,
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

    void unpool(Index n, int thread, float* full) {
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

    void winners_weight_gradient(Index n, int thread, Index chunk, bool accumulate) {
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
        job.input = plan.image(from, n, thread) + (pairs ? first_pair : first_tap);
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
        job.counts = reinterpret_cast<Index*>(job.entries + job.channels * pixels);
        (pairs ? plan.kernels.sparse_weight_gradient_of_pairs : plan.kernels.sparse_weight_gradient)(job);
    }

    void masked_weight_gradient(Index n, int thread, Index chunk, bool accumulate) {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        const Tensor& dy = plan.gradient(node);
        MaskedWeightGradient job{};
        job.code_stride = y.stride;
        job.dy_stride = dy.step[2];
        job.dy_line = dy.step[1];
        job.pooled_height = y.size[1];
        job.pooled_width = y.size[2];
        job.input = plan.image(x, n, thread) + first_tap;
        job.input_stride = settings.window.stride[2] * x.step[2];
        job.input_line = settings.window.stride[1] * x.step[1];
        job.tap_offsets = float_offsets.data();
        job.taps = static_cast<Index>(float_offsets.size());
        job.accumulate = accumulate;
        for (const Panel& panel : plan_panels()) {
            job.code = plan.codes(code_base, n, code_image) + panel.first;
            job.dy = plan.image(dy, n, thread) + dy.origin + panel.first;
            job.dweight = plan.partial(chunk) + partial_weight + panel.weight;
            job.dbias = settings.bias ? plan.partial(chunk) + partial_bias + panel.first : nullptr;
            job.vectors = panel.vectors;
            plan.kernels.masked_weight_gradient(job);
        }
    }

    // Filters × rows × padded row, summed over the chunks, into the weights' own arrangement.
    void add_up_winners(Index used_chunks, float* total) {
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

    void winners_input_gradient(Index n, int thread) {
        const Tensor& dx = plan.gradient(input);
        const Tensor& dy = plan.gradient(node);
        const WindowSettings& w = settings.window;
        float* const bordered = plan.scratch(thread);
        std::fill_n(bordered, window.image, 0.0f);
        SparseInputGradient job{};
        job.code = plan.codes(code_base, n, code_image);
        job.code_stride = dy.stride;
        job.dy = plan.image(dy, n, thread) + dy.origin;
        job.dy_stride = dy.step[2];
        job.dy_line = dy.step[1];
        job.pooled_height = dy.size[1];
        job.pooled_width = dy.size[2];
        job.channels = settings.shape.channels;
        job.weight = plan.arena() + winner_weight;
        job.input_vectors = window.stride / lanes;
        job.window = bordered;
        job.pixel = window.step[2];
        job.line = window.step[1];
        plan.kernels.sparse_input_gradient(job);
        float* const to = plan.image(dx, n, thread) + dx.origin;
        for (Index h = 0; h < dx.size[1]; ++h) {
            const float* const from = bordered + (h + w.before[1]) * window.step[1] + w.before[2] * window.step[2];
            if (accumulate_input)
                plan.kernels.add(from, to + h * dx.step[1], dx.size[2] * dx.stride);
            else
                std::copy_n(from, dx.size[2] * dx.stride, to + h * dx.step[1]);
        }
    }

    void through_relu(Index n, int thread, float* gradient) {
        const Tensor& y = plan.value(node);
        const Tensor& dy = plan.gradient(node);
        for (Index d = 0; d < y.size[0]; ++d)
            for (Index h = 0; h < y.size[1]; ++h) {
                float* const line = gradient + dy.origin + d * dy.step[0] + h * dy.step[1];
                plan.kernels.activate_gradient(Activation::relu,
                                               plan.image(y, n, thread) + y.origin + d * y.step[0] + h * y.step[1], line, line,
                                               y.size[2] * y.stride, false);
            }
    }

    void weight_gradient(Index n, int thread, Index chunk, bool accumulate, const Tensor& du, const float* gradient) {
        const Tensor& x = plan.value(input);
        const WindowSettings& w = settings.window;
        const Size& size = settings.shape.size;
        const float* const from = plan.image(x, n, thread) + first_tap;
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
                DepthwiseWeightGradient job{};
                job.input = plane;
                job.input_stride = w.stride[2] * x.step[2];
                job.input_line = w.stride[1] * x.step[1];
                job.dy = dy + d * du.step[0];
                job.dy_stride = du.step[2];
                job.dy_line = du.step[1];
                job.pixels = size[2];
                job.lines = size[1];
                job.tap_offsets = tap_offsets.data();
                job.taps = taps;
                job.dweight = dweight;
                job.channels = du.stride;
                job.valid_channels = settings.shape.channels;
                job.accumulate = add;
                plan.kernels.depthwise_weight_gradient(job);
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

    void input_gradient(Index n, int thread, const Tensor& du, const float* gradient) {
        const Tensor& dx = plan.gradient(input);
        float* const to = plan.image(dx, n, thread) + dx.origin;
        const float* const dy = gradient + du.origin;
        const Size& stride = settings.window.stride;
        const float* const weight = plan.weights(convolution, 0, "weight");
        const Index width = 2 * lanes;
        if (scatter) {
            scatter_gradient(n, thread, du, dy);
            return;
        }
        if (winograd_input) {  // the same convolution of dy, with the taps turned by 180 degrees
            const WindowSettings& w = settings.window;
            Winograd job{};
            job.input = dy + (w.before[1] - 2) * du.step[1] + (w.before[2] - 2) * du.step[2];
            job.line = du.step[1];
            job.pixel = du.step[2];
            job.input_channels = group_filters;
            job.height = dx.size[1];
            job.width = dx.size[2];
            job.weight = plan.arena() + winograd_input_weight;
            set_panels(job, group_channels);
            job.output = to;
            job.output_line = dx.step[1];
            job.output_pixel = dx.step[2];
            job.accumulate = accumulate_input;
            job.scratch = plan.scratch(thread);
            job.tiles = tiles_at_once(du.stride);
            plan.kernels.winograd(job);
            return;
        }
        const Tensor& dy_tensor = pairs ? *filter_pairs : du;
        const float* const operand = pairs ? pack_filter_pairs(n, thread, du, gradient) : dy;
        for (const Phase& phase : phases) {
            const Index start = phase.first[0] * dx.step[0] + phase.first[1] * dx.step[1] + phase.first[2] * dx.step[2];
            if (depthwise) {
                DepthwiseRow row{};
                row.input_stride = du.step[2];
                row.tap_offsets = phase.offsets.data();
                row.weight_offsets = phase.tap_weights.data();
                row.taps = static_cast<Index>(phase.taps.size());
                row.weight = weight;
                row.output_stride = stride[2] * dx.step[2];
                row.pixels = phase.count[2];
                row.channels = dx.stride;
                row.accumulate = accumulate_input;
                for (Index d = 0; d < phase.count[0]; ++d)
                    for (Index h = 0; h < phase.count[1]; ++h) {
                        row.input = dy + d * du.step[0] + h * du.step[1];
                        row.output = to + start + d * stride[0] * dx.step[0] + h * stride[1] * dx.step[1];
                        plan.kernels.depthwise(row);
                    }
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
                    row.weight = pairs ? plan.arena() + phase.pair_weight + first * pair_rows_of(phase)
                                       : plan.arena() + phase.weight + g * transposed_group(phase) + first * rows;
                    for (Index d = 0; d < phase.count[0]; ++d)
                        for (Index h = 0; h < phase.count[1]; ++h) {
                            row.input = operand + g * group_filters + d * dy_tensor.step[0] + h * dy_tensor.step[1];
                            row.output = to + start + g * group_channels + first + d * stride[0] * dx.step[0] +
                                         h * stride[1] * dx.step[1];
                            (pairs ? plan.kernels.correlate_pairs : plan.kernels.correlate)(row);
                        }
                }
        }
    }

    // An image whose pixels are `words` words of bf16, laid out like another tensor.
    static Tensor in_words(const Tensor& like, Index words) {
        Tensor tensor = like;
        tensor.channels = words;
        tensor.stride = words;
        return tensor;
    }

    void prepare_pairs() {
        const Tensor& x = plan.value(input);
        const WindowSettings& w = settings.window;
        channel_words = (group_channels + 1) / 2;
        image_pairs = &plan.reserve_tensor(in_words(x, channel_words), !sparse);
        for (int axis = 0; axis < 3; ++axis) first_pair += (x.before[axis] - w.before[axis]) * image_pairs->step[axis];
        for (Index d = 0; d < w.kernel[0]; ++d)
            for (Index h = 0; h < w.kernel[1]; ++h) {
                const Index line = d * w.dilation[0] * image_pairs->step[0] + h * w.dilation[1] * image_pairs->step[1];
                if (w.dilation[2] == 1)
                    pair_segments.push_back({line, w.kernel[2] * channel_words});
                else
                    for (Index t = 0; t < w.kernel[2]; ++t)
                        pair_segments.push_back({line + t * w.dilation[2] * image_pairs->step[2], channel_words});
            }
        for (const Segment& segment : pair_segments) number_segments.push_back({2 * segment.offset, 2 * segment.length});
        pair_weight = plan.reserve(taps * channel_words * round_up(settings.shape.channels, lanes));
    }

    void prepare_gradient_pairs() {
        const Tensor& x = plan.value(input);
        const Tensor& du = pool ? *full_gradient : plan.gradient(node);
        if (!sparse) {
            shifted_pairs = &plan.reserve_tensor(x, true);
            Tensor two;
            two.channels = two.stride = du.stride;
            two.size = {du.size[0], du.size[1], (du.size[2] + 1) / 2};
            pixel_pairs = &plan.reserve_tensor(two, true);
        }
        if (!wants_input_gradient || sparse_input) return;
        filter_words = (group_filters + 1) / 2;
        filter_pairs = &plan.reserve_tensor(in_words(du, filter_words), true);
        for (Phase& phase : phases) {
            for (const auto& tap : phase.taps)
                phase.pair_segments.push_back({tap[1] * filter_pairs->step[0] + tap[2] * filter_pairs->step[1] +
                                                   tap[3] * filter_pairs->step[2],
                                               filter_words});
            phase.pair_weight = plan.reserve(pair_rows_of(phase) * round_up(group_channels, lanes) + 2 * lanes);
        }
    }

    Index pair_rows_of(const Phase& phase) const { return static_cast<Index>(phase.taps.size()) * filter_words; }

    void pack_weight_pairs() {
        const float* const weight = plan.weights(convolution, 0, "weight");
        for (const Panel& panel : plan_panels()) {
            const Index width = panel.vectors * lanes;
            for (Index t = 0; t < taps; ++t)
                plan.kernels.pack_row_pairs(weight + panel.weight + t * group_channels * width, width, group_channels,
                                            plan.arena() + pair_weight +
                                                (panel.first * taps + t * width) * channel_words,
                                            width, width);
        }
    }

    // After pack_transposed: the same weights in pairs of filters, or only rounded.
    void pack_transposed_pairs() {
        if (!plan.trains() || !wants_input_gradient) return;
        if (sparse_input) {
            plan.kernels.round_floats(plan.arena() + winner_weight, settings.shape.channels * 9 * window.stride);
            return;
        }
        for (const Phase& phase : phases)
            for (Index first = 0; first < group_channels; first += 2 * lanes) {
                const Index width = group_channels - first > lanes ? 2 * lanes : lanes;
                const Index rows = static_cast<Index>(phase.taps.size()) * group_filters;
                for (Index t = 0; t < static_cast<Index>(phase.taps.size()); ++t)
                    plan.kernels.pack_row_pairs(
                        plan.arena() + phase.weight + first * rows + t * group_filters * width, width, group_filters,
                        plan.arena() + phase.pair_weight + first * pair_rows_of(phase) + t * filter_words * width, width,
                        width);
            }
    }

    // Copy an image into words, pixel by pixel where pixels have gaps or an odd number of channels.
    void narrow_image(const Tensor& from, const float* image, const Tensor& to, float* words, Index channels) const {
        std::uint16_t* const numbers = reinterpret_cast<std::uint16_t*>(words);
        if (from.stride == 2 * to.stride) {
            plan.kernels.narrow(image, numbers, std::min(from.image, 2 * to.image));
            return;
        }
        const Index pixels = (from.before[0] + from.size[0] + from.after[0]) * from.step[0] / from.stride;
        for (Index p = 0; p < pixels; ++p) {
            plan.kernels.narrow(image + p * from.stride, numbers + p * 2 * to.stride, channels);
            if (channels % 2 != 0) numbers[p * 2 * to.stride + channels] = 0;
        }
    }

    Operand channel_pairs(Index n, int slot, int thread) {
        float* const words = plan.image(*image_pairs, n, thread);
        const Tensor& x = plan.value(input);
        narrow_image(x, plan.image(x, n, slot), *image_pairs, words, group_channels);
        return {words + first_pair, image_pairs, pair_segments, plan.kernels.correlate_pairs};
    }

    const float* pack_filter_pairs(Index n, int thread, const Tensor& du, const float* gradient) {
        float* const words = plan.image(*filter_pairs, n, thread);
        narrow_image(du, gradient, *filter_pairs, words, group_filters);
        return words + filter_pairs->origin;
    }

    void pack_pixel_pairs(Index n, int thread, const Tensor& du, const float* gradient) {
        const Tensor& x = plan.value(input);
        const float* const image = plan.image(x, n, thread);
        float* const words = plan.image(*shifted_pairs, n, thread);
        const Index shift = std::min(settings.window.stride[2] * x.step[2], x.image);
        plan.kernels.pack_pairs(image, image + shift, words, x.image - shift);
        plan.kernels.pack_pairs(image + x.image - shift, nullptr, words + x.image - shift, shift);
        for (Index d = 0; d < du.size[0]; ++d)
            for (Index h = 0; h < du.size[1]; ++h)
                plan.kernels.pack_row_pairs(gradient + du.origin + d * du.step[0] + h * du.step[1], du.step[2], du.size[2],
                                            plan.image(*pixel_pairs, n, thread) + d * pixel_pairs->step[0] +
                                                h * pixel_pairs->step[1],
                                            du.stride, du.stride);
    }

    // Rows of the sparse weight gradient as interleaving left them.
    void put_in_order(float* sums, Index rows) const {
        std::vector<float> row(static_cast<std::size_t>(padded_run));
        for (Index i = 0; i < rows; ++i) {
            plan.kernels.undo_interleaving(sums + i * padded_run, row.data(), padded_run);
            std::copy(row.begin(), row.end(), sums + i * padded_run);
        }
    }

    const int convolution;
    const Node& settings;
    const bool relu, pool, depthwise, pairs;
    const int lanes;
    Index group_channels = 0, group_filters = 0, taps = 0, first_tap = 0;
    std::vector<Segment> segments;
    std::vector<Index> tap_offsets, tap_rows;
    Size border_before{0, 0, 0}, border_after{0, 0, 0};
    std::vector<Phase> phases;
    Index partial_weight = 0, partial_bias = 0;
    Index code_base = 0, code_image = 0;
    Tensor* full_gradient = nullptr;
    bool sparse = false, masked = false, sparse_input = false;  // gradients from the winners alone
    std::vector<Index> float_offsets;                           // of every float of the window
    Index padded_run = 0, winner_weight = 0;
    Tensor window;
    bool winograd = false, winograd_input = false, scatter = false;
    Index scatter_weight = 0;
    Index winograd_weight = 0, winograd_input_weight = 0;
    Tensor* image_pairs = nullptr;    // the input in bf16
    Tensor* shifted_pairs = nullptr;  // every input float with the one a step to the right
    Tensor* pixel_pairs = nullptr;    // dy, two pixels in a word
    Tensor* filter_pairs = nullptr;   // dy in bf16, with its border
    std::vector<Segment> pair_segments, number_segments;
    Index channel_words = 0, filter_words = 0, first_pair = 0, pair_weight = 0;
};

const std::vector<Panel>& Convolution::plan_panels() const { return plan.panels(convolution); }
const Parameter& Convolution::parameter(int which) const { return plan.parameter(convolution, which); }

}  // namespace

std::unique_ptr<Operation> make_convolution(Plan& plan, int convolution, bool relu, bool pool, int output) {
    return std::make_unique<Convolution>(plan, convolution, relu, pool, output);
}

}  // namespace tatami
