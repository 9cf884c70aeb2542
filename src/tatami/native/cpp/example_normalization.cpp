// Normalisation within one example in a plan: of the channels of a pixel, of a group of channels, or of everything.
//
// An image passes by itself, so these layers run image by image with whatever stands beside them. Over the channels of a
// pixel a kernel does all; over sets that spread over positions, sums are made channel by channel down the lines and then
// added over the channels of a set, in order and in double precision:
//
//   mean = Σ x / m     σ² = Σ (x - mean)² / m     y = (x - mean)·γ/√(σ² + ε) + β
//   dx = (γ·dy - Σ γ·dy / m - (x - mean) · Σ γ·dy·(x - mean) / (m·(σ² + ε))) / √(σ² + ε)
//
// The gradients of γ and β are summed over the images of a group, then over the groups in order. A ReLU behind the layer is
// applied while the numbers are written, other activations to every line right after it.
#include <cmath>

#include "layer_table.hpp"
#include "simple.hpp"

namespace tatami {

namespace {

class ExampleNorm : public Operation {
public:
    ExampleNorm(Plan& owner, const Fused& with)
        : Operation(owner, node_of(owner, with.first).inputs[0], with.output),
          fused(with),
          normalization(with.first),
          settings(node_of(owner, with.first)),
          curve(fused_curve(owner.engine, with)),
          relu(is_relu(curve)) {}

    std::string describe() const override {
        const std::string name = settings.over_channels || settings.per_value            ? "layer"
                                 : settings.groups == settings.shape.channels ? "instance"
                                                                              : "group";
        return name + " normalisation" + describe_fused(plan.engine, fused);
    }

protected:
    const float* x_line(Index n, int thread, Index d, Index h) const {
        const Tensor& x = plan.value(input);
        return plan.image(x, n, thread) + line_offset(x, d, h);
    }
    const float* dy_line(Index n, int thread, Index d, Index h) const {
        const Tensor& dy = plan.gradient(node);
        return plan.image(dy, n, thread) + line_offset(dy, d, h);
    }
    void back_through_activation(Index n, int thread) {
        if (curve) through_activation(*curve, before, n, thread, plan.image(plan.gradient(node), n, thread));
    }
    // Where a line goes first, and what becomes of it there.
    float* line_to_write(Index n, int thread, Index d, Index h) const {
        const Tensor& to = before ? *before : plan.value(node);
        return plan.image(to, n, thread) + line_offset(to, d, h);
    }
    void activate_line(Index n, int thread, Index d, Index h) const {
        if (curve == nullptr || relu) return;
        const Tensor& y = plan.value(node);
        plan.kernels.curve_pixels({*curve, line_to_write(n, thread, d, h), y.stride, plan.image(y, n, thread) + line_offset(y, d, h),
                                   y.stride, y.size[2], y.channels});
    }
    // Adds the sums of all groups of images to those of the first one.
    float* total_of(Index base, Index count, Index used_chunks) const {
        float* const total = plan.partial(0) + base;
        for (Index chunk = 1; chunk < used_chunks; ++chunk) plan.kernels.add(plan.partial(chunk) + base, total, count);
        return total;
    }

    const Fused fused;
    const int normalization;
    const Node& settings;
    const Curve* const curve;        // of the fused activation
    const Tensor* before = nullptr;  // what goes into it, where its derivative looks at that
    const bool relu;
};

// Every pixel by itself.
class PixelNorm : public ExampleNorm {
public:
    using ExampleNorm::ExampleNorm;

    void prepare() override {
        before = reserve_before(curve);
        stride = plan.value(node).stride;
        rows = plan.reserve(2 * stride);
        if (plan.trains()) sums = plan.reserve_partial(2 * stride);
    }

    void pack() override {
        float* const scale = plan.arena() + rows;
        std::fill_n(scale, stride, 1.0f);
        if (settings.affine) std::copy_n(plan.weights(normalization, 0, "scale"), settings.shape.channels, scale);
        if (settings.bias) std::copy_n(plan.weights(normalization, 0, "bias"), settings.shape.channels, scale + stride);
    }

    void forward(Index n, int thread) override {
        const Tensor& y = plan.value(node);
        for_each_line(y, [&](Index d, Index h) {
            PixelsLine line = line_at(n, thread, d, h);
            line.output = line_to_write(n, thread, d, h);
            line.output_stride = y.stride;
            line.relu = relu;
            plan.kernels.layers->normalize_pixels(line);
            activate_line(n, thread, d, h);
        });
    }

    void backward(Index n, int thread, Index chunk, bool first_image) override {
        back_through_activation(n, thread);
        const Tensor& dx = plan.gradient(input);
        float* const dscale = plan.partial(chunk) + sums;
        if (first_image) std::fill_n(dscale, 2 * stride, 0.0f);
        for_each_line(plan.value(node), [&](Index d, Index h) {
            PixelsLine line = line_at(n, thread, d, h);
            line.dy = dy_line(n, thread, d, h);
            line.dy_stride = plan.gradient(node).stride;
            line.dscale = dscale;
            line.dbias = dscale + stride;
            if (wants_input_gradient) {
                line.output = plan.image(dx, n, thread) + line_offset(dx, d, h);
                line.output_stride = dx.stride;
                line.accumulate = accumulate_input;
            }
            plan.kernels.layers->normalize_pixels_gradient(line);
        });
    }

    void add_up(Index used_chunks) override {
        const float* const total = total_of(sums, 2 * stride, used_chunks);
        const Index channels = settings.shape.channels;
        if (settings.affine) std::copy_n(total, channels, plan.weights(normalization, 1, "scale"));
        if (settings.bias) std::copy_n(total + stride, channels, plan.weights(normalization, 1, "bias"));
    }

private:
    PixelsLine line_at(Index n, int thread, Index d, Index h) const {
        const Tensor& x = plan.value(input);
        PixelsLine line{};
        line.x = x_line(n, thread, d, h);
        line.x_stride = x.stride;
        line.pixels = x.size[2];
        line.channels = settings.shape.channels;
        line.epsilon = settings.epsilon;
        line.scale = plan.arena() + rows;
        line.bias = line.scale + stride;
        return line;
    }

    Index stride = 0, rows = 0, sums = 0;
};

// Groups of channels over all positions; scale and bias for every channel, or for every value (of a single group).
class SetNorm : public ExampleNorm {
public:
    using ExampleNorm::ExampleNorm;

    void prepare() override {
        before = reserve_before(curve);
        stride = plan.value(node).stride;
        values = plan.value(node);
        values.before = values.after = {0, 0, 0};
        values.arrange();
        moments = plan.reserve(multiply_sizes({2 * stride, plan.trains() ? plan.capacity() : plan.threads()}));
        constants = plan.reserve(2 * table());
        plan.need_scratch(scratch_rows * stride + (settings.per_value ? values.image : 0));
        if (plan.trains()) sums = plan.reserve_partial(2 * table());
    }

    void pack() override {
        float* const scale = plan.arena() + constants;
        float* const bias = scale + table();
        const float* const from = plan.weights(normalization, 0, "scale");
        if (settings.affine && settings.per_value)
            copy_to_pixels(from, values, scale);
        else if (settings.affine)
            std::copy_n(from, settings.shape.channels, scale);
        else
            std::fill_n(scale, table(), 1.0f);
        if (settings.bias && settings.per_value)
            copy_to_pixels(plan.weights(normalization, 0, "bias"), values, bias);
        else if (settings.bias)
            std::copy_n(plan.weights(normalization, 0, "bias"), settings.shape.channels, bias);
    }

    void forward(Index n, int thread) override {
        find_moments(n, thread);
        const Tensor& y = plan.value(node);
        const float* const scale = plan.arena() + constants;
        const float* const inverse = mean_row(n, thread) + stride;
        float* const factor = scratch_row(thread, 0);
        if (!settings.per_value) plan.kernels.multiply(inverse, scale, factor, stride, false);
        for_each_line(y, [&](Index d, Index h) {
            float* const to = line_to_write(n, thread, d, h);
            if (settings.per_value) {
                ValuesLine line = values_at(n, thread, d, h);
                line.output = to;
                line.output_stride = y.stride;
                line.relu = relu;
                plan.kernels.layers->normalize_values(line);
            } else {
                NormalizedLine line = line_at(n, thread, d, h);
                line.factor = factor;
                line.bias = scale + table();
                line.output = to;
                line.output_stride = y.stride;
                line.relu = relu;
                plan.kernels.normalize(line);
            }
            activate_line(n, thread, d, h);
        });
    }

    void backward(Index n, int thread, Index chunk, bool first_image) override {
        back_through_activation(n, thread);
        float* const dscale = plan.partial(chunk) + sums;
        if (first_image) std::fill_n(dscale, 2 * table(), 0.0f);
        if (settings.per_value) scale_gradient(n, thread, dscale);
        // For every channel Σ dy and Σ dy·(x - mean), dy times γ already where there is one for every value.
        float* const sum = scratch_row(thread, 0);
        float* const product = scratch_row(thread, 1);
        std::fill_n(sum, 2 * stride, 0.0f);
        for_each_line(values, [&](Index d, Index h) {
            NormalizedLine line = with_gradient(n, thread, d, h);
            plan.kernels.column_sums(line.dy, line.dy_stride, 0, line.pixels, 1, stride, sum, true);
            line.output = product;
            plan.kernels.centred_sums(line);
        });
        const float* const inverse = mean_row(n, thread) + stride;
        const float* const scale = plan.arena() + constants;
        if (!settings.per_value) {
            plan.kernels.multiply(product, inverse, dscale, stride, true);
            plan.kernels.add(sum, dscale + table(), stride);
        }
        if (!wants_input_gradient) return;
        float *const factor = scratch_row(thread, 2), *const shift = scratch_row(thread, 3), *const slope = scratch_row(thread, 4);
        for_each_group([&](Index first, Index last, double count) {
            double total = 0, stretch = 0;
            for (Index c = first; c < last; ++c) {
                const double gamma = settings.per_value ? 1.0 : static_cast<double>(scale[c]);
                total += gamma * static_cast<double>(sum[c]);
                stretch += gamma * static_cast<double>(product[c]);
            }
            const double own = static_cast<double>(inverse[first]);
            for (Index c = first; c < last; ++c) {
                factor[c] = settings.per_value ? inverse[c] : inverse[c] * scale[c];
                shift[c] = static_cast<float>(own * total / count);
                slope[c] = static_cast<float>(own * own * own * stretch / count);
            }
        });
        const Tensor& dx = plan.gradient(input);
        for_each_line(values, [&](Index d, Index h) {
            NormalizedLine line = with_gradient(n, thread, d, h);
            line.factor = factor;
            line.bias = shift;
            line.slope = slope;
            line.output = plan.image(dx, n, thread) + line_offset(dx, d, h);
            line.output_stride = dx.stride;
            line.accumulate = accumulate_input;
            plan.kernels.layers->normalize_set_gradient(line);
        });
    }

    void add_up(Index used_chunks) override {
        const float* const total = total_of(sums, 2 * table(), used_chunks);
        const auto hand_over = [&](const float* from, const char* name) {
            float* const to = plan.weights(normalization, 1, name);
            if (settings.per_value)
                copy_from_pixels(from, values, to);
            else
                std::copy_n(from, settings.shape.channels, to);
        };
        if (settings.affine) hand_over(total, "scale");
        if (settings.bias) hand_over(total + table(), "bias");
    }

private:
    static constexpr Index scratch_rows = 5;

    Index table() const { return settings.per_value ? values.image : stride; }  // floats of a scale
    float* mean_row(Index n, int thread) const {
        return plan.arena() + moments + (plan.trains() ? n : static_cast<Index>(thread)) * 2 * stride;
    }
    float* scratch_row(int thread, Index number) const { return plan.scratch(thread) + number * stride; }
    float* scaled_gradient(int thread) const { return scratch_row(thread, scratch_rows); }

    template <typename Visit>
    void for_each_group(Visit visit) const {
        const Index members = settings.shape.channels / settings.groups;
        const double count = static_cast<double>(members * positions_of(settings.shape.size));
        for (Index g = 0; g < settings.groups; ++g) visit(g * members, (g + 1) * members, count);
    }

    NormalizedLine line_at(Index n, int thread, Index d, Index h) const {
        const Tensor& x = plan.value(input);
        NormalizedLine line{};
        line.x = x_line(n, thread, d, h);
        line.x_stride = x.stride;
        line.pixels = x.size[2];
        line.channels = stride;
        line.mean = mean_row(n, thread);
        return line;
    }

    NormalizedLine with_gradient(Index n, int thread, Index d, Index h) const {
        NormalizedLine line = line_at(n, thread, d, h);
        line.dy = settings.per_value ? scaled_gradient(thread) + line_offset(values, d, h) : dy_line(n, thread, d, h);
        line.dy_stride = settings.per_value ? values.stride : plan.gradient(node).stride;
        return line;
    }

    ValuesLine values_at(Index n, int thread, Index d, Index h) const {
        const Tensor& x = plan.value(input);
        ValuesLine line{};
        line.x = x_line(n, thread, d, h);
        line.x_stride = x.stride;
        line.pixels = x.size[2];
        line.channels = stride;
        line.mean = mean_row(n, thread);
        line.inverse = line.mean + stride;
        line.scale = plan.arena() + constants + line_offset(values, d, h);
        line.bias = line.scale + table();
        return line;
    }

    // Mean and 1/√(σ² + ε) of every group, written to all of its channels.
    void find_moments(Index n, int thread) {
        float *const mean = mean_row(n, thread), *const inverse = mean + stride;
        float* const sum = scratch_row(thread, 0);
        std::fill_n(sum, stride, 0.0f);
        for_each_line(values, [&](Index d, Index h) {
            const NormalizedLine line = line_at(n, thread, d, h);
            plan.kernels.column_sums(line.x, line.x_stride, 0, line.pixels, 1, stride, sum, true);
        });
        const auto share_out = [&](float* to, auto finish) {
            for_each_group([&](Index first, Index last, double count) {
                double total = 0;
                for (Index c = first; c < last; ++c) total += static_cast<double>(sum[c]);
                std::fill(to + first, to + last, static_cast<float>(finish(total / count)));
            });
        };
        share_out(mean, [](double average) { return average; });
        std::fill_n(sum, stride, 0.0f);
        for_each_line(values, [&](Index d, Index h) {
            NormalizedLine line = line_at(n, thread, d, h);
            line.output = sum;
            plan.kernels.centred_sums(line);
        });
        share_out(inverse, [&](double variance) { return 1.0 / std::sqrt(variance + settings.epsilon); });
    }

    // Gradients of a scale and a bias for every value, and γ·dy into scratch memory.
    void scale_gradient(Index n, int thread, float* dscale) {
        for_each_line(values, [&](Index d, Index h) {
            ValuesLine line = values_at(n, thread, d, h);
            line.dy = dy_line(n, thread, d, h);
            line.dy_stride = plan.gradient(node).stride;
            line.output = scaled_gradient(thread) + line_offset(values, d, h);
            line.output_stride = values.stride;
            line.dscale = dscale + line_offset(values, d, h);
            line.dbias = line.dscale + table();
            plan.kernels.layers->normalize_values_gradient(line);
        });
    }

    Tensor values;  // one image without a border: how a scale for every value is laid out
    Index stride = 0, moments = 0, constants = 0, sums = 0;
};

}  // namespace

std::unique_ptr<Operation> make_example_norm(Plan& plan, const Fused& fused) {
    const Node& settings = node_of(plan, fused.first);
    const bool one_pixel = positions_of(settings.shape.size) == 1 && settings.groups == 1;
    if (settings.over_channels || one_pixel) return std::make_unique<PixelNorm>(plan, fused);
    return std::make_unique<SetNorm>(plan, fused);
}

}  // namespace tatami
