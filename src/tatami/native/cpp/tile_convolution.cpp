// Convolution with bf16 operands on tile registers: plan, forward pass, input gradient, weight gradient.
//
// Forward and input gradient copy their operand, the image or dy, rounded and bordered by zeros into a buffer of their own, and
// are correlations of it (tile_products.hpp). The gradient of a strided convolution falls into phases, as in
// convolution_backward.cpp. The weight gradient transposes the image, so that pixels lie side by side; with a stride, positions that share
// a remainder have rows of their own, and every tap is a shift along one of them. Where channels are few, the shifted rows
// of all taps are copied below each other, or most rows of a tile would be empty.
//
// Nothing is sparse here: tiles multiply the zeros behind ReLU and pooling faster than anything could skip them.
#include <array>
#include <cstring>

#include "tile_plan.hpp"

namespace tatami {

namespace {

// A bordered image of bf16 numbers.
struct NumberImage {
    Size size{1, 1, 1}, before{0, 0, 0};  // with border, and the border in front
    Index pixel = 0, line = 0, plane = 0;
    Index numbers = 0;  // of the image, and what tiles read behind it
};

// Positions along one axis with the same remainder; see convolution_backward.cpp.
struct AxisResidue {
    Index first, count;
    std::vector<std::pair<Index, Index>> taps;  // distance in dy, tap
};

std::vector<AxisResidue> axis_residues(Index size, const WindowSettings& window, int axis) {
    std::vector<AxisResidue> residues;
    const Index stride = window.stride[axis];
    for (Index residue = 0; residue < std::min(stride, size); ++residue) {
        residues.push_back({residue, (size - residue + stride - 1) / stride, {}});
        for (Index tap = 0; tap < window.kernel[axis]; ++tap) {
            const Index distance = window.before[axis] + residue - tap * window.dilation[axis];
            if (distance % stride == 0) residues.back().taps.push_back({distance / stride, tap});
        }
    }
    return residues;
}

// Input positions that see the same taps at the same distances.
struct TilePhase {
    Size first, count;
    std::vector<std::array<Index, 4>> taps;  // tap number, and distances along the axes
    TileWindow window;
    Index lines = 1;
};

class TileConvolution : public Operation {
public:
    TileConvolution(Plan& owner, const Fused& with)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(with.first)].inputs[0], with.output),
          fused(with),
          convolution(with.first),
          settings(owner.engine.nodes()[static_cast<std::size_t>(convolution)]),
          curve(fused_curve(owner.engine, with)),
          pool(with.pool >= 0),
          tiles(*owner.kernels.tiles),
          factors(owner.engine.products()),
          lanes(owner.kernels.lanes) {}

    std::string describe() const override {
        return std::string(settings.connections.empty() ? "convolution" : "table convolution") +
               (settings.bias ? " + bias" : "") + describe_fused(plan.engine, fused) + (factors == 3 ? ", bf16 × 3, tiles" : ", bf16, tiles");
    }

    void prepare() override {
        const Shape& from = plan.engine.nodes()[static_cast<std::size_t>(input)].shape;
        channels = from.channels / settings.groups;
        filters = settings.shape.channels / settings.groups;
        taps = settings.window.kernel[0] * settings.window.kernel[1] * settings.window.kernel[2];
        before = reserve_before(curve);
        if (pool) {
            const Tensor& y = plan.value(node);
            pool_lines = y.size[1] * 2 <= settings.shape.size[1] ? 2 : 1;
            if (plan.trains()) {
                code_image = y.size[1] * y.size[2] * y.stride;
                code_base = plan.reserve_codes(code_image);
            }
        }
        prepare_forward(from);
        if (!plan.trains()) return;
        prepare_weight_gradient(from);
        if (wants_input_gradient) prepare_input_gradient(from);
    }

    void pack() override {
        pack_forward();
        if (plan.trains() && wants_input_gradient)
            for (const TilePhase& phase : phases) pack_transposed(phase.window);
    }

    Index parts(Index wanted) const override {
        constexpr Index worthwhile = 2000000;  // multiplications: a thread needs microseconds to join in
        const Index work = settings.shape.count() * channels * taps;
        return settings.shape.size[0] == 1 && work >= worthwhile ? std::min(wanted, plan.value(node).size[1]) : 1;
    }

    void forward(Index n, int thread) override { forward_part(n, thread, thread, 0, 1); }

    void forward_part(Index n, int slot, int thread, Index part, Index parts) override {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        const WindowSettings& w = settings.window;
        const Index begin = y.size[1] * part / parts, end = y.size[1] * (part + 1) / parts;
        if (begin >= end) return;
        const Index rest = pool ? pool_lines : 1;
        std::uint16_t* const numbers = image_memory.numbers(plan, thread);
        copy_numbers(x, plan.image(x, n, slot), channels, image, numbers, begin * rest * w.stride[1],
                     (end * rest - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1);
        TileCorrelation job{};
        job.pixel = w.stride[2] * image.pixel;
        job.line = w.stride[1] * image.line;
        describe_window(job, window);
        job.columns = filters;
        job.height = (end - begin) * rest;
        job.width = pool ? 2 * y.size[2] : settings.shape.size[2];
        job.lines = lines;
        const Tensor& sums = before ? *before : y;
        job.output_line = sums.step[1];
        job.output_pixel = sums.step[2];
        job.relu = is_relu(curve);
        const bool curved = curve && !job.relu;
        job.pool_lines = pool ? pool_lines : 0;
        job.code_line = y.size[2] * y.stride;
        job.code_pixel = y.stride;
        job.strip = plan.scratch(thread);
        for (Index d = 0; d < settings.shape.size[0]; ++d)
            for (Index g = 0; g < settings.groups; ++g) {
                job.input = numbers + d * w.stride[0] * image.plane + begin * rest * job.line + g * image.pixel / settings.groups;
                job.weight = plan.arena() + window.weight + g * packed_floats(window, filters);
                job.bias = settings.bias ? plan.weights(convolution, 0, "bias") + g * filters : nullptr;
                job.output = plan.image(sums, n, slot) + sums.origin + d * sums.step[0] + begin * sums.step[1] + g * filters;
                if (pool && plan.trains()) job.code = plan.codes(code_base, n, code_image) + begin * job.code_line;
                if (curved)
                    activated_lines(job, plan.image(y, n, slot) + y.origin + d * y.step[0] + begin * y.step[1] + g * filters);
                else
                    tiles.correlate(job);
            }
    }

    // As many lines as are computed at a time, and their activation while they are in the cache.
    void activated_lines(TileCorrelation job, float* to) const {
        const Tensor& y = plan.value(node);
        const Index height = job.height;
        for (Index h = 0; h < height; h += lines) {
            job.height = std::min(lines, height - h);
            tiles.correlate(job);
            for (Index line = 0; line < job.height; ++line, to += y.step[1])
                plan.kernels.curve_pixels({*curve, job.output + line * job.output_line, job.output_pixel, to, y.step[2], job.width,
                                           filters});
            job.input += job.height * job.line;
            job.output += job.height * job.output_line;
        }
    }

    void backward(Index n, int thread, Index chunk, bool first_image) override {
        const Tensor& dy = plan.gradient(node);
        float* const gradient = plan.image(dy, n, thread);
        if (pool) {
            winners(n, thread, chunk, !first_image, dy, gradient);
        } else {
            if (curve) through_activation(*curve, before, n, thread, gradient);
            if (factors == 1) plan.kernels.round_floats(gradient, dy.image);
            if (wants_input_gradient)
                copy_numbers(dy, gradient, filters, gradient_image, gradient_memory.numbers(plan, thread), 0,
                             gradient_image.size[1]);
        }
        weight_gradient(n, thread, chunk, !first_image, dy, gradient);
        if (wants_input_gradient) input_gradient(n, thread);
    }

    void add_up(Index used_chunks) override {
        const Parameter& bias = plan.parameter(convolution, 1);
        if (bias.count > 0) {
            float* const total = plan.weights(convolution, 1, "bias");
            std::copy_n(plan.partial(0) + partial_bias, bias.padded, total);
            for (Index chunk = 1; chunk < used_chunks; ++chunk)
                plan.kernels.add(plan.partial(chunk) + partial_bias, total, bias.padded);
        }
        constexpr Index block = 2048;
        parallel_for(plan.running_threads(), (partial_floats + block - 1) / block, 1, [&](Index b, int) {
            const Index begin = partial_weight + b * block, count = std::min(block, partial_floats - b * block);
            for (Index chunk = 1; chunk < used_chunks; ++chunk)
                plan.kernels.add(plan.partial(chunk) + begin, plan.partial(0) + begin, count);
        });
        const auto& panels = plan.panels(convolution);
        parallel_for(plan.running_threads(), static_cast<Index>(panels.size()), 1,
                     [&](Index i, int) { place_weight_gradient(panels[static_cast<std::size_t>(i)]); });
        plan.engine.clear_unconnected(convolution);
    }

private:
    NumberImage number_image(const Size& size, const Size& before, const Size& after, Index words, Index stride) const {
        NumberImage result;
        result.before = before;
        for (int axis = 0; axis < 3; ++axis) result.size[axis] = before[axis] + size[axis] + after[axis];
        result.size[2] = round_to(result.size[2], stride);  // lines are whole steps apart
        result.pixel = multiply_sizes({settings.groups, 2, words});
        result.line = multiply_sizes({result.size[2], result.pixel});
        result.plane = multiply_sizes({result.size[1], result.line});
        // Surplus rows of a line's last tile read on.
        result.numbers = round_to(multiply_sizes({result.size[0], result.plane}) + tile_side * stride * result.pixel, tile_numbers);
        return result;
    }

    Index packed_floats(const TileWindow& w, Index columns) const {
        return multiply_sizes({blocks_of(columns), factors, w.depth, tile_side});
    }

    static void describe_window(TileCorrelation& job, const TileWindow& w) {
        job.offsets = w.offsets.data();
        job.segments = static_cast<Index>(w.offsets.size());
        job.steps = w.steps;
        job.words = w.words;
    }

    void prepare_forward(const Shape& from) {
        const WindowSettings& w = settings.window;
        const bool joined = settings.groups == 1 && w.dilation[2] == 1;
        const Index words = channel_words(channels, joined ? w.kernel[2] : 1);
        image = number_image(from.size, w.before, w.after, words, w.stride[2]);
        image_memory.reserve(plan, factors == 3 ? image.numbers : image.numbers / 2);
        std::vector<std::pair<Index, Index>> offsets;
        for (Index d = 0, tap = 0; d < w.kernel[0]; ++d)
            for (Index h = 0; h < w.kernel[1]; ++h)
                for (Index t = 0; t < w.kernel[2]; ++t, ++tap)
                    offsets.push_back({d * w.dilation[0] * image.plane + h * w.dilation[1] * image.line +
                                           t * w.dilation[2] * image.pixel, tap});
        window = tile_window(std::move(offsets), words, joined, factors, image.numbers);
        window.weight = plan.reserve(multiply_sizes({settings.groups, packed_floats(window, filters)}));
        const Size& size = settings.shape.size;
        const Index line_pixels = image.size[2] * w.stride[1] / w.stride[2], unit = pool ? pool_lines : 1;
        lines = lines_at_once(size[1] / unit * unit, size[2], line_pixels, unit);
        plan.need_scratch(strip_floats(strip_pixels(lines, size[2], line_pixels)));
    }

    void prepare_input_gradient(const Shape& from) {
        const WindowSettings& w = settings.window;
        const Size& size = settings.shape.size;
        std::array<std::vector<AxisResidue>, 3> axes;
        Size before{0, 0, 0}, after{0, 0, 0};
        Index run = 1;
        for (int axis = 0; axis < 3; ++axis) {
            axes[static_cast<std::size_t>(axis)] = axis_residues(from.size[axis], w, axis);
            for (const AxisResidue& residue : axes[static_cast<std::size_t>(axis)]) {
                if (axis == 2) run = std::max(run, static_cast<Index>(residue.taps.size()));
                for (const auto& [distance, tap] : residue.taps) {
                    before[axis] = std::max(before[axis], -distance);
                    after[axis] = std::max(after[axis], distance + residue.count - size[axis]);
                }
            }
        }
        // Taps of a residue are neighbours in dy where the dilation divides the stride.
        const bool joined = settings.groups == 1 && w.stride[2] % w.dilation[2] == 0;
        const Index words = channel_words(filters, joined ? run : 1);
        gradient_image = number_image(size, before, after, words, 1);
        gradient_memory.reserve(plan, factors == 3 ? gradient_image.numbers : gradient_image.numbers / 2);
        for (const AxisResidue& d : axes[0])
            for (const AxisResidue& h : axes[1])
                for (const AxisResidue& v : axes[2]) {
                    TilePhase phase;
                    phase.first = {d.first, h.first, v.first};
                    phase.count = {d.count, h.count, v.count};
                    std::vector<std::pair<Index, Index>> offsets;
                    for (const auto& [dd, dt] : d.taps)
                        for (const auto& [hd, ht] : h.taps)
                            for (const auto& [vd, vt] : v.taps)
                                offsets.push_back({dd * gradient_image.plane + hd * gradient_image.line + vd * gradient_image.pixel,
                                                   (dt * w.kernel[1] + ht) * w.kernel[2] + vt});
                    phase.window = tile_window(std::move(offsets), words, joined, factors, gradient_image.numbers);
                    phase.window.weight = plan.reserve(multiply_sizes({settings.groups, packed_floats(phase.window, channels)}));
                    phase.lines = lines_at_once(h.count, v.count, gradient_image.size[2], 1);
                    plan.need_scratch(strip_floats(strip_pixels(phase.lines, v.count, gradient_image.size[2])));
                    phases.push_back(std::move(phase));
                }
    }

    // Rows of the transposed image: for every group, plane and remainder, its channels; a line is `pitch` pixels long.
    void prepare_weight_gradient(const Shape& from) {
        const WindowSettings& w = settings.window;
        const Size& size = settings.shape.size;
        const Index reach_w = (w.kernel[2] - 1) * w.dilation[2] / w.stride[2];
        const Index reach_h = (w.kernel[1] - 1) * w.dilation[1] / w.stride[1];
        pitch = round_to(size[2] + reach_w, 2);  // even: pairs do not span lines
        row_lines = size[1] + reach_h;
        pixel_steps = (strip_pixels(size[1], size[2], pitch) + tile_numbers - 1) / tile_numbers;
        row = row_numbers(std::max(row_lines * pitch, reach_h * pitch + reach_w + pixel_steps * tile_numbers));
        planes = w.before[0] + from.size[0] + w.after[0];
        remainder_rows = blocks_of(channels) * tile_side;
        plane_rows = w.stride[1] * w.stride[2] * remainder_rows;
        group_rows = multiply_sizes({planes, plane_rows});
        rows_numbers = multiply_sizes({settings.groups, group_rows, row});
        rows_memory.reserve(plan, factors == 3 ? rows_numbers : rows_numbers / 2);
        for (Index d = 0; d < w.kernel[0]; ++d)
            for (Index h = 0; h < w.kernel[1]; ++h)
                for (Index t = 0; t < w.kernel[2]; ++t) {
                    const Index y = h * w.dilation[1], x = t * w.dilation[2];
                    const Index remainder = y % w.stride[1] * w.stride[2] + x % w.stride[2];
                    shifts.push_back((d * w.dilation[0] * plane_rows + remainder * remainder_rows) * row +
                                     y / w.stride[1] * pitch + x / w.stride[2]);
                }
        gathered = channels < tile_side && blocks_of(taps * channels) < taps;
        if (gathered) {
            gathered_row = row_numbers(pixel_steps * tile_numbers);
            gathered_numbers = multiply_sizes({blocks_of(taps * channels) * tile_side, gathered_row});
            gathered_memory.reserve(plan, factors == 3 ? gathered_numbers : gathered_numbers / 2);
        }
        row_blocks = blocks_of(gathered ? taps * channels : channels);
        column_blocks = blocks_of(filters);
        group_partial = multiply_sizes({gathered ? 1 : taps, row_blocks, column_blocks, tile_square});
        partial_floats = multiply_sizes({settings.groups, group_partial});
        partial_weight = plan.reserve_partial(partial_floats);
        partial_bias = plan.reserve_partial(plan.parameter(convolution, 1).padded);
        pairs_floats = multiply_sizes({settings.groups, column_blocks, pixel_steps, tile_square});
        pairs_memory.reserve(plan, factors == 3 ? 2 * pairs_floats : pairs_floats);
    }

    // Lines `first` to `last`, counted with the border, of an image into numbers; with three factors the rests behind them.
    void copy_numbers(const Tensor& from, const float* data, Index group_channels, const NumberImage& to, std::uint16_t* numbers,
                      Index first, Index last) const {
        NumbersOfPixels job{};
        job.from_stride = from.step[2];
        job.pixels = from.size[2];
        job.groups = settings.groups;
        job.channels = group_channels;
        job.to_group = to.pixel / settings.groups;
        const Index begin = std::max<Index>(0, first - to.before[1]), end = std::min(from.size[1], last - to.before[1]);
        for (int part = 0; part < (factors == 3 ? 2 : 1); ++part) {
            job.rest = part == 1;
            for (Index d = 0; d < from.size[0]; ++d)
                for (Index h = begin; h < end; ++h) {
                    job.from = data + from.origin + d * from.step[0] + h * from.step[1];
                    job.to = numbers + part * to.numbers + (d + to.before[0]) * to.plane + (h + to.before[1]) * to.line +
                             to.before[2] * to.pixel;
                    tiles.numbers_of_pixels(job);
                }
        }
    }

    // Channels in pairs, sixteen filters side by side.
    void pack_forward() {
        const Index words = window.depth / taps;
        for (const Panel& panel : plan.panels(convolution)) {
            const Index width = panel.vectors * lanes;
            for (Index at = 0; at < panel.columns; at += tile_side) {
                const Index filter = panel.first + at;
                float* const block = plan.arena() + window.weight + panel.group * packed_floats(window, filters) +
                                     filter / tile_side * factors * window.depth * tile_side + filter % tile_side;
                for (Index factor = 0; factor < factors; ++factor)
                    for (Index t = 0; t < taps; ++t)
                        tiles.pairs_of_rows(plan.weights(convolution, 0, "weight") + panel.weight +
                                                window.taps[static_cast<std::size_t>(t)] * channels * width + at,
                                            width, channels, block + (factor * window.depth + t * words) * tile_side,
                                            std::min(tile_side, panel.columns - at), right_is_rest(factor, factors));
            }
        }
    }

    // Filters in pairs, sixteen channels side by side.
    void pack_transposed(const TileWindow& w) {
        if (w.taps.empty()) return;
        const Index words = w.depth / static_cast<Index>(w.taps.size());
        std::vector<float> turned(static_cast<std::size_t>(round_to(filters, 64) * tile_side));
        for (Index g = 0; g < settings.groups; ++g)
            for (Index first = 0; first < channels; first += tile_side) {
                const Index columns = std::min(tile_side, channels - first);
                float* const block = plan.arena() + w.weight + g * packed_floats(w, channels) +
                                     first / tile_side * factors * w.depth * tile_side;
                for (std::size_t t = 0; t < w.taps.size(); ++t) {
                    for (const Panel& panel : plan.panels(convolution))
                        if (panel.group == g)
                            plan.kernels.transpose(plan.weights(convolution, 0, "weight") + panel.weight +
                                                       (w.taps[t] * channels + first) * panel.vectors * lanes,
                                                   panel.vectors * lanes, turned.data() + panel.first * tile_side, tile_side,
                                                   columns, panel.columns);
                    for (Index factor = 0; factor < factors; ++factor)
                        tiles.pairs_of_rows(turned.data(), tile_side, filters,
                                            block + (factor * w.depth + static_cast<Index>(t) * words) * tile_side, columns,
                                            right_is_rest(factor, factors));
                }
            }
    }

    // The pooled gradient into both gradients' factors, without spreading it out first; and the bias's gradient.
    void winners(Index n, int thread, Index chunk, bool accumulate, const Tensor& dy, const float* gradient) const {
        const NumberImage& to = gradient_image;
        FactorsOfWinners job{};
        job.dy = gradient + dy.origin;
        job.dy_stride = dy.step[2];
        job.dy_line = dy.step[1];
        job.code = plan.codes(code_base, n, code_image);
        job.code_stride = dy.stride;
        job.height = dy.size[1];
        job.width = dy.size[2];
        job.channels = filters;
        job.lines = pool_lines;
        job.pairs_block = pixel_steps * tile_square;
        job.pairs_line = pitch / 2;
        job.pixel = to.pixel;
        job.numbers_line = to.line;
        job.round_sums = factors == 1;
        job.accumulate = accumulate;
        for (int part = 0; part < (factors == 3 ? 2 : 1); ++part) {
            job.rest = part == 1;
            job.pairs = pairs_memory.of(plan, thread) + part * pairs_floats;
            if (wants_input_gradient)
                job.numbers = gradient_memory.numbers(plan, thread) + part * to.numbers + to.before[0] * to.plane +
                              to.before[1] * to.line + to.before[2] * to.pixel;
            job.sums = settings.bias && part == 0 ? plan.partial(chunk) + partial_bias : nullptr;
            tiles.factors_of_winners(job);
        }
    }

    // The image transposed: pixels that share a remainder side by side.
    void transpose_image(const Tensor& x, const float* data, std::uint16_t* rows) const {
        const WindowSettings& w = settings.window;
        for (int part = 0; part < (factors == 3 ? 2 : 1); ++part)
            for (Index g = 0; g < settings.groups; ++g)
                for (Index d = 0; d < x.size[0]; ++d)
                    for (Index h = 0; h < x.size[1]; ++h)
                        for (Index residue = 0; residue < w.stride[2]; ++residue) {
                            const Index y = h + w.before[1], line = y / w.stride[1];
                            // The first pixel at or behind the border with this remainder, and its place.
                            const Index place = residue >= w.before[2] ? 0 : (w.before[2] - residue + w.stride[2] - 1) / w.stride[2];
                            const Index v = place * w.stride[2] + residue - w.before[2];
                            if (line >= row_lines || place >= pitch || v >= x.size[2]) continue;
                            const Index count = std::min((x.size[2] - v + w.stride[2] - 1) / w.stride[2], pitch - place);
                            const Index remainder = y % w.stride[1] * w.stride[2] + residue;
                            tiles.numbers_of_rows(
                                data + x.origin + d * x.step[0] + h * x.step[1] + v * x.step[2] + g * channels,
                                w.stride[2] * x.step[2], count, channels,
                                rows + part * rows_numbers +
                                    (g * group_rows + (d + w.before[0]) * plane_rows + remainder * remainder_rows) * row +
                                    line * pitch + place,
                                row, part == 1);
                        }
    }

    void pair_gradient(const Tensor& du, const float* plane, float* pairs) const {
        for (int part = 0; part < (factors == 3 ? 2 : 1); ++part)
            for (Index g = 0; g < settings.groups; ++g)
                for (Index block = 0; block < column_blocks; ++block) {
                    const Index first = block * tile_side;
                    float* const to = pairs + part * pairs_floats + (g * column_blocks + block) * pixel_steps * tile_square;
                    for (Index h = 0; h < du.size[1]; ++h)
                        tiles.pairs_of_rows(plane + h * du.step[1] + g * filters + first, du.step[2], du.size[2],
                                            to + h * pitch / 2 * tile_side, std::min(tile_side, filters - first), part == 1);
                }
    }

    void weight_gradient(Index n, int thread, Index chunk, bool accumulate, const Tensor& du, const float* gradient) {
        const Tensor& x = plan.value(input);
        const Size& size = settings.shape.size;
        std::uint16_t* const rows = rows_memory.numbers(plan, thread);
        float* const pairs = pairs_memory.of(plan, thread);
        transpose_image(x, plan.image(x, n, thread), rows);
        for (Index d = 0; d < size[0]; ++d) {
            const float* const plane = gradient + du.origin + d * du.step[0];
            const bool add = accumulate || d > 0;
            if (settings.bias && !pool)
                plan.kernels.column_sums(plane, du.step[2], du.step[1], size[2], size[1], du.stride,
                                         plan.partial(chunk) + partial_bias, add);
            if (!pool) pair_gradient(du, plane, pairs);
            for (Index g = 0; g < settings.groups; ++g)
                group_weight_gradient(rows + (g * group_rows + d * settings.window.stride[0] * plane_rows) * row,
                                      pairs + g * column_blocks * pixel_steps * tile_square,
                                      plan.partial(chunk) + partial_weight + g * group_partial, thread, add);
        }
    }

    void group_weight_gradient(const std::uint16_t* rows, const float* pairs, float* dweight, int thread, bool add) {
        TileWeightGradient job{};
        job.factors = factors;
        job.row = row;
        job.shifts = shifts.data();
        job.taps = taps;
        job.rows = channels;
        const Index no_shift = 0;
        Index rest = rows_numbers;
        if (gathered) {
            std::uint16_t* const below = gathered_memory.numbers(plan, thread);
            for (int part = 0; part < (factors == 3 ? 2 : 1); ++part)
                for (Index t = 0; t < taps; ++t)
                    for (Index c = 0; c < channels; ++c)
                        std::memcpy(below + part * gathered_numbers + (t * channels + c) * gathered_row,
                                    rows + part * rows_numbers + shifts[static_cast<std::size_t>(t)] + c * row,
                                    static_cast<std::size_t>(pixel_steps * tile_numbers) * sizeof(std::uint16_t));
            rows = below;
            rest = gathered_numbers;
            job.row = gathered_row;
            job.shifts = &no_shift;
            job.taps = 1;
            job.rows = taps * channels;
        }
        for (Index factor = 0; factor < factors; ++factor) {
            job.input[factor] = rows + (left_is_rest(factor, factors) ? rest : 0);
            job.dy[factor] = pairs + (right_is_rest(factor, factors) ? pairs_floats : 0);
        }
        job.steps = pixel_steps;
        job.dy_block = pixel_steps * tile_square;
        job.column_blocks = column_blocks;
        job.dweight = dweight;
        job.row_stride = tile_side;
        job.column_block = tile_square;
        job.row_block = column_blocks * tile_square;
        job.tap = row_blocks * job.row_block;
        job.accumulate = add;
        tiles.weight_gradient(job);
    }

    // From blocks of 16 × 16 into the weights' own arrangement.
    void place_weight_gradient(const Panel& panel) const {
        const float* const sums = plan.partial(0) + partial_weight + panel.group * group_partial;
        float* const total = plan.weights(convolution, 1, "weight") + panel.weight;
        const Index width = panel.vectors * lanes;
        for (Index t = 0; t < taps; ++t)
            for (Index c = 0; c < channels; ++c) {
                const Index at = gathered ? t * channels + c : c;
                const float* const line = sums + (gathered ? 0 : t * row_blocks * column_blocks * tile_square) +
                                          at / tile_side * column_blocks * tile_square + at % tile_side * tile_side;
                for (Index k = 0; k < panel.columns; k += tile_side) {
                    const Index filter = panel.first + k;
                    std::copy_n(line + filter / tile_side * tile_square + filter % tile_side, std::min(tile_side, panel.columns - k),
                                total + (t * channels + c) * width + k);
                }
            }
    }

    void input_gradient(Index n, int thread) {
        const Tensor& dx = plan.gradient(input);
        const Size& stride = settings.window.stride;
        const std::uint16_t* const numbers = gradient_memory.numbers(plan, thread);
        const NumberImage& g_image = gradient_image;
        const Index origin = g_image.before[0] * g_image.plane + g_image.before[1] * g_image.line + g_image.before[2] * g_image.pixel;
        for (const TilePhase& phase : phases) {
            TileCorrelation job{};
            job.pixel = g_image.pixel;
            job.line = g_image.line;
            describe_window(job, phase.window);
            job.columns = channels;
            job.height = phase.count[1];
            job.width = phase.count[2];
            job.lines = phase.lines;
            job.output_line = stride[1] * dx.step[1];
            job.output_pixel = stride[2] * dx.step[2];
            job.accumulate = accumulate_input;
            job.strip = plan.scratch(thread);
            for (Index d = 0; d < phase.count[0]; ++d)
                for (Index g = 0; g < settings.groups; ++g) {
                    job.input = numbers + origin + d * g_image.plane + g * g_image.pixel / settings.groups;
                    job.weight = plan.arena() + phase.window.weight + g * packed_floats(phase.window, channels);
                    job.output = plan.image(dx, n, thread) + dx.origin + (phase.first[0] + d * stride[0]) * dx.step[0] +
                                 phase.first[1] * dx.step[1] + phase.first[2] * dx.step[2] + g * channels;
                    tiles.correlate(job);
                }
        }
    }

    const Fused fused;
    const int convolution;
    const Node& settings;
    const Curve* const curve;        // of the fused activation
    const Tensor* before = nullptr;  // what goes into it, where its derivative looks at that
    const bool pool;                 // behind ReLU: maxima
    const TileKernels& tiles;
    const Index factors;  // products of bf16 for one of floats
    const int lanes;
    Index channels = 0, filters = 0, taps = 0;  // of a group
    Index pool_lines = 0, code_base = 0, code_image = 0;

    NumberImage image;
    ThreadMemory image_memory;
    TileWindow window;
    Index lines = 1;

    NumberImage gradient_image;
    ThreadMemory gradient_memory;
    std::vector<TilePhase> phases;

    ThreadMemory rows_memory, gathered_memory, pairs_memory;
    Index pitch = 0, row_lines = 0, row = 0, planes = 0, remainder_rows = 0, plane_rows = 0, group_rows = 0, rows_numbers = 0;
    std::vector<Index> shifts;  // of every tap, in numbers
    Index pixel_steps = 0, row_blocks = 0, column_blocks = 0, pairs_floats = 0;
    bool gathered = false;
    Index gathered_row = 0, gathered_numbers = 0;
    Index group_partial = 0, partial_floats = 0, partial_weight = 0, partial_bias = 0;
};

}  // namespace

std::unique_ptr<Operation> make_tile_convolution(Plan& plan, const Fused& fused) {
    return std::make_unique<TileConvolution>(plan, fused);
}

}  // namespace tatami
