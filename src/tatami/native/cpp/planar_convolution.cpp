// A convolution with few filters of the network's input, plane by plane: vectors run over the pixels of a row (planes.hpp).
//
// With 6 filters a channels-last vector of 16 is mostly empty, in the products and in the activation behind them. Here the
// input's channels are bordered planes, as they come from outside, and so are the sums, two rows at a time; activation and
// pooling follow while these are in the first-level cache. Only the result is turned into pixels, for whoever reads it.
//
// Kept of an image while training: the input's planes, and what convolution_fused.cpp keeps, in planes. The way back turns dy into
// planes, row by row, spreads it over the windows and takes it through the activation, and the weight gradient reads both.
// Its sums stay apart for every lane and are added in the order of the lanes, after the chunks (`add_up`).
#include <algorithm>
#include <vector>

#include "planes_table.hpp"
#include "plan.hpp"

namespace tatami {

namespace {

Index whole(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

class PlanarConvolution : public Operation {
public:
    PlanarConvolution(Plan& owner, const Fused& with)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(with.first)].inputs[0], with.output),
          fused(with),
          convolution(with.first),
          settings(owner.engine.nodes()[static_cast<std::size_t>(convolution)]),
          curve(fused_curve(owner.engine, with) ? *fused_curve(owner.engine, with) : Curve{}),
          pool(with.pool >= 0),
          average(pool && owner.engine.nodes()[static_cast<std::size_t>(with.pool)].kind == Kind::average_pool),
          keeps_map(owner.trains() && (average || !pool)),
          kernels(*owner.kernels.planes),
          lanes(owner.kernels.lanes) {}

    std::string describe() const override {
        return std::string("convolution") + (settings.bias ? " + bias" : "") + describe_fused(plan.engine, fused) + ", in planes";
    }

    void prepare() override {
        const Shape& from = plan.engine.nodes()[static_cast<std::size_t>(input)].shape;
        const WindowSettings& w = settings.window;
        const Tensor& y = plan.value(node);
        filters = settings.shape.channels;
        rows = !pool ? 1 : y.size[1] * 2 <= settings.shape.size[1] ? 2 : 1;
        row = whole(settings.shape.size[2], lanes);
        pooled_row = pool ? whole(row / lanes, 2) / 2 * lanes : row;
        // The taps of the last vector end within the row, where zeros are.
        line = std::max(w.before[2] + from.size[2] + w.after[2], row + (w.kernel[2] - 1) * w.dilation[2]);
        input_plane = (w.before[1] + from.size[1] + w.after[1]) * line;
        planes.channels = planes.stride = multiply_sizes({from.channels, input_plane});
        planes.passing = plan.by_example();
        planes = plan.reserve_tensor(planes, !plan.trains());
        for (Index h = 0; h < w.kernel[1]; ++h)
            for (Index t = 0; t < w.kernel[2]; ++t)
                for (Index c = 0; c < from.channels; ++c)
                    offsets.push_back(c * input_plane + h * w.dilation[1] * line + t * w.dilation[2]);
        // Two rows of sums, one behind the other; and the whole map.
        for (Index r = 0; r < rows; ++r)
            for (Index v = 0; v < row; v += lanes) {
                strip_from.push_back(r * w.stride[1] * line + v);
                strip_to.push_back(r * row + v);
            }
        map_rows = y.size[1] * rows;
        for (Index h = 0; h < map_rows; ++h)
            for (Index v = 0; v < row; v += lanes) {
                map_from.push_back(h * w.stride[1] * line + v);
                map_to.push_back(h * row + v);
            }
        if (keeps_map) {
            map.channels = map.stride = multiply_sizes({filters, map_rows, row});
            map.passing = plan.by_example();
            map = plan.reserve_tensor(map, false);
        }
        strip = filters * rows * row;
        plan.need_scratch(strip + 2 * filters * pooled_row + (plan.trains() ? filters * map_rows * row : 0) + 4 * lanes);
        if (!plan.trains()) return;
        if (pool && !average) {
            before = reserve_before(&curve);
            code_image = filters * y.size[1] * pooled_row;
            code_base = plan.reserve_codes(code_image);
        }
        partial_weight = plan.reserve_partial(static_cast<Index>(offsets.size()) * filters * lanes);
        partial_bias = plan.reserve_partial(filters * lanes);
    }

    Index parts(Index wanted) const override {
        constexpr Index worthwhile = 400000;  // multiplications: twice what is worth it with half-empty vectors
        const Index work = settings.shape.count() * static_cast<Index>(offsets.size());
        return work >= worthwhile ? std::min(wanted, plan.value(node).size[1]) : 1;
    }

    void forward(Index n, int thread) override { forward_part(n, thread, thread, 0, 1); }

    void forward_part(Index n, int slot, int thread, Index part, Index parts) override {
        const Tensor& y = plan.value(node);
        const WindowSettings& w = settings.window;
        float* const image = plan.image(planes, n, thread);
        copy_input(n, image);
        float* const sums = plan.scratch(thread);
        float* const pooled = sums + strip;
        PlaneCorrelation job{};
        job.offsets = offsets.data();
        job.taps = static_cast<Index>(offsets.size());
        job.weight = plan.weights(convolution, 0, "weight");
        job.weight_stride = lanes;
        job.bias = plan.weights(convolution, 0, "bias");
        job.filters = filters;
        job.from = strip_from.data();
        job.to = strip_to.data();
        job.vectors = static_cast<Index>(strip_to.size());
        job.plane = keeps_map ? map_rows * row : rows * row;
        for (Index h = y.size[1] * part / parts; h < y.size[1] * (part + 1) / parts; ++h) {
            job.input = image + h * rows * w.stride[1] * line;
            job.output = keeps_map ? plan.image(map, n, thread) + h * rows * row : sums;
            kernels.correlate(job);
            float* const winners = before ? pooled + filters * pooled_row : nullptr;
            for (Index k = 0; k < filters; ++k) {
                float* const own = job.output + k * job.plane;
                float* const to = pooled + k * pooled_row;
                if (pool) {
                    PlanePair pair = pair_of(n, k, h, own, to);
                    pair.keep_activated = keeps_map && !slope_needs_input(curve);
                    if (winners) pair.winner = winners + k * pooled_row;
                    kernels.pool(pair);
                    continue;
                }
                plan.kernels.curve(curve, own, to, row);
                if (keeps_map && !slope_needs_input(curve)) std::copy_n(to, row, own);
            }
            turn_into_pixels(pooled, y, plan.image(y, n, slot), h);
            if (winners) turn_into_pixels(winners, *before, plan.image(*before, n, thread), h);
        }
    }

    void backward(Index n, int thread, Index chunk, bool first_image) override {
        const Tensor& dy = plan.gradient(node);
        float* const pooled = plan.scratch(thread) + strip;
        float* const gradient = pooled + 2 * filters * pooled_row;  // of the whole map
        if (pool && !average) through_activation(curve, before, n, thread, plan.image(dy, n, thread));
        std::fill_n(pooled, filters * pooled_row, 0.0f);  // behind the last pixel there is no gradient
        for (Index h = 0; h < dy.size[1]; ++h) {
            plan.kernels.transpose(plan.image(dy, n, thread) + dy.origin + h * dy.step[1], dy.step[2], pooled, pooled_row,
                                   dy.size[2], filters);
            for (Index k = 0; k < filters; ++k) {
                float* const kept = keeps_map ? plan.image(map, n, thread) + (k * map_rows + h * rows) * row : nullptr;
                float* const to = gradient + (k * map_rows + h * rows) * row;
                if (!pool) {
                    plan.kernels.curve_gradient(curve, kept, kept, pooled + k * pooled_row, to, row, false);
                    continue;
                }
                PlanePair pair = pair_of(n, k, h, kept ? kept : to, pooled + k * pooled_row);
                pair.gradient[0] = to;
                pair.gradient[1] = to + row;
                kernels.pool_gradient(pair);
            }
        }
        PlaneWeightGradient job{};
        job.input = plan.image(planes, n, thread);
        job.offsets = offsets.data();
        job.taps = static_cast<Index>(offsets.size());
        job.dy = gradient;
        job.plane = map_rows * row;
        job.filters = filters;
        job.from = map_from.data();
        job.to = map_to.data();
        job.vectors = static_cast<Index>(map_to.size());
        job.dweight = plan.partial(chunk) + partial_weight;
        job.dbias = plan.partial(chunk) + partial_bias;
        job.accumulate = !first_image;
        kernels.weight_gradient(job);
    }

    void add_up(Index used_chunks) override {
        float* const weight = plan.partial(0) + partial_weight;
        float* const bias = plan.partial(0) + partial_bias;
        const Index taps = static_cast<Index>(offsets.size());
        for (Index chunk = 1; chunk < used_chunks; ++chunk) {
            plan.kernels.add(plan.partial(chunk) + partial_weight, weight, taps * filters * lanes);
            plan.kernels.add(plan.partial(chunk) + partial_bias, bias, filters * lanes);
        }
        for (Index t = 0; t < taps; ++t) add_lanes(weight + t * filters * lanes, plan.weights(convolution, 1, "weight") + t * lanes);
        if (settings.bias) add_lanes(bias, plan.weights(convolution, 1, "bias"));
    }

private:
    // The image between its borders; these stay zero.
    void copy_input(Index n, float* to) const {
        const Shape& from = plan.engine.nodes()[static_cast<std::size_t>(input)].shape;
        const WindowSettings& w = settings.window;
        const float* image = plan.input() + n * from.count();
        for (Index c = 0; c < from.channels; ++c)
            for (Index h = 0; h < from.size[1]; ++h, image += from.size[2])
                std::copy_n(image, from.size[2], to + c * input_plane + (w.before[1] + h) * line + w.before[2]);
    }

    PlanePair pair_of(Index n, Index filter, Index h, float* first, float* pooled) const {
        PlanePair pair{};
        pair.curve = curve;
        pair.row[0] = first;
        pair.row[1] = rows == 2 ? first + row : nullptr;
        pair.vectors = row / lanes;
        pair.average = average;
        pair.pooled = pooled;
        if (plan.trains() && !average)
            pair.code = plan.codes(code_base, n, code_image) + (filter * plan.value(node).size[1] + h) * pooled_row;
        return pair;
    }

    void turn_into_pixels(const float* from, const Tensor& to, float* image, Index h) const {
        plan.kernels.transpose(from, pooled_row, image + to.origin + h * to.step[1], to.step[2], filters, to.size[2]);
    }

    void add_lanes(const float* sums, float* to) const {
        for (Index k = 0; k < filters; ++k) {
            float total = 0;
            for (Index lane = 0; lane < lanes; ++lane) total += sums[k * lanes + lane];
            to[k] = total;
        }
    }

    const Fused fused;
    const int convolution;
    const Node& settings;
    const Curve curve;
    const bool pool, average;
    const bool keeps_map;  // of y or of the sums, as slope_needs_input says
    const PlaneKernels& kernels;
    const Index lanes;
    const Tensor* before = nullptr;  // the winners' sums, where the derivative looks at them
    Tensor planes, map;
    Index filters = 0, rows = 1;            // rows of a window
    Index row = 0, pooled_row = 0;          // floats of a row in a plane
    Index line = 0, input_plane = 0;        // floats of a line and a plane of the input
    Index map_rows = 0, strip = 0;
    std::vector<Index> offsets;             // of every row of the weights
    std::vector<Index> strip_from, strip_to, map_from, map_to;
    Index code_base = 0, code_image = 0, partial_weight = 0, partial_bias = 0;
};

}  // namespace

bool planes_fit(const Plan& plan, const Fused& fused) {
    const Node& convolution = plan.engine.nodes()[static_cast<std::size_t>(fused.first)];
    const WindowSettings& w = convolution.window;
    // The input's gradient is asked for by inspection alone.
    if (convolution.inputs[0] != 0 || plan.mode == Mode::inspect || plan.engine.bf16()) return false;
    if (convolution.groups != 1 || fused.normalization >= 0 || convolution.shape.size[0] != 1) return false;
    if (w.kernel[0] != 1 || w.before[0] + w.after[0] != 0 || w.stride[2] != 1) return false;
    const Index lanes = plan.kernels.lanes, width = convolution.shape.size[2], filters = convolution.shape.channels;
    if (filters > lanes) return false;
    // Vectors of products for one row and tap; a quarter less pays for turning planes into pixels.
    return 4 * filters * ((width + lanes - 1) / lanes) <= 3 * width;
}

std::unique_ptr<Operation> make_planar_convolution(Plan& plan, const Fused& fused) {
    return std::make_unique<PlanarConvolution>(plan, fused);
}

}  // namespace tatami
