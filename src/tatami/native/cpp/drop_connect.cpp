// A dense layer that loses connections while training, in a plan.
//
//   y(n, u) = bias(u) + sum over features f of x(n, f) · v(u, f)        v = weight · factor, factor 0 or 1/(1 - ratio)
//   dweight(u, f) = factor(u, f) · sum over images n of x(n, f) · dy(n, u)        dx(n, f) = sum over units of dy(n, u) · v(u, f)
//
// The factors are drawn once for every mini-batch in the reference's order (units, features), so in every step v is written
// anew, for both products: features by panels of units and units by panels of features. From there on it is a dense layer:
// a batch stage, cut into tiles of images × panel that one thread computes each; see correlate.hpp and weight_gradient.hpp.
// Weights are kept in the reference's order, in which their factors are drawn. At prediction v = weight, image by image.
#include <cmath>

#include "checks.hpp"
#include "random_stream.hpp"
#include "simple.hpp"

namespace tatami {

namespace {

class DropConnect : public Simple {
public:
    using Simple::Simple;
    bool by_image() const override { return plan.mode == Mode::predict; }
    std::string describe() const override { return std::string("dense with dropped connections") + (settings.bias ? " + bias" : ""); }

    void prepare() override {
        features = node_of(plan, input).shape.channels;
        units = settings.shape.channels;
        panel = 2 * plan.kernels.lanes;
        by_units = plan.reserve(multiply_sizes({features, round_up(units, panel)}));
        if (plan.trains()) {
            by_features = plan.reserve(multiply_sizes({units, round_up(features, panel)}));
            factors = plan.reserve(multiply_sizes({units, features}));
            products = plan.reserve(multiply_sizes({features, round_up(units, panel)}));
        }
        plan.need_scratch(std::max(features, panel));
    }

    void pack() override {
        if (plan.trains()) return;  // every step draws its own connections
        for (Index u = 0; u < units; ++u) lay_out(u, plan.weights(node, 0, "weight") + u * features);
    }

    void forward(Index n, int thread) override {
        for (Index first = 0; first < units; first += panel) multiply(first, n, 1, thread);
    }

    void forward_batch() override {
        parallel_for(plan.running_threads(), units, 8, [&](Index u, int thread) { draw(u, plan.scratch(thread)); });
        const Index blocks = (plan.batch() + block - 1) / block, panels = (units + panel - 1) / panel;
        parallel_for(plan.running_threads(), blocks * panels, 1, [&](Index task, int) {
            const Index n = task / panels * block;
            multiply(task % panels * panel, n, std::min(block, plan.batch() - n), 0);
        });
    }

    void backward_batch() override {
        const Index panels = (units + panel - 1) / panel;
        parallel_for(plan.running_threads(), panels, 1, [&](Index p, int thread) { sum_gradient(p * panel, plan.scratch(thread)); });
        float* const gradient = plan.weights(node, 1, "weight");
        parallel_for(plan.running_threads(), units, 8, [&](Index u, int) {
            const Index first = u / panel * panel, width = width_of(units - first);
            const float* const from = plan.arena() + products + first * features + (u - first);
            const float* const factor = plan.arena() + factors + u * features;
            for (Index f = 0; f < features; ++f) gradient[u * features + f] = factor[f] * from[f * width];
        });
        if (!wants_input_gradient) return;
        const Index blocks = (plan.batch() + block - 1) / block, parts = (features + panel - 1) / panel;
        parallel_for(plan.running_threads(), blocks * parts, 1, [&](Index task, int) {
            const Index n = task / parts * block;
            hand_back(task % parts * panel, n, std::min(block, plan.batch() - n));
        });
    }

private:
    static constexpr Index block = 64;  // images of a tile

    // Floats of a panel's row: one vector where so few are left.
    Index width_of(Index left) const { return left > plan.kernels.lanes ? panel : plan.kernels.lanes; }

    void draw(Index u, float* row) const {
        const float* const weight = plan.weights(node, 0, "weight") + u * features;
        float* const factor = plan.arena() + factors + u * features;
        if (plan.training() && settings.ratio > 0.0) {
            const Stream stream(plan.key(), settings.stream);
            const auto threshold = static_cast<std::uint32_t>(std::nearbyint(settings.ratio * 16777216.0));
            plan.kernels.keep_mask(stream.words, stream.counter, u * features, features, threshold,
                                   static_cast<float>(1.0 / (1.0 - settings.ratio)), factor);
        } else {
            std::fill_n(factor, features, 1.0f);
        }
        plan.kernels.multiply(weight, factor, row, features, false);
        lay_out(u, row);
        for (Index f = 0; f < features; f += panel) {
            const Index width = width_of(features - f);
            std::copy_n(row + f, std::min(panel, features - f), plan.arena() + by_features + f * units + u * width);
        }
    }

    // One unit's weights into their column of its panel.
    void lay_out(Index u, const float* row) const {
        const Index first = u / panel * panel, width = width_of(units - first);
        float* const to = plan.arena() + by_units + first * features + (u - first);
        for (Index f = 0; f < features; ++f) to[f * width] = row[f];
    }

    void multiply(Index first, Index n, Index images, int thread) const {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        const Segment whole{0, features};
        CorrelateRow row{};
        row.input = input_image(n, thread) + x.origin;
        row.input_stride = x.image;
        row.segments = &whole;
        row.segment_count = 1;
        row.weight = plan.arena() + by_units + first * features;
        row.bias = plan.weights(node, 0, "bias") + first;
        row.output = output_image(n, thread) + y.origin + first;
        row.output_stride = y.image;
        row.pixels = images;
        row.vectors = width_of(units - first) == panel ? 2 : 1;
        row.columns = static_cast<int>(std::min(panel, units - first));
        plan.kernels.correlate(row);
    }

    void sum_gradient(Index first, float* sums) const {
        const Tensor& x = plan.value(input);
        const Tensor& dy = plan.gradient(node);
        WeightGradient job{};
        job.input = input_image(0, 0) + x.origin;
        job.input_stride = x.image;
        job.dy = dy_image(0, 0) + dy.origin + first;
        job.dy_stride = dy.image;
        job.pixels = plan.batch();
        job.lines = 1;
        job.rows = features;
        job.dweight = plan.arena() + products + first * features;
        job.vectors = width_of(units - first) == panel ? 2 : 1;
        job.columns = static_cast<int>(std::min(panel, units - first));
        plan.kernels.weight_gradient(job);
        if (!settings.bias) return;
        plan.kernels.column_sums(job.dy, dy.image, 0, plan.batch(), 1, job.vectors * plan.kernels.lanes, sums, false);
        std::copy_n(sums, job.columns, plan.weights(node, 1, "bias") + first);
    }

    void hand_back(Index first, Index n, Index images) const {
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        const Segment whole{0, units};
        CorrelateRow row{};
        row.input = dy_image(n, 0) + dy.origin;
        row.input_stride = dy.image;
        row.segments = &whole;
        row.segment_count = 1;
        row.weight = plan.arena() + by_features + first * units;
        row.output = dx_image(n, 0) + dx.origin + first;
        row.output_stride = dx.image;
        row.pixels = images;
        row.vectors = width_of(features - first) == panel ? 2 : 1;
        row.columns = static_cast<int>(std::min(panel, features - first));
        row.accumulate = accumulate_input;
        plan.kernels.correlate(row);
    }

    Index features = 0, units = 0, panel = 0, by_units = 0, by_features = 0, factors = 0, products = 0;
};

}  // namespace

std::unique_ptr<Operation> make_drop_connect(Plan& plan, int node) { return std::make_unique<DropConnect>(plan, node); }

}  // namespace tatami
