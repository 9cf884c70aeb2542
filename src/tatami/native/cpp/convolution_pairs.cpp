// Convolution in bf16: every pass first copies its operands into the words that pairs.hpp describes: the image with its
// channels in pairs, which the forward pass and the sparse weight gradient read; dy with its filters in pairs; and for a
// weight gradient that is not sparse the image paired with itself one step to the right, and the pixels of dy in pairs.
#include "convolution.hpp"

namespace tatami {

// An image whose pixels are `words` words of bf16, laid out like another tensor.
Tensor Convolution::in_words(const Tensor& like, Index words) {
    Tensor tensor = like;
    tensor.channels = words;
    tensor.stride = words;
    return tensor;
}

void Convolution::prepare_pairs() {
    const Tensor& x = plan.value(input);
    const WindowSettings& w = settings.window;
    channel_words = (group_channels + 1) / 2;
    image_pairs = &plan.reserve_tensor(in_words(x, settings.groups * channel_words), true);
    for (int axis = 0; axis < 3; ++axis) first_pair += (x.before[axis] - w.before[axis]) * image_pairs->step[axis];
    for (Index d = 0; d < w.kernel[0]; ++d)
        for (Index h = 0; h < w.kernel[1]; ++h) {
            const Index line = d * w.dilation[0] * image_pairs->step[0] + h * w.dilation[1] * image_pairs->step[1];
            if (w.dilation[2] == 1 && settings.groups == 1)
                pair_segments.push_back({line, w.kernel[2] * channel_words});
            else
                for (Index t = 0; t < w.kernel[2]; ++t)
                    pair_segments.push_back({line + t * w.dilation[2] * image_pairs->step[2], channel_words});
        }
    for (const Segment& segment : pair_segments) number_segments.push_back({2 * segment.offset, 2 * segment.length});
    if (!winograd_pairs) {
        pair_weight = plan.reserve(settings.groups * packed_group());
        return;
    }
    winograd_weight = plan.reserve(16 * channel_words * round_up(settings.shape.channels, lanes));
    plan.need_scratch(winograd_pairs_scratch(x.stride));
}

void Convolution::prepare_gradient_pairs() {
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
    winograd_pairs_input = winograd_pairs && group_filters % 2 == 0;
    if (winograd_pairs_input) {
        winograd_input_weight = plan.reserve(16 * filter_words * round_up(group_channels, lanes));
        plan.need_scratch(winograd_pairs_scratch(du.stride));
        return;
    }
    filter_pairs = &plan.reserve_tensor(in_words(du, settings.groups * filter_words), true);
    for (Phase& phase : phases) {
        for (const auto& tap : phase.taps)
            phase.pair_segments.push_back({tap[1] * filter_pairs->step[0] + tap[2] * filter_pairs->step[1] +
                                               tap[3] * filter_pairs->step[2],
                                           filter_words});
        phase.pair_weight = plan.reserve(settings.groups * transposed_pair_group(phase) + 2 * lanes);
    }
}

void Convolution::pack_weight_pairs() {
    const float* const weight = plan.weights(convolution, 0, "weight");
    for (const Panel& panel : plan_panels()) {
        if (winograd_pairs) {
            plan.kernels.winograd_weight_of_pairs(weight + panel.weight,
                                                  plan.arena() + winograd_weight + panel.first * 16 * channel_words,
                                                  group_channels, panel.vectors, false);
            continue;
        }
        const Index width = panel.vectors * lanes;
        for (Index t = 0; t < taps; ++t)
            plan.kernels.pack_row_pairs(weight + panel.weight + t * group_channels * width, width, group_channels,
                                        plan.arena() + pair_weight + panel.group * packed_group() +
                                            (panel.first * taps + t * width) * channel_words,
                                        width, width);
    }
}

// After pack_transposed: the same weights in pairs of filters; those of signals are only rounded.
void Convolution::pack_transposed_pairs() {
    if (!plan.trains() || !wants_input_gradient) return;
    if (sparse_input && is_signal()) {
        plan.kernels.round_floats(plan.arena() + winner_weight, settings.shape.channels * taps * window.stride);
        return;
    }
    if (sparse_input) {
        const Index filter = 9 * lanes, both = (settings.shape.channels + 1) / 2;  // floats of a filter for one vector; pairs
        for (Index vector = 0; vector < window.stride / lanes; ++vector)
            plan.kernels.pack_row_pairs(plan.arena() + winner_weight + vector * settings.shape.channels * filter, filter,
                                        settings.shape.channels,
                                        plan.arena() + winner_pairs + vector * both * filter, filter,
                                        filter);
        return;
    }
    if (winograd_pairs_input) {
        for (Index first = 0; first < group_channels; first += 2 * lanes)
            plan.kernels.winograd_weight_of_pairs(plan.arena() + phases[0].weight + first * 9 * group_filters,
                                                  plan.arena() + winograd_input_weight + first * 16 * filter_words,
                                                  group_filters, group_channels - first > lanes ? 2 : 1, true);
        return;
    }
    for (const Phase& phase : phases)
        for (Index g = 0; g < settings.groups; ++g)
            for (Index first = 0; first < group_channels; first += 2 * lanes) {
                const Index width = group_channels - first > lanes ? 2 * lanes : lanes;
                const Index rows = static_cast<Index>(phase.taps.size()) * group_filters;
                const float* const from = plan.arena() + phase.weight + g * transposed_group(phase) + first * rows;
                float* const to =
                    plan.arena() + phase.pair_weight + g * transposed_pair_group(phase) + first * pair_rows_of(phase);
                for (Index t = 0; t < static_cast<Index>(phase.taps.size()); ++t)
                    plan.kernels.pack_row_pairs(from + t * group_filters * width, width, group_filters,
                                                to + t * filter_words * width, width, width);
            }
}

// What the kernels of floats read: the input, or a copy of it rounded to bf16.
const float* Convolution::image_values(Index n, int slot, int thread) const {
    const float* const image = plan.image(plan.value(input), n, slot);
    if (!rounds) return image;
    float* const rounded = plan.image(*rounded_image, n, thread);
    std::copy_n(image, rounded_image->image, rounded);
    plan.kernels.round_floats(rounded, rounded_image->image);
    return rounded;
}

// Copy an image into words, pixel by pixel and group by group where pixels have gaps or groups an odd number of channels.
void Convolution::narrow_image(const Tensor& from, const float* image, const Tensor& to, float* words, Index channels) const {
    std::uint16_t* const numbers = reinterpret_cast<std::uint16_t*>(words);
    if (from.stride == 2 * to.stride && (settings.groups == 1 || channels % 2 == 0)) {
        plan.kernels.narrow(image, numbers, std::min(from.image, 2 * to.image));
        return;
    }
    const Index pixels = (from.before[0] + from.size[0] + from.after[0]) * from.step[0] / from.stride;
    const Index group = 2 * to.stride / settings.groups;  // numbers
    for (Index p = 0; p < pixels; ++p)
        for (Index g = 0; g < settings.groups; ++g) {
            std::uint16_t* const at = numbers + p * 2 * to.stride + g * group;
            plan.kernels.narrow(image + p * from.stride + g * channels, at, channels);
            if (channels % 2 != 0) at[channels] = 0;
        }
}

const float* Convolution::pack_channel_pairs(Index n, int slot, int thread) {
    float* const words = plan.image(*image_pairs, n, thread);
    const Tensor& x = plan.value(input);
    narrow_image(x, plan.image(x, n, slot), *image_pairs, words, group_channels);
    return words;
}

Convolution::Operand Convolution::channel_pairs(Index n, int slot, int thread) {
    const float* const words = pack_channel_pairs(n, slot, thread);
    return {words + first_pair, image_pairs, pair_segments, plan.kernels.correlate_pairs};
}

const float* Convolution::pack_filter_pairs(Index n, int thread, const Tensor& du, const float* gradient) {
    float* const words = plan.image(*filter_pairs, n, thread);
    narrow_image(du, gradient, *filter_pairs, words, group_filters);
    return words + filter_pairs->origin;
}

void Convolution::pack_pixel_pairs(Index n, int thread, const Tensor& du, const float* gradient) {
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

// Tiles whose patches and products fit the second-level cache.
Index Convolution::winograd_pairs_tiles(Index pixel) const {
    constexpr Index words = 65536;
    return std::max<Index>(14, words / (16 * (pixel / 2 + 2 * lanes)));
}

// Rows of the output, pooled ones with pooling, from `begin` to `end`; without pooling shares are whole tiles of two rows.
void Convolution::forward_winograd_pairs(const float* from, float* to, Index n, int thread, Index begin, Index end) const {
    const Tensor& x = plan.value(input);
    const Tensor& y = plan.value(node);
    const Size& size = settings.shape.size;
    const Index last = y.size[1];
    if (!pool) {
        begin = round_up(begin, 2);
        end = std::min(round_up(end, 2), last);
    }
    if (begin >= end) return;
    const Index rows = pool ? 2 : 1;
    WinogradPairs job{};
    job.input = from + begin * rows * x.step[1];
    job.line = x.step[1];
    job.pixel = x.step[2];
    job.words = channel_words;
    job.height = end == last ? size[1] - begin * rows : (end - begin) * rows;
    job.width = size[2];
    job.weight = plan.arena() + winograd_weight;
    job.panels = (group_filters + 2 * lanes - 1) / (2 * lanes);
    job.last_vectors = group_filters - (job.panels - 1) * 2 * lanes > lanes ? 2 : 1;
    job.bias = bias_values();
    job.output = to + begin * y.step[1];
    job.output_line = y.step[1];
    job.output_pixel = y.step[2];
    job.relu = relu;
    job.pool = pool;
    job.code = pool && plan.trains() ? plan.codes(code_base, n, code_image) + begin * y.size[2] * y.stride : nullptr;
    job.code_stride = y.stride;
    job.code_line = y.size[2] * y.stride;
    job.scratch = plan.scratch(thread);
    job.tiles = winograd_pairs_tiles(x.stride);
    plan.kernels.winograd_of_pairs(job);
}

// The same convolution of dy, with the taps turned by 180 degrees.
void Convolution::winograd_pairs_input_gradient(const Tensor& du, const float* dy, float* to, int thread) const {
    const Tensor& dx = plan.gradient(input);
    const WindowSettings& w = settings.window;
    WinogradPairs job{};
    job.input = dy + (w.before[1] - 2) * du.step[1] + (w.before[2] - 2) * du.step[2];
    job.line = du.step[1];
    job.pixel = du.step[2];
    job.words = filter_words;
    job.height = dx.size[1];
    job.width = dx.size[2];
    job.weight = plan.arena() + winograd_input_weight;
    job.panels = (group_channels + 2 * lanes - 1) / (2 * lanes);
    job.last_vectors = group_channels - (job.panels - 1) * 2 * lanes > lanes ? 2 : 1;
    job.output = to;
    job.output_line = dx.step[1];
    job.output_pixel = dx.step[2];
    job.accumulate = accumulate_input;
    job.scratch = plan.scratch(thread);
    job.tiles = winograd_pairs_tiles(du.stride);
    plan.kernels.winograd_of_pairs(job);
}

// Rows of the sparse weight gradient as interleaving left them.
void Convolution::put_in_order(float* sums, Index rows) const {
    std::vector<float> row(static_cast<std::size_t>(padded_run));
    for (Index i = 0; i < rows; ++i) {
        plan.kernels.undo_interleaving(sums + i * padded_run, row.data(), padded_run);
        std::copy(row.begin(), row.end(), sums + i * padded_run);
    }
}

}  // namespace tatami
