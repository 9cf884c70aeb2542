// Activations that are more than a function of one number, in a plan: learned slopes, maxout, the larger of two maps.
//
// All work image by image. The gradient of the slopes is summed over the images of a group, then over the groups in order.
#include "layer_table.hpp"
#include "simple.hpp"

namespace tatami {

namespace {

// Leaky ReLU with a learned slope for each channel, or one for all of them.
class Slopes : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return settings.shared ? "learned slope" : "learned slopes"; }

    void prepare() override {
        stride = plan.value(node).stride;
        row = plan.reserve(stride);
        if (plan.trains()) sums = plan.reserve_partial(stride);
    }

    void pack() override {
        const float* const slope = plan.weights(node, 0, "slope");
        float* const to = plan.arena() + row;
        for (Index c = 0; c < settings.shape.channels; ++c) to[c] = slope[settings.shared ? 0 : c];
    }

    void forward(Index n, int thread) override {
        const Tensor& y = plan.value(node);
        for_each_line(y, [&](Index d, Index h) {
            SlopedLine line = line_at(n, thread, d, h);
            line.output = output_image(n, thread) + line_offset(y, d, h);
            line.output_stride = y.stride;
            plan.kernels.layers->slopes(line);
        });
    }

    void backward(Index n, int thread, Index chunk, bool first_image) override {
        const Tensor& dy = plan.gradient(node);
        float* const total = plan.partial(chunk) + sums;
        if (first_image) std::fill_n(total, stride, 0.0f);
        for_each_line(dy, [&](Index d, Index h) {
            SlopedLine line = line_at(n, thread, d, h);
            line.dy = dy_image(n, thread) + line_offset(dy, d, h);
            line.dy_stride = dy.stride;
            line.dslope = total;
            if (wants_input_gradient) {
                const Tensor& dx = plan.gradient(input);
                line.output = dx_image(n, thread) + line_offset(dx, d, h);
                line.output_stride = dx.stride;
                line.accumulate = accumulate_input;
            }
            plan.kernels.layers->slopes_gradient(line);
        });
    }

    void add_up(Index used_chunks) override {
        float* const total = plan.partial(0) + sums;
        for (Index chunk = 1; chunk < used_chunks; ++chunk) plan.kernels.add(plan.partial(chunk) + sums, total, stride);
        float* const gradient = plan.weights(node, 1, "slope");
        const Index channels = settings.shape.channels;
        if (!settings.shared) {
            std::copy_n(total, channels, gradient);
            return;
        }
        float sum = 0;
        for (Index c = 0; c < channels; ++c) sum += total[c];
        gradient[0] = sum;
    }

private:
    SlopedLine line_at(Index n, int thread, Index d, Index h) const {
        const Tensor& x = plan.value(input);
        SlopedLine line{};
        line.x = input_image(n, thread) + line_offset(x, d, h);
        line.x_stride = x.stride;
        line.pixels = x.size[2];
        line.channels = stride;
        line.slope = plan.arena() + row;
        return line;
    }

    Index stride = 0, row = 0, sums = 0;
};

class Pieces : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "maxima of pieces"; }

    void forward(Index n, int thread) override {
        const Tensor& y = plan.value(node);
        for_each_line(y, [&](Index d, Index h) {
            PiecesLine line = line_at(n, thread, d, h);
            line.output = output_image(n, thread) + line_offset(y, d, h);
            line.output_stride = y.stride;
            plan.kernels.layers->maxima_of_pieces(line);
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        for_each_line(dy, [&](Index d, Index h) {
            PiecesLine line = line_at(n, thread, d, h);
            line.dy = dy_image(n, thread) + line_offset(dy, d, h);
            line.dy_stride = dy.stride;
            line.output = dx_image(n, thread) + line_offset(dx, d, h);
            line.output_stride = dx.stride;
            line.accumulate = accumulate_input;
            plan.kernels.layers->maxima_of_pieces_gradient(line);
        });
    }

private:
    PiecesLine line_at(Index n, int thread, Index d, Index h) const {
        const Tensor& x = plan.value(input);
        PiecesLine line{};
        line.x = input_image(n, thread) + line_offset(x, d, h);
        line.x_stride = x.stride;
        line.pixels = x.size[2];
        line.pieces = settings.pieces;
        line.channels = settings.shape.channels;
        return line;
    }
};

// The second half of a funnel: max(x, t) with t from a depthwise convolution of x.
class Larger : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "larger of two"; }

    void forward(Index n, int thread) override {
        const Tensor& x = plan.value(input);
        const Tensor& other = plan.value(settings.inputs[1]);
        const Tensor& y = plan.value(node);
        for_each_line(y, [&](Index d, Index h) {
            for (Index w = 0; w < y.size[2]; ++w)
                plan.kernels.layers->larger(input_image(n, thread) + line_offset(x, d, h) + w * x.step[2],
                                            plan.image(other, n, thread) + line_offset(other, d, h) + w * other.step[2],
                                            output_image(n, thread) + line_offset(y, d, h) + w * y.step[2], y.channels);
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        const Tensor& x = plan.value(input);
        const Tensor& other = plan.value(settings.inputs[1]);
        const Tensor& dy = plan.gradient(node);
        for (std::size_t i = 0; i < 2; ++i) {
            const Tensor& dx = plan.gradient(settings.inputs[i]);
            if (!dx.used) continue;
            for_each_line(dy, [&](Index d, Index h) {
                for (Index w = 0; w < dy.size[2]; ++w)
                    plan.kernels.layers->larger_gradient(
                        input_image(n, thread) + line_offset(x, d, h) + w * x.step[2],
                        plan.image(other, n, thread) + line_offset(other, d, h) + w * other.step[2],
                        dy_image(n, thread) + line_offset(dy, d, h) + w * dy.step[2],
                        plan.image(dx, n, thread) + line_offset(dx, d, h) + w * dx.step[2], dy.channels, i == 1,
                        plan.accumulates_at(node, i));
            });
        }
    }
};

}  // namespace

std::unique_ptr<Operation> make_slopes(Plan& plan, int node) { return std::make_unique<Slopes>(plan, node); }
std::unique_ptr<Operation> make_pieces(Plan& plan, int node) { return std::make_unique<Pieces>(plan, node); }
std::unique_ptr<Operation> make_larger(Plan& plan, int node) { return std::make_unique<Larger>(plan, node); }

}  // namespace tatami
