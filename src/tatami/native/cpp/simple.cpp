// What needs a few lines only: the way in, poolings, activations, merges, local response normalisation, other shapes. All work image by image on channels-last pixels; the lines of
// a tensor with a border do not touch, so most loops go line by line and hand a line to a kernel.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "simple.hpp"

namespace tatami {

namespace {

class Import : public Operation {
public:
    explicit Import(Plan& owner) : Operation(owner, 0, 0) {}
    std::string describe() const override { return plan.value(0).in_place ? "input, read in place" : "input"; }
    void forward(Index n, int thread) override {
        if (plan.value(0).in_place) return;
        copy_to_pixels(plan.input() + n * node_of(plan, 0).shape.count(), plan.value(0), plan.image(plan.value(0), n, thread));
    }
};

class Pool : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override {
        return settings.kind == Kind::max_pool ? "max pool" : settings.kind == Kind::average_pool ? "average pool" : "Lp pool";
    }

    void prepare() override {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        winner_image = y.size[0] * y.size[1] * y.size[2] * y.stride;
        if (plan.trains() && settings.kind == Kind::max_pool)
            winners = plan.reserve(multiply_sizes({winner_image, plan.capacity()}) + y.stride);
        for (int axis = 0; axis < 3; ++axis) {
            job.size[axis] = x.size[axis];
            job.output_size[axis] = y.size[axis];
            job.kernel[axis] = settings.window.kernel[axis];
            job.stride[axis] = settings.window.stride[axis];
            job.before[axis] = settings.window.before[axis];
            job.dilation[axis] = settings.window.dilation[axis];
            job.input_step[axis] = x.step[axis];
            job.output_step[axis] = y.step[axis];
        }
        job.winner_step[2] = y.stride;
        job.winner_step[1] = y.size[2] * y.stride;
        job.winner_step[0] = y.size[1] * job.winner_step[1];
        job.channels = y.stride;
        job.count_padding = settings.count_padding;
        job.normalise = settings.normalise;
        job.exponent = settings.exponent;
        job.ties = settings.ties;
    }

    void forward(Index n, int thread) override {
        const Pooling own = job_of(n, thread);
        switch (settings.kind) {
            case Kind::max_pool: plan.kernels.max_pool(own); break;
            case Kind::average_pool: plan.kernels.average_pool(own); break;
            default: plan.kernels.lp_pool(own); break;
        }
    }

    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        clear_input_gradient(n, thread);
        const Tensor& dx = plan.gradient(input);
        const Tensor& dy = plan.gradient(node);
        PoolingGradient own{};
        own.forward = job_of(n, thread);
        own.dy = dy_image(n, thread) + dy.origin;
        own.dx = dx_image(n, thread) + dx.origin;
        for (int axis = 0; axis < 3; ++axis) {
            own.dy_step[axis] = dy.step[axis];
            own.dx_step[axis] = dx.step[axis];
        }
        switch (settings.kind) {
            case Kind::max_pool: plan.kernels.max_pool_gradient(own); break;
            case Kind::average_pool: plan.kernels.average_pool_gradient(own); break;
            default: plan.kernels.lp_pool_gradient(own); break;
        }
    }

private:
    Pooling job_of(Index n, int thread) const {
        Pooling own = job;
        own.input = input_image(n, thread) + plan.value(input).origin;
        own.output = output_image(n, thread) + plan.value(node).origin;
        if (plan.trains() && settings.kind == Kind::max_pool)  // the arena serves floats and 32-bit numbers alike
            own.winner = reinterpret_cast<std::int32_t*>(plan.arena() + winners + n * winner_image);
        return own;
    }

    Pooling job{};
    Index winners = 0, winner_image = 0;
};

class Activate : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "activation"; }
    void forward(Index n, int thread) override {
        for_each_stretch(plan.value(input), plan.value(node), [&](Index from, Index to, Index count) {
            plan.kernels.curve(settings.curve, input_image(n, thread) + from, output_image(n, thread) + to, count);
        });
    }
    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        for (Index d = 0; d < y.size[0]; ++d)
            for (Index h = 0; h < y.size[1]; ++h)
                plan.kernels.curve_gradient(settings.curve, input_image(n, thread) + line_offset(x, d, h),
                                            output_image(n, thread) + line_offset(y, d, h),
                                            dy_image(n, thread) + line_offset(dy, d, h),
                                            dx_image(n, thread) + line_offset(dx, d, h), y.size[2] * y.stride,
                                            accumulate_input);
    }
};

class Softmax : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "softmax"; }
    void forward(Index n, int thread) override {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        for_each_pixel_pair(x, y, [&](Index from, Index to) {
            const float* const z = input_image(n, thread) + from;
            float* const v = output_image(n, thread) + to;
            float largest = z[0], total = 0;
            for (Index k = 1; k < y.channels; ++k) largest = std::max(largest, z[k]);
            for (Index k = 0; k < y.channels; ++k) total += v[k] = std::exp(z[k] - largest);
            for (Index k = 0; k < y.channels; ++k) v[k] /= total;
        });
    }
    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        const Tensor& y = plan.value(node);
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        for (Index d = 0; d < y.size[0]; ++d)
            for (Index h = 0; h < y.size[1]; ++h)
                for (Index w = 0; w < y.size[2]; ++w) {
                    const float* const v = output_image(n, thread) + line_offset(y, d, h) + w * y.step[2];
                    const float* const given = dy_image(n, thread) + line_offset(dy, d, h) + w * dy.step[2];
                    float* const to = dx_image(n, thread) + line_offset(dx, d, h) + w * dx.step[2];
                    float sum = 0;
                    for (Index k = 0; k < y.channels; ++k) sum += given[k] * v[k];
                    for (Index k = 0; k < y.channels; ++k)
                        to[k] = (accumulate_input ? to[k] : 0.0f) + v[k] * (given[k] - sum);
                }
    }

private:
    template <typename Visit>
    static void for_each_pixel_pair(const Tensor& a, const Tensor& b, Visit visit) {
        for (Index d = 0; d < a.size[0]; ++d)
            for (Index h = 0; h < a.size[1]; ++h)
                for (Index w = 0; w < a.size[2]; ++w)
                    visit(line_offset(a, d, h) + w * a.step[2], line_offset(b, d, h) + w * b.step[2]);
    }
};

// Channel, row, column order, for consumers that cannot read the map where it lies.
class Flatten : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "flatten"; }
    void forward(Index n, int thread) override {
        copy_from_pixels(input_image(n, thread), plan.value(input), output_image(n, thread) + plan.value(node).origin);
    }
    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        const float* const dy = dy_image(n, thread) + plan.gradient(node).origin;
        (accumulate_input ? add_to_pixels : copy_to_pixels)(dy, plan.gradient(input), dx_image(n, thread));
    }
};

// The numbers of an image in the order that people see, read as another shape.
class Reshape : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "reshape"; }
    void prepare() override { plan.need_scratch(settings.shape.count()); }
    void forward(Index n, int thread) override {
        copy_from_pixels(input_image(n, thread), plan.value(input), plan.scratch(thread));
        copy_to_pixels(plan.scratch(thread), plan.value(node), output_image(n, thread));
    }
    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        copy_from_pixels(dy_image(n, thread), plan.gradient(node), plan.scratch(thread));
        (accumulate_input ? add_to_pixels : copy_to_pixels)(plan.scratch(thread), plan.gradient(input), dx_image(n, thread));
    }
};

class LocalResponses : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "local response normalisation"; }
    void prepare() override {
        plan.need_scratch(3 * (settings.shape.channels + 2 * settings.neighbours + 2 * plan.kernels.lanes));
    }
    void forward(Index n, int thread) override {
        const Tensor& y = plan.value(node);
        for_each_line(thread, n, [&](LocalResponse& job, Index d, Index h) {
            job.output = output_image(n, thread) + line_offset(y, d, h);
            job.output_stride = y.stride;
            plan.kernels.local_response(job);
        });
    }
    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        for_each_line(thread, n, [&](LocalResponse& job, Index d, Index h) {
            job.dy = dy_image(n, thread) + line_offset(dy, d, h);
            job.dy_stride = dy.stride;
            job.output = dx_image(n, thread) + line_offset(dx, d, h);
            job.output_stride = dx.stride;
            job.accumulate = accumulate_input;
            plan.kernels.local_response_gradient(job);
        });
    }

private:
    template <typename Visit>
    void for_each_line(int thread, Index n, Visit visit) const {
        const Tensor& x = plan.value(input);
        for (Index d = 0; d < x.size[0]; ++d)
            for (Index h = 0; h < x.size[1]; ++h) {
                LocalResponse job{};
                job.x = input_image(n, thread) + line_offset(x, d, h);
                job.x_stride = x.stride;
                job.pixels = x.size[2];
                job.channels = settings.shape.channels;
                job.size = settings.neighbours;
                job.before = settings.neighbours / 2;
                job.alpha = settings.alpha;
                job.beta = settings.beta;
                job.k = settings.constant;
                job.scratch = plan.scratch(thread);
                visit(job, d, h);
            }
    }
};

// y = x₁·x₂·…; the gradient of an input is dy times the product of the others, no division by it.
class Multiply : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "multiply"; }
    void prepare() override { plan.need_scratch(plan.value(node).size[2] * plan.value(node).stride); }
    void forward(Index n, int thread) override {
        const Tensor& y = plan.value(node);
        for_each_line(y, [&](Index d, Index h) {
            product(n, thread, d, h, settings.inputs.size(), nullptr, output_image(n, thread) + line_offset(y, d, h), y);
        });
    }
    void backward(Index n, int thread, Index, bool) override {
        const Tensor& dy = plan.gradient(node);
        for (std::size_t i = 0; i < settings.inputs.size(); ++i) {
            const Tensor& dx = plan.gradient(settings.inputs[i]);
            if (!dx.used) continue;
            const bool add = plan.accumulates_at(node, i);
            for_each_line(dy, [&](Index d, Index h) {
                float* const line = plan.scratch(thread);
                product(n, thread, d, h, i, dy_image(n, thread) + line_offset(dy, d, h), line, dy);
                for (Index w = 0; w < dy.size[2]; ++w)
                    plan.kernels.activate_gradient(Activation::identity, line + w * dy.stride, line + w * dy.stride,
                                                   plan.image(dx, n, thread) + line_offset(dx, d, h) + w * dx.step[2],
                                                   settings.shape.channels, add);
            });
        }
    }

private:
    // One line of `first` (1 where there is none) times all inputs but number `left_out`, laid out like `like`.
    void product(Index n, int thread, Index d, Index h, std::size_t left_out, const float* first, float* to,
                 const Tensor& like) const {
        for (Index w = 0; w < like.size[2]; ++w) {
            float* const pixel = to + w * like.stride;
            bool begun = first != nullptr;
            if (begun) std::copy_n(first + w * like.stride, settings.shape.channels, pixel);
            for (std::size_t i = 0; i < settings.inputs.size(); ++i) {
                if (i == left_out) continue;
                const Tensor& x = plan.value(settings.inputs[i]);
                const float* const from = plan.image(x, n, thread) + line_offset(x, d, h) + w * x.step[2];
                if (begun)
                    plan.kernels.multiply(from, pixel, pixel, settings.shape.channels, false);
                else
                    std::copy_n(from, settings.shape.channels, pixel);
                begun = true;
            }
        }
    }
};

class Merge : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return settings.kind == Kind::add ? "add" : "concatenate"; }
    void forward(Index n, int thread) override {
        const Tensor& y = plan.value(node);
        float* const to = output_image(n, thread);
        Index first = 0;
        for (std::size_t i = 0; i < settings.inputs.size(); ++i) {
            const Tensor& x = plan.value(settings.inputs[i]);
            const float* const from = plan.image(x, n, thread);
            for (Index d = 0; d < y.size[0]; ++d)
                for (Index h = 0; h < y.size[1]; ++h)
                    for (Index w = 0; w < y.size[2]; ++w) {
                        const float* const pixel = from + line_offset(x, d, h) + w * x.step[2];
                        float* const target = to + line_offset(y, d, h) + w * y.step[2] + first;
                        if (settings.kind == Kind::add && i > 0)
                            plan.kernels.add(pixel, target, x.channels);
                        else
                            plan.kernels.activate(Activation::identity, pixel, target, x.channels);
                    }
            if (settings.kind == Kind::concatenate) first += x.channels;
        }
    }
    void backward(Index n, int thread, Index, bool) override {
        const Tensor& dy = plan.gradient(node);
        const float* const from = dy_image(n, thread);
        Index first = 0;
        for (std::size_t i = 0; i < settings.inputs.size(); ++i) {
            const Tensor& dx = plan.gradient(settings.inputs[i]);
            if (dx.used) {
                float* const to = plan.image(dx, n, thread);
                const bool add = plan.accumulates_at(node, i);
                for (Index d = 0; d < dy.size[0]; ++d)
                    for (Index h = 0; h < dy.size[1]; ++h)
                        for (Index w = 0; w < dy.size[2]; ++w) {
                            const float* const given = from + line_offset(dy, d, h) + w * dy.step[2] + first;
                            float* const pixel = to + line_offset(dx, d, h) + w * dx.step[2];
                            plan.kernels.activate_gradient(Activation::identity, given, given, pixel, dx.channels, add);
                        }
            }
            if (settings.kind == Kind::concatenate) first += dx.channels;
        }
    }
};

}  // namespace

std::unique_ptr<Operation> make_import(Plan& plan) { return std::make_unique<Import>(plan); }

std::unique_ptr<Operation> make_simple(Plan& plan, int node) {
    switch (node_of(plan, node).kind) {
        case Kind::max_pool:
        case Kind::average_pool:
        case Kind::lp_pool: return std::make_unique<Pool>(plan, node);
        case Kind::activation: return std::make_unique<Activate>(plan, node);
        case Kind::softmax: return std::make_unique<Softmax>(plan, node);
        case Kind::dropout: return make_dropout(plan, node);
        case Kind::noise: return make_noise(plan, node);
        case Kind::sample: return make_sample(plan, node);
        case Kind::resample: return make_resample(plan, node);
        case Kind::adaptive_pool: return make_adaptive_pool(plan, node);
        case Kind::permute: return make_permute(plan, node);
        case Kind::embedding: return make_embedding(plan, node);
        case Kind::unpool: return make_unpool(plan, node);
        case Kind::stochastic_pool: return make_stochastic_pool(plan, node);
        case Kind::log_power: return make_log_power(plan, node);
        case Kind::drop_connect: return make_drop_connect(plan, node);
        case Kind::padding_mask: return make_padding_mask(plan, node);
        case Kind::flatten: return std::make_unique<Flatten>(plan, node);
        case Kind::reshape: return std::make_unique<Reshape>(plan, node);
        case Kind::local_response: return std::make_unique<LocalResponses>(plan, node);
        case Kind::slopes: return make_slopes(plan, node);
        case Kind::pieces: return make_pieces(plan, node);
        case Kind::larger: return make_larger(plan, node);
        case Kind::multiply: return std::make_unique<Multiply>(plan, node);
        case Kind::add:
        case Kind::concatenate: return std::make_unique<Merge>(plan, node);
        default: throw DescriptionError("a node of this kind has no operation");
    }
}

}  // namespace tatami
