// Layers with windows of a rarer kind, in a plan: the way back from a maximum to where it stood, a random entry of every
// window, and the powers behind a Fourier transform of frames. All work image by image.
#include "layer_table.hpp"
#include "random_stream.hpp"
#include "simple.hpp"

namespace tatami {

namespace {

// A pooling's job, but for the image; the winners lie pixel by pixel without a border.
Pooling job_between(const WindowSettings& window, const Tensor& large, const Tensor& small) {
    Pooling job{};
    for (std::size_t axis = 0; axis < 3; ++axis) {
        job.size[axis] = large.size[axis];
        job.output_size[axis] = small.size[axis];
        job.kernel[axis] = window.kernel[axis];
        job.stride[axis] = window.stride[axis];
        job.before[axis] = window.before[axis];
        job.dilation[axis] = window.dilation[axis];
        job.input_step[axis] = large.step[axis];
        job.output_step[axis] = small.step[axis];
    }
    job.winner_step[2] = small.stride;
    job.winner_step[1] = small.size[2] * small.stride;
    job.winner_step[0] = small.size[1] * job.winner_step[1];
    job.channels = small.stride;
    return job;
}

// The arena serves floats and 32-bit numbers alike.
std::int32_t* numbers_at(float* place) { return reinterpret_cast<std::int32_t*>(place); }

class Unpool : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "unpooling"; }

    void prepare() override {
        pooled = plan.value(input);
        pooled.before = pooled.after = {0, 0, 0};
        pooled.arrange();
        places = plan.reserve(multiply_sizes({pooled.image, plan.trains() ? plan.capacity() : plan.threads()}) + pooled.stride);
        plan.need_scratch(pooled.image);
    }

    void forward(Index n, int thread) override {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        PoolingGradient job{};
        job.forward = find_places(n, thread);
        plan.kernels.max_pool(job.forward);
        for_each_line(y, [&](Index d, Index h) {
            std::fill_n(output_image(n, thread) + line_offset(y, d, h), y.size[2] * y.stride, 0.0f);
        });
        job.dy = input_image(n, thread) + x.origin;
        job.dx = output_image(n, thread) + y.origin;
        for (std::size_t axis = 0; axis < 3; ++axis) {
            job.dy_step[axis] = x.step[axis];
            job.dx_step[axis] = y.step[axis];
        }
        plan.kernels.max_pool_gradient(job);
    }

    void backward(Index n, int thread, Index, bool) override {
        const Tensor& dbefore = plan.gradient(settings.inputs[1]);
        if (dbefore.used && !plan.accumulates_at(node, 1))  // the places of the maxima have no derivative
            for_each_line(dbefore, [&](Index d, Index h) {
                std::fill_n(plan.image(dbefore, n, thread) + line_offset(dbefore, d, h), dbefore.size[2] * dbefore.stride, 0.0f);
            });
        if (!wants_input_gradient) return;
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        PoolingGradient job{};
        job.forward = find_places(n, thread);
        job.dy = dy_image(n, thread) + dy.origin;
        job.dx = dx_image(n, thread) + dx.origin;
        for (std::size_t axis = 0; axis < 3; ++axis) {
            job.dy_step[axis] = dy.step[axis];
            job.dx_step[axis] = dx.step[axis];
        }
        plan.kernels.layers->take_winners(job, accumulate_input);
    }

private:
    Pooling find_places(Index n, int thread) const {
        const Tensor& before = plan.value(settings.inputs[1]);
        Pooling job = job_between(settings.window, before, pooled);
        job.input = plan.image(before, n, thread) + before.origin;
        job.output = plan.scratch(thread);  // the maxima themselves are not wanted
        job.winner = numbers_at(plan.arena() + places + (plan.trains() ? n : static_cast<Index>(thread)) * pooled.image);
        return job;
    }

    Tensor pooled;
    Index places = 0;
};

class StochasticPool : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "stochastic pool"; }

    void prepare() override {
        pixels = plan.value(node);
        pixels.before = pixels.after = {0, 0, 0};
        pixels.arrange();
        if (!plan.trains()) return;
        winners = plan.reserve(multiply_sizes({pixels.image, plan.capacity()}) + pixels.stride);
        plan.need_scratch(pixels.image + 2 * settings.shape.count());
    }

    void forward(Index n, int thread) override {
        const float* const drawn = plan.training() ? draw(n, thread) : nullptr;
        plan.kernels.layers->stochastic_pool(job_of(n, thread), drawn);
    }

    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        clear_input_gradient(n, thread);
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        PoolingGradient job{};
        job.forward = job_of(n, thread);
        job.dy = dy_image(n, thread) + dy.origin;
        job.dx = dx_image(n, thread) + dx.origin;
        for (std::size_t axis = 0; axis < 3; ++axis) {
            job.dy_step[axis] = dy.step[axis];
            job.dx_step[axis] = dx.step[axis];
        }
        plan.kernels.max_pool_gradient(job);
    }

private:
    Pooling job_of(Index n, int thread) const {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        Pooling job = job_between(settings.window, x, y);
        job.input = input_image(n, thread) + x.origin;
        job.output = output_image(n, thread) + y.origin;
        if (plan.trains()) job.winner = numbers_at(plan.arena() + winners + n * pixels.image);
        return job;
    }

    // A number from 0 to 1 for every window, in the order of the reference, laid out like the winners.
    const float* draw(Index n, int thread) const {
        const Index count = settings.shape.count();
        float* const laid_out = plan.scratch(thread);
        float* const numbers = laid_out + pixels.image;
        auto* const words = reinterpret_cast<std::uint32_t*>(numbers + count);
        const Stream stream(plan.key(), settings.stream);
        plan.kernels.layers->random_words(stream.words, stream.counter, n * count, count, words);
        for (Index i = 0; i < count; ++i) numbers[i] = static_cast<float>(words[i] >> 8) * 0x1p-24f;
        copy_to_pixels(numbers, pixels, laid_out);
        return laid_out;
    }

    Tensor pixels;
    Index winners = 0;
};

// Behind a convolution with the waves of all frequencies, first the cosines and then the sines of every channel, the powers:
// from frames with a number for every wave to images whose rows are frequencies.
class LogPower : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "logarithms of powers"; }

    void prepare() override {
        frequencies = settings.shape.size[1];
        plan.need_scratch(frequencies);
    }

    void forward(Index n, int thread) override {
        const Tensor& y = plan.value(node);
        float* const powers = plan.scratch(thread);
        for_each_frame(n, thread, [&](const float* real, Index group, Index t) {
            plan.kernels.layers->log_power(real, real + frequencies, settings.constant, powers, frequencies);
            float* const to = output_image(n, thread) + y.origin + t * y.step[2] + group;
            for (Index f = 0; f < frequencies; ++f) to[f * y.step[1]] = powers[f];
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        float* const given = plan.scratch(thread);
        for_each_frame(n, thread, [&](const float* real, Index group, Index t) {
            const float* const from = dy_image(n, thread) + dy.origin + t * dy.step[2] + group;
            for (Index f = 0; f < frequencies; ++f) given[f] = from[f * dy.step[1]];
            float* const to = dx_image(n, thread) + dx.origin + t * dx.step[2] + group * 2 * frequencies;
            plan.kernels.layers->log_power_gradient(real, real + frequencies, settings.constant, given, to, to + frequencies,
                                                    frequencies, accumulate_input);
        });
    }

private:
    template <typename Visit>
    void for_each_frame(Index n, int thread, Visit visit) const {
        const Tensor& x = plan.value(input);
        for (Index t = 0; t < x.size[2]; ++t)
            for (Index group = 0; group < settings.groups; ++group)
                visit(input_image(n, thread) + x.origin + t * x.step[2] + group * 2 * frequencies, group, t);
    }

    Index frequencies = 0;
};

}  // namespace

std::unique_ptr<Operation> make_unpool(Plan& plan, int node) { return std::make_unique<Unpool>(plan, node); }
std::unique_ptr<Operation> make_stochastic_pool(Plan& plan, int node) { return std::make_unique<StochasticPool>(plan, node); }
std::unique_ptr<Operation> make_log_power(Plan& plan, int node) { return std::make_unique<LogPower>(plan, node); }

}  // namespace tatami
