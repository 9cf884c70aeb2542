// Layers that put numbers elsewhere, in a plan: padding and up-sampling, adaptive poolings, exchanged axes.
//
// All work image by image. The gradients of the first two add into dx, output by output in row order.
#include "layer_table.hpp"
#include "simple.hpp"

namespace tatami {

namespace {

class Resample : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "resampling"; }

    void forward(Index n, int thread) override {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        for_each_line(y, [&](Index d, Index h) {
            ResampledLine line = line_at(x, d, h);
            line.x = input_image(n, thread) + x.origin;
            line.output = output_image(n, thread) + line_offset(y, d, h);
            line.line_stride = y.stride;
            line.fill = settings.constant;
            plan.kernels.layers->resample(line);
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        clear_input_gradient(n, thread);
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        for_each_line(dy, [&](Index d, Index h) {
            ResampledLine line = line_at(dx, d, h);
            line.x = dy_image(n, thread) + line_offset(dy, d, h);
            line.output = dx_image(n, thread) + dx.origin;
            line.line_stride = dy.stride;
            plan.kernels.layers->resample_gradient(line);
        });
    }

private:
    ResampledLine line_at(const Tensor& small, Index d, Index h) const {
        ResampledLine line{};
        const Index at[3] = {d, h, 0};
        for (std::size_t axis = 0; axis < 3; ++axis) {
            const AxisMap& map = settings.maps[axis];
            line.step[axis] = small.step[axis];
            line.taps[axis] = map.taps;
            line.sources[axis] = map.sources.data() + at[axis] * map.taps;
            line.weights[axis] = map.weights.data() + at[axis] * map.taps;
        }
        line.pixels = settings.shape.size[2];
        line.channels = plan.value(node).stride;
        return line;
    }
};

// A fixed number of windows, ⌊i·n/m⌋ … ⌈(i + 1)·n/m⌉ - 1 for number i of m; each is a pooling with a single window.
class AdaptivePool : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return settings.maximum ? "adaptive max pool" : "adaptive average pool"; }

    void prepare() override {
        const Tensor& y = plan.value(node);
        winner_image = positions_of(y.size) * y.stride;
        if (plan.trains() && settings.maximum)
            winners = plan.reserve(multiply_sizes({winner_image, plan.capacity()}) + y.stride);
    }

    void forward(Index n, int thread) override {
        for_each_window(n, thread, [&](const Pooling& job, const Size&) {
            (settings.maximum ? plan.kernels.max_pool : plan.kernels.average_pool)(job);
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        clear_input_gradient(n, thread);
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        for_each_window(n, thread, [&](const Pooling& job, const Size& at) {
            PoolingGradient gradient{};
            gradient.forward = job;
            gradient.dy = dy_image(n, thread) + line_offset(dy, at[0], at[1]) + at[2] * dy.step[2];
            gradient.dx = dx_image(n, thread) + dx.origin;
            for (std::size_t axis = 0; axis < 3; ++axis) {
                gradient.dx += first(axis, at[axis]) * dx.step[axis];
                gradient.dx_step[axis] = dx.step[axis];
            }
            (settings.maximum ? plan.kernels.max_pool_gradient : plan.kernels.average_pool_gradient)(gradient);
        });
    }

private:
    Index first(std::size_t axis, Index i) const { return i * plan.value(input).size[axis] / settings.shape.size[axis]; }
    Index last(std::size_t axis, Index i) const {
        const Index outputs = settings.shape.size[axis];
        return ((i + 1) * plan.value(input).size[axis] + outputs - 1) / outputs;
    }

    template <typename Visit>
    void for_each_window(Index n, int thread, Visit visit) const {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        Index number = 0;
        Size at{};
        for (at[0] = 0; at[0] < y.size[0]; ++at[0])
            for (at[1] = 0; at[1] < y.size[1]; ++at[1])
                for (at[2] = 0; at[2] < y.size[2]; ++at[2], ++number) {
                    Pooling job{};
                    job.input = input_image(n, thread) + x.origin;
                    job.output = output_image(n, thread) + line_offset(y, at[0], at[1]) + at[2] * y.step[2];
                    if (plan.trains() && settings.maximum)  // the arena serves floats and 32-bit numbers alike
                        job.winner =
                            reinterpret_cast<std::int32_t*>(plan.arena() + winners + n * winner_image + number * y.stride);
                    for (std::size_t axis = 0; axis < 3; ++axis) {
                        const Index start = first(axis, at[axis]);
                        job.input += start * x.step[axis];
                        job.size[axis] = job.kernel[axis] = job.stride[axis] = last(axis, at[axis]) - start;
                        job.output_size[axis] = job.dilation[axis] = 1;
                        job.input_step[axis] = x.step[axis];
                    }
                    job.channels = y.stride;
                    visit(job, at);
                }
    }

    Index winners = 0, winner_image = 0;
};

// Axes exchanged: y(j) = x(i), axis k of y being axis order(k) of x.
class Permute : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "axes exchanged"; }

    void forward(Index n, int thread) override {
        move(plan.value(input), plan.value(node), [&](Index from, Index to) {
            output_image(n, thread)[to] = input_image(n, thread)[from];
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        move(plan.gradient(input), plan.gradient(node), [&](Index to, Index from) {
            float& dx = dx_image(n, thread)[to];
            dx = (accumulate_input ? dx : 0.0f) + dy_image(n, thread)[from];
        });
    }

private:
    // Calls visit(offset in x, offset in y) for every number, in the order in which they lie in y.
    template <typename Visit>
    void move(const Tensor& x, const Tensor& y, Visit visit) const {
        const Index steps[4] = {1, x.step[0], x.step[1], x.step[2]};
        Index step[4];  // in x, along the axes of y
        for (std::size_t axis = 0; axis < 4; ++axis) step[axis] = steps[settings.order[axis]];
        for_each_line(y, [&](Index d, Index h) {
            for (Index w = 0; w < y.size[2]; ++w) {
                const Index from = x.origin + d * step[1] + h * step[2] + w * step[3];
                const Index to = line_offset(y, d, h) + w * y.step[2];
                for (Index c = 0; c < y.channels; ++c) visit(from + c * step[0], to + c);
            }
        });
    }
};

}  // namespace

std::unique_ptr<Operation> make_resample(Plan& plan, int node) { return std::make_unique<Resample>(plan, node); }
std::unique_ptr<Operation> make_adaptive_pool(Plan& plan, int node) { return std::make_unique<AdaptivePool>(plan, node); }
std::unique_ptr<Operation> make_permute(Plan& plan, int node) { return std::make_unique<Permute>(plan, node); }

}  // namespace tatami
