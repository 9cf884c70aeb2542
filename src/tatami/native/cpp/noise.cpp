// Random layers in a plan: dropout of units and of maps, of an exact number of units, normal noise, a normal sample.
//
// All draw from the counter-based generator (random_mask.hpp) in the order (N, C, D, H, W) of the reference, whose masks
// they repeat bit for bit; an image draws its own words, whichever thread it is on. Only the exact dropout chooses among the
// units of the whole batch and is a batch stage.
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "layer_table.hpp"
#include "random_stream.hpp"
#include "simple.hpp"

namespace tatami {

namespace {

class Random : public Simple {
public:
    using Simple::Simple;

protected:
    // A tensor like the output, without a border.
    Tensor plain() const {
        Tensor tensor = plan.value(node);
        tensor.before = tensor.after = {0, 0, 0};
        tensor.arrange();
        return tensor;
    }

    void copy_input(Index n, int thread) const {
        for_each_stretch(plan.value(input), plan.value(node), [&](Index from, Index to, Index count) {
            std::copy_n(input_image(n, thread) + from, count, output_image(n, thread) + to);
        });
    }

    // dx (+)= dy
    void hand_back(Index n, int thread) const {
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        for_each_line(dy, [&](Index d, Index h) {
            const float* const from = dy_image(n, thread) + line_offset(dy, d, h);
            plan.kernels.activate_gradient(Activation::identity, from, from, dx_image(n, thread) + line_offset(dx, d, h),
                                           dy.size[2] * dy.stride, accumulate_input);
        });
    }

    // Standard normal numbers of an image by Box and Muller, as RandomKey.normal has them for the whole batch: r·cos θ for the
    // first half of all numbers, r·sin θ for the second. In double precision; `drawn` and 2 · count words behind it are scratch.
    void draw_normals(Index n, float* drawn) const {
        const Index count = settings.shape.count(), pairs = (plan.batch() * count + 1) / 2;
        auto* const radius_words = reinterpret_cast<std::uint32_t*>(drawn + count);
        auto* const angle_words = radius_words + count;
        const Stream stream(plan.key(), settings.stream);
        const Index begin = n * count, end = begin + count;
        for (int half = 0; half < 2; ++half) {
            const Index first = std::max(begin, half == 0 ? 0 : pairs), last = std::min(end, half == 0 ? pairs : 2 * pairs);
            if (first >= last) continue;
            const Index pair = first - half * pairs;
            plan.kernels.layers->random_words(stream.words, stream.counter, pair, last - first, radius_words);
            plan.kernels.layers->random_words(stream.words, stream.counter, pairs + pair, last - first, angle_words);
            for (Index i = 0; i < last - first; ++i) {
                const double radius = std::sqrt(-2.0 * std::log1p(-static_cast<double>(radius_words[i] >> 8) * 0x1p-24));
                const double angle = 2.0 * std::numbers::pi * (static_cast<double>(angle_words[i] >> 8) * 0x1p-24);
                drawn[first - begin + i] = static_cast<float>(radius * (half == 0 ? std::cos(angle) : std::sin(angle)));
            }
        }
    }
};

// Factors 0 or 1/(1 - ratio), kept for the backward pass: one for every unit, or one for every map.
class Dropout : public Random {
public:
    using Random::Random;
    bool by_image() const override { return !settings.exact; }
    std::string describe() const override {
        return settings.by_channel ? "dropout of maps" : settings.exact ? "dropout of an exact number" : "dropout";
    }

    void prepare() override {
        factors = plain();
        if (settings.by_channel) {
            factors.size = {1, 1, 1};
            factors.arrange();
        }
        factors = plan.reserve_tensor(factors, false);
        if (!settings.shape.flat) plan.need_scratch(settings.shape.count());
    }

    void forward(Index n, int thread) override {
        if (active()) draw(n, thread);
        apply(n, thread);
    }

    void forward_batch() override {
        if (active()) choose();
        parallel_for(plan.running_threads(), plan.batch(), 1, [&](Index n, int thread) {
            if (active() && !settings.shape.flat) lay_out(n, thread);
            apply(n, thread);
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        if (!wants_input_gradient) return;
        if (!active()) {
            hand_back(n, thread);
            return;
        }
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        const float* const own = plan.image(factors, n, thread);
        for_each_line(dy, [&](Index d, Index h) {
            const float* const from = dy_image(n, thread) + line_offset(dy, d, h);
            float* const to = dx_image(n, thread) + line_offset(dx, d, h);
            if (settings.by_channel)
                for (Index w = 0; w < dy.size[2]; ++w)
                    plan.kernels.multiply(from + w * dy.stride, own, to + w * dx.stride, dy.channels, accumulate_input);
            else
                plan.kernels.multiply(from, own + line_offset(factors, d, h), to, dy.size[2] * dy.stride, accumulate_input);
        });
    }

    void backward_batch() override {
        parallel_for(plan.running_threads(), plan.batch(), 1, [&](Index n, int thread) { backward(n, thread, 0, false); });
    }

private:
    bool active() const { return plan.training() && settings.ratio > 0.0; }
    float scale() const { return static_cast<float>(1.0 / (1.0 - settings.ratio)); }

    void draw(Index n, int thread) {
        const Stream stream(plan.key(), settings.stream);
        const Index count = settings.by_channel ? settings.shape.channels : settings.shape.count();
        const bool in_order = settings.shape.flat || settings.by_channel;
        float* const own = plan.image(factors, n, thread);
        float* const drawn = in_order ? own : plan.scratch(thread);
        // nearbyint rounds halves to even, as Python's round does
        const auto threshold = static_cast<std::uint32_t>(std::nearbyint(settings.ratio * 16777216.0));
        plan.kernels.keep_mask(stream.words, stream.counter, n * count, count, threshold, scale(), drawn);
        if (!in_order) copy_to_pixels(drawn, factors, own);
    }

    // Keeps the round((1 - ratio)·n) units whose 64-bit keys are the smallest: the first ones of a random order.
    void choose() {
        const Stream stream(plan.key(), settings.stream);
        const Index count = settings.shape.count(), total = plan.batch() * count;
        order.resize(static_cast<std::size_t>(total));
        parallel_for(plan.running_threads(), plan.batch(), 1, [&](Index n, int) {
            std::vector<std::uint32_t> words(static_cast<std::size_t>(2 * count));
            plan.kernels.layers->random_words(stream.words, stream.counter, n * count, count, words.data());
            plan.kernels.layers->random_words(stream.words, stream.counter, total + n * count, count, words.data() + count);
            for (Index i = 0; i < count; ++i) {
                const std::uint64_t high = words[static_cast<std::size_t>(i)], low = words[static_cast<std::size_t>(count + i)];
                order[static_cast<std::size_t>(n * count + i)] = {high << 32 | low, n * count + i};
            }
        });
        const auto kept = static_cast<Index>(std::nearbyint(static_cast<double>(total) * (1.0 - settings.ratio)));
        if (kept > 0 && kept < total) std::nth_element(order.begin(), order.begin() + kept, order.end());
        chosen.assign(static_cast<std::size_t>(total), 0.0f);
        for (Index i = 0; i < kept; ++i) chosen[static_cast<std::size_t>(order[static_cast<std::size_t>(i)].second)] = scale();
        if (settings.shape.flat)
            for (Index n = 0; n < plan.batch(); ++n) std::copy_n(chosen.data() + n * count, count, plan.image(factors, n, 0));
    }

    void lay_out(Index n, int thread) {
        copy_to_pixels(chosen.data() + n * settings.shape.count(), factors, plan.image(factors, n, thread));
    }

    void apply(Index n, int thread) const {
        if (!active()) {
            copy_input(n, thread);
            return;
        }
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        const float* const own = plan.image(factors, n, thread);
        for_each_line(y, [&](Index d, Index h) {
            for (Index w = 0; w < (settings.by_channel || x.stride != y.stride ? y.size[2] : 1); ++w) {
                const bool whole = !settings.by_channel && x.stride == y.stride;
                const float* const factor = settings.by_channel ? own : own + line_offset(factors, d, h) + w * factors.stride;
                plan.kernels.multiply(input_image(n, thread) + line_offset(x, d, h) + w * x.step[2], factor,
                                      output_image(n, thread) + line_offset(y, d, h) + w * y.step[2],
                                      whole ? y.size[2] * y.stride : y.channels, false);
            }
        });
    }

    Tensor factors;
    std::vector<std::pair<std::uint64_t, Index>> order;
    std::vector<float> chosen;
};

// y = x + σ·z while training.
class Noise : public Random {
public:
    using Random::Random;
    std::string describe() const override { return "noise"; }

    void prepare() override {
        layout = plain();
        plan.need_scratch(3 * settings.shape.count() + layout.image);
    }

    void forward(Index n, int thread) override {
        copy_input(n, thread);
        if (!plan.training() || settings.constant == 0.0f) return;
        float* const drawn = plan.scratch(thread);
        draw_normals(n, drawn);
        for (Index i = 0; i < settings.shape.count(); ++i) drawn[i] *= settings.constant;
        float* const noise = drawn + 3 * settings.shape.count();
        std::fill_n(noise, layout.image, 0.0f);
        copy_to_pixels(drawn, layout, noise);
        const Tensor& y = plan.value(node);
        for_each_line(y, [&](Index d, Index h) {
            plan.kernels.add(noise + line_offset(layout, d, h), output_image(n, thread) + line_offset(y, d, h),
                             y.size[2] * y.stride);
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        if (wants_input_gradient) hand_back(n, thread);
    }

private:
    Tensor layout;
};

// z = μ + e^(½ log σ²)·ε while training, else μ. Half the noise is kept: it is the derivative with respect to log σ².
class Sample : public Random {
public:
    using Random::Random;
    std::string describe() const override { return "normal sample"; }

    void prepare() override {
        half = plain();
        if (!plan.trains()) return;
        plan.need_scratch(3 * settings.shape.count());
        half = plan.reserve_tensor(half, false);
    }

    void forward(Index n, int thread) override {
        copy_input(n, thread);
        if (!plan.trains()) return;
        float* const own = plan.image(half, n, thread);
        std::fill_n(own, half.image, 0.0f);
        if (!plan.training()) return;
        draw_normals(n, plan.scratch(thread));
        copy_to_pixels(plan.scratch(thread), half, own);
        const Tensor& log_variance = plan.value(settings.inputs[1]);
        const Tensor& z = plan.value(node);
        for_each_line(z, [&](Index d, Index h) {
            for (Index w = 0; w < z.size[2]; ++w) {
                float* const noise = own + line_offset(half, d, h) + w * half.stride;
                float* const to = output_image(n, thread) + line_offset(z, d, h) + w * z.step[2];
                const float* const from = plan.image(log_variance, n, thread) + line_offset(log_variance, d, h);
                float* const deviation = plan.scratch(thread);  // the drawn numbers have been copied
                plan.kernels.layers->exponentials(from + w * log_variance.step[2], 0.5f, deviation, z.channels);
                plan.kernels.multiply(deviation, noise, noise, z.channels, false);
                plan.kernels.add(noise, to, z.channels);
                for (Index c = 0; c < z.channels; ++c) noise[c] *= 0.5f;
            }
        });
    }

    void backward(Index n, int thread, Index, bool) override {
        if (wants_input_gradient) hand_back(n, thread);
        const Tensor& dz = plan.gradient(node);
        const Tensor& dlog = plan.gradient(settings.inputs[1]);
        if (!dlog.used) return;
        const bool add = plan.accumulates_at(node, 1);
        for_each_line(dz, [&](Index d, Index h) {
            plan.kernels.multiply(dy_image(n, thread) + line_offset(dz, d, h),
                                  plan.image(half, n, thread) + line_offset(half, d, h),
                                  plan.image(dlog, n, thread) + line_offset(dlog, d, h), dz.size[2] * dz.stride, add);
        });
    }

private:
    Tensor half;
};

}  // namespace

std::unique_ptr<Operation> make_dropout(Plan& plan, int node) { return std::make_unique<Dropout>(plan, node); }
std::unique_ptr<Operation> make_noise(Plan& plan, int node) { return std::make_unique<Noise>(plan, node); }
std::unique_ptr<Operation> make_sample(Plan& plan, int node) { return std::make_unique<Sample>(plan, node); }

}  // namespace tatami
