// Batch normalisation in a plan.
//
// While training it needs the whole batch twice, for the mean and for the variance: a batch stage. Sums are made image by
// image, each by one thread, and added over the images in order, in double precision. At prediction it is a line through
// the running values and runs image by image with the rest.
//
//   mean = Σ x / m     σ² = Σ (x - mean)² / m     y = (x - mean)·γ/√(σ² + ε) + β
//   dβ = Σ dy     dγ = Σ dy·(x - mean) / √(σ² + ε)
//   dx = γ/√(σ² + ε) · (dy - Σ dy / m - (x - mean) · Σ dy·(x - mean) / (m·(σ² + ε)))
#include <algorithm>
#include <cmath>

#include "plan.hpp"

namespace tatami {

namespace {

class BatchNorm : public Operation {
public:
    BatchNorm(Plan& owner, const Fused& with)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(with.first)].inputs[0], with.output),
          fused(with),
          normalization(with.first),
          settings(owner.engine.nodes()[static_cast<std::size_t>(normalization)]),
          curve(fused_curve(owner.engine, with)) {}

    bool by_image() const override { return plan.mode == Mode::predict; }
    std::string describe() const override { return "batch normalisation" + describe_fused(plan.engine, fused); }

    void prepare() override {
        stride = plan.value(node).stride;
        before = reserve_before(curve);
        rows = plan.reserve(5 * stride);
        sums = plan.reserve(multiply_sizes({stride, plan.trains() ? plan.capacity() : 0}));
    }

    void pack() override { use(plan.state(normalization, 0), plan.state(normalization, 1)); }

    void forward(Index n, int thread) override { normalize(n, thread); }

    void forward_batch() override {
        if (!plan.training()) {
            use(plan.state(normalization, 0), plan.state(normalization, 1));
        } else {
            float* const batch_mean = row(mean);
            std::fill_n(batch_mean, stride, 0.0f);
            average([&](Index n, NormalizedLine& line) { line.x = value_line(n); }, true, batch_mean);
            average([&](Index n, NormalizedLine& line) { line.x = value_line(n); }, false, row(variance));
            follow(plan.state(normalization, 0), batch_mean, 1.0);
            const double m = count();
            follow(plan.state(normalization, 1), row(variance), m > 1 ? m / (m - 1) : 1.0);
            use(batch_mean, row(variance));
            plan.statistics_changed();
        }
        parallel_for(plan.running_threads(), plan.batch(), 1, [&](Index n, int) { normalize(n, 0); });
    }

    void backward_batch() override {
        const Tensor& dy = plan.gradient(node);
        if (curve)
            parallel_for(plan.running_threads(), plan.batch(), 1,
                         [&](Index n, int) { through_activation(*curve, before, n, 0, plan.image(dy, n, 0)); });
        // Means over the batch of dy, and of dy · (x - mean).
        float* const mean_dy = row(shift);
        float* const mean_product = row(variance_gradient);
        average([&](Index n, NormalizedLine& line) { line.dy = gradient_line(n); }, true, mean_dy);
        average(
            [&](Index n, NormalizedLine& line) {
                line.x = value_line(n);
                line.dy = gradient_line(n);
            },
            false, mean_product);
        const double m = count();
        float* const dscale = plan.weights(normalization, 1, "scale");
        float* const dbias = plan.weights(normalization, 1, "bias");
        for (Index c = 0; c < settings.shape.channels; ++c) {
            const double power = static_cast<double>(row(variance)[c]) + settings.epsilon;
            if (settings.bias) dbias[c] = static_cast<float>(m * static_cast<double>(mean_dy[c]));
            if (settings.affine) dscale[c] = static_cast<float>(m * static_cast<double>(mean_product[c]) / std::sqrt(power));
            mean_product[c] = static_cast<float>(static_cast<double>(mean_product[c]) / power);
        }
        if (!wants_input_gradient) return;
        const Tensor& x = plan.value(input);
        const Tensor& dx = plan.gradient(input);
        parallel_for(plan.running_threads(), plan.batch(), 1, [&](Index n, int) {
            for_each_line(x, [&](Index d, Index h) {
                NormalizedLine line{};
                line.x = plan.image(x, n, 0) + at(x, d, h);
                line.x_stride = x.stride;
                line.pixels = x.size[2];
                line.channels = stride;
                line.mean = row(mean);
                line.factor = row(factor);
                line.bias = mean_dy;
                line.slope = mean_product;
                line.dy = plan.image(dy, n, 0) + at(dy, d, h);
                line.dy_stride = dy.stride;
                line.output = plan.image(dx, n, 0) + at(dx, d, h);
                line.output_stride = dx.stride;
                line.accumulate = accumulate_input;
                plan.kernels.normalize_gradient(line);
            });
        });
    }

private:
    enum Row { mean, variance, factor, shift, variance_gradient };  // vectors of one float for each channel

    float* row(Row which) const { return plan.arena() + rows + which * stride; }
    static Index at(const Tensor& tensor, Index d, Index h) { return tensor.origin + d * tensor.step[0] + h * tensor.step[1]; }
    const float* value_line(Index n) const { return plan.image(plan.value(input), n, 0); }
    const float* gradient_line(Index n) const { return plan.image(plan.gradient(node), n, 0); }
    double count() const {
        const Size& size = settings.shape.size;
        return static_cast<double>(plan.batch() * size[0] * size[1] * size[2]);
    }

    template <typename Visit>
    static void for_each_line(const Tensor& tensor, Visit visit) {
        for (Index d = 0; d < tensor.size[0]; ++d)
            for (Index h = 0; h < tensor.size[1]; ++h) visit(d, h);
    }

    // The mean over the batch of what `choose` points at: x or dy alone (plain), or (x - mean)² or dy·(x - mean).
    template <typename Choose>
    void average(Choose choose, bool plain, float* result) {
        const Tensor& x = plan.value(input);
        const Tensor& dy = plan.gradient(node);
        parallel_for(plan.running_threads(), plan.batch(), 1, [&](Index n, int) {
            NormalizedLine image{};
            choose(n, image);
            float* const own = plan.arena() + sums + n * stride;
            std::fill_n(own, stride, 0.0f);
            for_each_line(x, [&](Index d, Index h) {
                if (plain) {
                    const Tensor& read = image.x ? x : dy;
                    plan.kernels.column_sums((image.x ? image.x : image.dy) + at(read, d, h), read.stride, 0, read.size[2], 1,
                                             stride, own, true);
                    return;
                }
                NormalizedLine line{};
                line.x = image.x + at(x, d, h);
                line.x_stride = x.stride;
                line.pixels = x.size[2];
                line.channels = stride;
                line.mean = row(mean);
                line.dy = image.dy ? image.dy + at(dy, d, h) : nullptr;
                line.dy_stride = dy.stride;
                line.output = own;
                plan.kernels.centred_sums(line);
            });
        });
        for (Index c = 0; c < stride; ++c) {
            double total = 0;
            for (Index n = 0; n < plan.batch(); ++n) total += static_cast<double>(plan.arena()[sums + n * stride + c]);
            result[c] = static_cast<float>(total / count());
        }
    }

    // running <- (1 - momentum)·running + momentum·batch
    void follow(float* running, const float* batch, double correction) const {
        for (Index c = 0; c < settings.shape.channels; ++c)
            running[c] = static_cast<float>((1.0 - settings.momentum) * static_cast<double>(running[c]) +
                                            settings.momentum * correction * static_cast<double>(batch[c]));
    }

    // Prepares the rows that `normalize` reads.
    void use(const float* used_mean, const float* used_variance) {
        const float* const scale = plan.weights(normalization, 0, "scale");
        if (used_mean != row(mean)) {
            std::copy_n(used_mean, settings.shape.channels, row(mean));
            std::copy_n(used_variance, settings.shape.channels, row(variance));
        }
        for (Index c = 0; c < settings.shape.channels; ++c) {
            const double inverse = 1.0 / std::sqrt(static_cast<double>(row(variance)[c]) + settings.epsilon);
            row(factor)[c] = static_cast<float>(inverse * (settings.affine ? static_cast<double>(scale[c]) : 1.0));
        }
    }

    void normalize(Index n, int thread) {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        for_each_line(x, [&](Index d, Index h) {
            NormalizedLine line{};
            line.x = plan.image(x, n, thread) + at(x, d, h);
            line.x_stride = x.stride;
            line.pixels = x.size[2];
            line.channels = stride;
            line.mean = row(mean);
            line.factor = row(factor);
            line.bias = plan.weights(normalization, 0, "bias");
            const Tensor& lines = before ? *before : y;
            line.output = plan.image(lines, n, thread) + at(lines, d, h);
            line.output_stride = y.stride;
            line.relu = is_relu(curve);
            plan.kernels.normalize(line);
            if (curve && !line.relu)
                plan.kernels.curve(*curve, line.output, plan.image(y, n, thread) + at(y, d, h), y.size[2] * y.stride);
        });
    }

    const Fused fused;
    const int normalization;
    const Node& settings;
    const Curve* const curve;        // of the fused activation, which is applied line by line
    const Tensor* before = nullptr;  // what goes into it, where its derivative looks at that
    Index stride = 0, rows = 0, sums = 0;
};

}  // namespace

std::unique_ptr<Operation> make_batch_norm(Plan& plan, const Fused& fused) {
    return std::make_unique<BatchNorm>(plan, fused);
}

}  // namespace tatami
