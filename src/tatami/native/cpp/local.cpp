// Windows with weights of their own: a convolution in which every position o has other filters.
//
//   forward          y(n, k, o) = bias(k, o) + sum over the window's floats r of x(n, o, r) · weight(o, r, k)
//   weight gradient  dw(o, r, k) = sum over images n of x(n, o, r) · dy(n, k, o)
//   input gradient   dx(n, ·)  += sum over filters k of dy(n, k, o) · weight(o, r, k), stamped at the window of o
//
// Each position is a small dense layer whose rows are the images, so this is dense.cpp once for each position: the first two
// are shared out by positions, and a position's weights, which nobody else reads, come from memory once. Weights stand
// position by position, then panel by panel of two vectors of filters, then row by row of the window, as the channels-last
// image has its floats. The window is read where it lies; padding is the border of zeros around the image.
//
// Windows overlap, so the input gradient is shared out by images: some images at a time, all positions in order, summed up in
// a copy of dx with its border, as large as fits the second-level cache. It needs the weights with the window's floats side by
// side: a transposed copy, renewed after every update. Every image's sums run in the same order in any group of images.
//
// With bf16 everything stays in floats: every weight is used once for each image, so that rounding it costs more than the
// faster product would save.
#include <algorithm>

#include "checks.hpp"
#include "plan.hpp"

namespace tatami {

namespace {

class Local : public Operation {
public:
    Local(Plan& owner, int number)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(number)].inputs[0], number),
          settings(owner.engine.nodes()[static_cast<std::size_t>(number)]),
          lanes(owner.kernels.lanes),
          channels(owner.engine.nodes()[static_cast<std::size_t>(input)].shape.channels),
          filters(settings.shape.channels),
          positions(settings.shape.size[0] * settings.shape.size[1] * settings.shape.size[2]) {}

    bool by_image() const override { return false; }
    std::string describe() const override {
        return std::string("window with its own weights everywhere") + (settings.bias ? " + bias" : "");
    }

    void prepare() override {
        const WindowSettings& w = settings.window;
        segments = window_segments(plan.value(input));
        const Panel& last = plan.panels(node).back();
        taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
        block = last.weight + taps * channels * last.vectors * lanes;
        bias_block = round_up(filters, lanes);
        if (plan.trains() && wants_input_gradient) prepare_input_gradient();
    }

    void pack() override {
        if (stamps.empty()) return;
        parallel_for(plan.running_threads(), positions, 1, [&](Index o, int) {
            const float* const from = plan.weights(node, 0, "weight") + o * block;
            float* const to = plan.arena() + transposed + o * transposed_block;
            for (const Piece& piece : pieces)
                for (const Panel& panel : plan.panels(node)) {
                    const Index width = panel.vectors * lanes;
                    plan.kernels.transpose(from + panel.weight + piece.row * width, width,
                                           to + piece.place + panel.first * piece.width, piece.width, piece.count, panel.columns);
                }
        });
    }

    void forward_batch() override {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        parallel_for(plan.running_threads(), positions, 1, [&](Index o, int) {
            CorrelateRow job{};
            job.input = plan.image(x, 0, 0) + window_at(x, o);
            job.input_stride = x.image;
            job.segments = segments.data();
            job.segment_count = static_cast<Index>(segments.size());
            job.output_stride = y.image;
            job.pixels = plan.batch();
            for (const Panel& panel : plan.panels(node)) {
                job.weight = plan.weights(node, 0, "weight") + o * block + panel.weight;
                job.bias = plan.weights(node, 0, "bias") + o * bias_block + panel.first;
                job.output = plan.image(y, 0, 0) + pixel(y, o) + panel.first;
                job.vectors = panel.vectors;
                job.columns = panel.vectors * lanes;
                plan.kernels.correlate(job);
            }
        });
    }

    void backward_batch() override {
        parallel_for(plan.running_threads(), positions, 1, [&](Index o, int) { weight_gradient(o); });
        if (stamps.empty()) return;
        const Index groups = (plan.batch() + images - 1) / images, threads = plan.running_threads();
        const Index count = std::min(plan.batch(), (groups + threads - 1) / threads * threads);
        parallel_for(threads, count, 1, [&](Index i, int thread) {
            const Index first = plan.batch() * i / count;
            input_gradient(first, plan.batch() * (i + 1) / count - first, plan.scratch(thread));
        });
    }

private:
    struct Stamp {  // one panel of a stretch of dx within the window
        Index offset, weight;
        int vectors;
    };
    struct Piece {  // rows of the weights that stand side by side in a stamp
        Index row, count, place, width;
    };

    // Floats of the window that lie side by side in an image.
    std::vector<Segment> window_segments(const Tensor& x) const {
        const WindowSettings& w = settings.window;
        const bool joined = w.dilation[2] == 1 && x.stride == x.channels;
        std::vector<Segment> found;
        for (Index d = 0; d < w.kernel[0]; ++d)
            for (Index h = 0; h < w.kernel[1]; ++h) {
                const Index line = d * w.dilation[0] * x.step[0] + h * w.dilation[1] * x.step[1];
                if (joined) found.push_back({line, w.kernel[2] * channels});
                for (Index t = 0; t < w.kernel[2] && !joined; ++t)
                    found.push_back({line + t * w.dilation[2] * x.step[2], channels});
            }
        return found;
    }

    Size place_of(Index o) const {
        const Size& size = settings.shape.size;
        return {o / (size[1] * size[2]), o / size[2] % size[1], o % size[2]};
    }
    Index pixel(const Tensor& tensor, Index o) const {
        const Size at = place_of(o);
        return tensor.origin + at[0] * tensor.step[0] + at[1] * tensor.step[1] + at[2] * tensor.step[2];
    }
    // First float of the window of position o, the border counted.
    Index window_at(const Tensor& tensor, Index o) const {
        const Size at = place_of(o);
        Index offset = 0;
        for (std::size_t axis = 0; axis < 3; ++axis)
            offset += (tensor.before[axis] - settings.window.before[axis] + at[axis] * settings.window.stride[axis]) *
                      tensor.step[axis];
        return offset;
    }

    void prepare_input_gradient() {
        const WindowSettings& w = settings.window;
        bordered = plan.gradient(input);
        bordered.before = w.before;
        bordered.after = w.after;
        bordered.arrange();
        constexpr Index second_cache = 1 << 17;  // floats, half of it
        images = std::clamp<Index>(second_cache / bordered.image, 1, std::min<Index>(14, plan.capacity()));
        plan.need_scratch(multiply_sizes({bordered.image, images}));
        const bool joined = w.dilation[2] == 1;
        const Index stretch = joined ? w.kernel[2] * bordered.stride : bordered.stride;
        Index line_row = 0;
        for (Index d = 0; d < w.kernel[0]; ++d)
            for (Index h = 0; h < w.kernel[1]; ++h, line_row += w.kernel[2] * channels)
                for (Index t = 0; t < (joined ? 1 : w.kernel[2]); ++t)
                    add_stamps(d * w.dilation[0] * bordered.step[0] + h * w.dilation[1] * bordered.step[1] +
                                   t * w.dilation[2] * bordered.step[2],
                               stretch, line_row + t * channels);
        transposed = plan.reserve(multiply_sizes({transposed_block, positions}));
    }

    // A stretch of dx: its panels, and which rows of the weights stand where in them.
    void add_stamps(Index offset, Index stretch, Index first_row) {
        for (Index at = 0; at < stretch; at += 2 * lanes) {
            const int vectors = stretch - at > lanes ? 2 : 1;
            const Index width = vectors * lanes;
            stamps.push_back({offset + at, transposed_block, vectors});
            for (Index lane = 0; lane < width;) {
                const Index tap = (at + lane) / bordered.stride, channel = (at + lane) % bordered.stride;
                const Index count = std::min(width - lane, bordered.stride - channel), used = std::min(count, channels - channel);
                if (used > 0) pieces.push_back({first_row + tap * channels + channel, used, transposed_block + lane, width});
                lane += count;
            }
            transposed_block += multiply_sizes({filters, width});
        }
    }

    void weight_gradient(Index o) const {
        const Tensor& x = plan.value(input);
        const Tensor& dy = plan.gradient(node);
        WeightGradient job{};
        job.input_stride = x.image;
        job.dy_stride = dy.image;
        job.pixels = plan.batch();
        job.lines = 1;
        for (const Panel& panel : plan.panels(node)) {
            job.dy = plan.image(dy, 0, 0) + pixel(dy, o) + panel.first;
            job.vectors = panel.vectors;
            job.columns = static_cast<int>(panel.columns);
            job.dweight = plan.weights(node, 1, "weight") + o * block + panel.weight;
            for (const Segment& segment : segments) {
                job.input = plan.image(x, 0, 0) + window_at(x, o) + segment.offset;
                job.rows = segment.length;
                plan.kernels.weight_gradient(job);
                job.dweight += segment.length * panel.vectors * lanes;
            }
        }
        if (settings.bias)
            plan.kernels.column_sums(plan.image(dy, 0, 0) + pixel(dy, o), dy.image, 0, plan.batch(), 1, bias_block,
                                     plan.weights(node, 1, "bias") + o * bias_block, false);
    }

    void input_gradient(Index first, Index count, float* sums) const {
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        std::fill_n(sums, count * bordered.image, 0.0f);
        const Segment all{0, filters};
        CorrelateRow job{};
        job.input_stride = dy.image;
        job.segments = &all;
        job.segment_count = 1;
        job.output_stride = bordered.image;
        job.pixels = count;
        job.accumulate = true;
        for (Index o = 0; o < positions; ++o)
            for (const Stamp& stamp : stamps) {
                job.input = plan.image(dy, first, 0) + pixel(dy, o);
                job.weight = plan.arena() + transposed + o * transposed_block + stamp.weight;
                job.output = sums + window_at(bordered, o) + stamp.offset;
                job.vectors = stamp.vectors;
                job.columns = stamp.vectors * lanes;
                plan.kernels.correlate(job);
            }
        for (Index n = 0; n < count; ++n)
            for (Index d = 0; d < dx.size[0]; ++d)
                for (Index h = 0; h < dx.size[1]; ++h) {
                    const float* const from = sums + n * bordered.image + bordered.origin + d * bordered.step[0] + h * bordered.step[1];
                    float* const to = plan.image(dx, first + n, 0) + dx.origin + d * dx.step[0] + h * dx.step[1];
                    if (accumulate_input)
                        plan.kernels.add(from, to, dx.size[2] * dx.stride);
                    else
                        std::copy_n(from, dx.size[2] * dx.stride, to);
                }
    }

    const Node& settings;
    const int lanes;
    const Index channels, filters, positions;
    Index taps = 0, block = 0, bias_block = 0, images = 1;
    std::vector<Segment> segments;
    Tensor bordered;  // of dx, for some images
    std::vector<Stamp> stamps;
    std::vector<Piece> pieces;
    Index transposed = 0, transposed_block = 0;
};

}  // namespace

std::unique_ptr<Operation> make_local(Plan& plan, int node) { return std::make_unique<Local>(plan, node); }

}  // namespace tatami
