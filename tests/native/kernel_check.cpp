// The kernels against plain loops, in a program of its own: for processors on which there is no Python to run the tests with.
//
//     make test-arm       compiles it for aarch64 and runs it under QEMU
//     kernel_check        run natively, checks the kernels of the machine that it was compiled on
//
// Networks of one or two layers run a training step on the engine; the loops below compute the same from the definition in
// double precision. Data are small whole numbers, so that every sum is exact and results are compared for equality, bf16
// included (whole numbers up to 256 are bf16 numbers). Targets lie close to the outputs, which keeps gradients small too.
// Winograd's 4×4 tiles alone have thirds in their weights, which no float holds: where a plan says that it uses Winograd's
// way, all but the output while training is held to 1e-6 of the largest sum of magnitudes.
// Activations are compared with the functions of <cmath>, to 1e-6 of their value.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../../src/tatami/native/cpp/engine.hpp"

using namespace tatami;

namespace {

int failures = 0;

void require(bool condition, const std::string& what) {
    if (condition) return;
    ++failures;
    std::fprintf(stderr, "wrong: %s\n", what.c_str());
}

// Whole numbers from -limit to limit.
class Draws {
public:
    explicit Draws(std::uint64_t seed) : state(seed * 2654435761u + 1) {}
    int number(int limit) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<int>((state >> 33) % static_cast<std::uint64_t>(2 * limit + 1)) - limit;
    }
    std::vector<float> numbers(Index count, int limit) {
        std::vector<float> drawn(static_cast<std::size_t>(count));
        for (float& value : drawn) value = static_cast<float>(number(limit));
        return drawn;
    }

private:
    std::uint64_t state;
};

struct Case {
    Index batch, channels, height, width;
    Index filters, kernel, stride, before, after, dilation, groups;
    bool relu, pool;
};

// Inputs of one line are signals: their windows and poolings have one line, too.
bool is_signal(const Case& c) { return c.height == 1; }
Index window_lines(const Case& c) { return is_signal(c) ? 1 : c.kernel; }
Index pool_lines(const Case& c) { return is_signal(c) ? 1 : 2; }

std::string text(const Case& c, const std::string& where) {
    return where + ": batch " + std::to_string(c.batch) + ", input " + std::to_string(c.channels) + "x" + std::to_string(c.height) +
           "x" + std::to_string(c.width) + ", " + std::to_string(c.filters) + " filters " + std::to_string(c.kernel) + ", stride " +
           std::to_string(c.stride) + ", padding " + std::to_string(c.before) + "+" + std::to_string(c.after) + ", dilation " +
           std::to_string(c.dilation) + ", groups " + std::to_string(c.groups) + (c.relu ? ", ReLU" : "") + (c.pool ? ", pool" : "");
}

using Numbers = std::vector<double>;

// The convolution, or its two gradients, by the definition: visit(output, input, weight) for every product.
template <typename Visit>
void for_each_product(const Case& c, Index height, Index width, Visit visit) {
    const Index group_filters = c.filters / c.groups, group_channels = c.channels / c.groups;
    for (Index n = 0; n < c.batch; ++n)
        for (Index k = 0; k < c.filters; ++k)
            for (Index y = 0; y < height; ++y)
                for (Index x = 0; x < width; ++x)
                    for (Index g = 0; g < group_channels; ++g)
                        for (Index i = 0; i < window_lines(c); ++i)
                            for (Index j = 0; j < c.kernel; ++j) {
                                const Index row = is_signal(c) ? 0 : y * c.stride + i * c.dilation - c.before;
                                const Index column = x * c.stride + j * c.dilation - c.before;
                                if (row < 0 || row >= c.height || column < 0 || column >= c.width) continue;
                                const Index channel = k / group_filters * group_channels + g;
                                visit(((n * c.filters + k) * height + y) * width + x,
                                      ((n * c.channels + channel) * c.height + row) * c.width + column,
                                      ((k * group_channels + g) * window_lines(c) + i) * c.kernel + j);
                            }
}

bool uses_winograd(Engine& engine, Mode mode, Index batch) {
    for (const std::string& line : engine.describe(mode, batch))
        if (line.find("Winograd") != std::string::npos) return true;
    return false;
}

double largest(const Numbers& values) {
    double most = 0;
    for (const double value : values) most = std::max(most, value);
    return most;
}

void same(const Numbers& expected, const std::vector<float>& came, const std::string& what, double allowed = 0) {
    for (std::size_t i = 0; i < came.size(); ++i)
        if (!(std::abs(static_cast<double>(came[i]) - expected[i]) <= allowed)) {
            require(false, what + ": number " + std::to_string(i) + " is " + std::to_string(came[i]) + " instead of " +
                               std::to_string(expected[i]));
            return;
        }
}

// A convolution in front of a 1×1 one, so that the first one's output gradient and the second one's input gradient count too.
void check_convolution(const Kernels& kernels, const Case& c, int products, int threads, std::uint64_t seed) {
    const std::string where = text(c, std::string(kernels.name) + (products != 0 ? " bf16" : ""));
    Draws draws(seed);
    Engine engine(kernels, threads, products);
    const int input = engine.add_input({c.channels, {1, c.height, c.width}, false});
    WindowSettings window;
    window.kernel = {1, window_lines(c), c.kernel};
    window.stride = {1, c.stride, c.stride};
    window.before = {0, is_signal(c) ? 0 : c.before, c.before};
    window.after = {0, is_signal(c) ? 0 : c.after, c.after};
    window.dilation = {1, c.dilation, c.dilation};
    const int convolution = engine.add_convolution(input, c.filters, window, c.groups, true);
    int last = convolution;
    if (c.relu) last = engine.add_activation(last, {Activation::relu, 0, 0});
    if (c.pool) {
        WindowSettings pair;
        pair.kernel = pair.stride = {1, pool_lines(c), 2};
        last = engine.add_pool(last, Kind::max_pool, pair, false, 2, true, false);
    }
    engine.finish({});
    const Shape& map = engine.nodes()[static_cast<std::size_t>(convolution)].shape;
    const Shape& result = engine.nodes()[static_cast<std::size_t>(last)].shape;
    const Index height = map.size[1], width = map.size[2];

    const std::vector<float> x = draws.numbers(c.batch * c.channels * c.height * c.width, 3);
    const std::vector<float> weight = draws.numbers(c.filters * (c.channels / c.groups) * window_lines(c) * c.kernel, 2);
    const std::vector<float> bias = draws.numbers(c.filters, 5);
    engine.set_parameter(engine.parameter_index(convolution, "weight"), 0, weight);
    engine.set_parameter(engine.parameter_index(convolution, "bias"), 0, bias);

    // Forward.
    Numbers y(static_cast<std::size_t>(c.batch * map.count()));
    for (std::size_t i = 0; i < y.size(); ++i)
        y[i] = static_cast<double>(bias[i / static_cast<std::size_t>(height * width) % static_cast<std::size_t>(c.filters)]);
    for_each_product(c, height, width, [&](Index to, Index from, Index by) {
        y[static_cast<std::size_t>(to)] += static_cast<double>(x[static_cast<std::size_t>(from)]) * static_cast<double>(weight[static_cast<std::size_t>(by)]);
    });
    Numbers y_size(y.size(), 0.0), dweight_size(weight.size(), 0.0), dx_size(x.size(), 0.0);
    Numbers output = y;
    if (c.relu)
        for (double& value : output) value = value > 0 ? value : 0;
    std::vector<std::size_t> winner(static_cast<std::size_t>(c.batch * result.count()));
    if (c.pool) {
        Numbers pooled(winner.size());
        std::size_t at = 0;
        for (Index map_number = 0; map_number < c.batch * c.filters; ++map_number)
            for (Index i = 0; i < result.size[1]; ++i)
                for (Index j = 0; j < result.size[2]; ++j, ++at) {
                    const Index upper = map_number * height + pool_lines(c) * i;
                    winner[at] = static_cast<std::size_t>(upper * width + 2 * j);
                    for (Index tap = 1; tap < 2 * pool_lines(c); ++tap) {
                        const auto other = static_cast<std::size_t>((upper + tap / 2) * width + 2 * j + tap % 2);
                        if (output[other] > output[winner[at]]) winner[at] = other;
                    }
                    pooled[at] = output[winner[at]];
                }
        output = pooled;
    }
    // Targets near the output: the gradients are small whole numbers.
    std::vector<float> target(output.size()), predicted(output.size()), trained(output.size());
    Numbers doutput(output.size());
    for (std::size_t i = 0; i < output.size(); ++i) {
        doutput[i] = draws.number(2);
        target[i] = static_cast<float>(output[i] - doutput[i]);
    }
    Numbers dy(y.size(), 0.0);
    for (std::size_t i = 0; i < output.size(); ++i) dy[c.pool ? winner[i] : i] = doutput[i];
    if (c.relu)
        for (std::size_t i = 0; i < y.size(); ++i) dy[i] = y[i] > 0 ? dy[i] : 0;
    Numbers dweight(weight.size(), 0.0), dbias(bias.size(), 0.0), dx(x.size(), 0.0);
    for_each_product(c, height, width, [&](Index to, Index from, Index by) {
        dweight[static_cast<std::size_t>(by)] += dy[static_cast<std::size_t>(to)] * static_cast<double>(x[static_cast<std::size_t>(from)]);
        dx[static_cast<std::size_t>(from)] += dy[static_cast<std::size_t>(to)] * static_cast<double>(weight[static_cast<std::size_t>(by)]);
        const double left = std::abs(static_cast<double>(x[static_cast<std::size_t>(from)]));
        const double right = std::abs(static_cast<double>(weight[static_cast<std::size_t>(by)]));
        const double given = std::abs(dy[static_cast<std::size_t>(to)]);
        y_size[static_cast<std::size_t>(to)] += left * right;
        dweight_size[static_cast<std::size_t>(by)] += given * left;
        dx_size[static_cast<std::size_t>(from)] += given * right;
    });
    for (std::size_t i = 0; i < dy.size(); ++i)
        dbias[i / static_cast<std::size_t>(height * width) % bias.size()] += dy[i];

    const auto rounding = [&](Mode mode, const Numbers& sizes) {
        return uses_winograd(engine, mode, c.batch) ? 1e-6 * largest(sizes) : 0.0;
    };
    engine.predict(x.data(), c.batch, predicted.data());
    same(output, predicted, where + ": prediction", rounding(Mode::predict, y_size));
    engine.train_step(x.data(), c.batch, nullptr, target.data(), 1.0f, {}, 0.0, false, trained.data());
    same(output, trained, where + ": output while training");
    std::vector<float> came_weight(weight.size()), came_bias(bias.size()), came_x(x.size());
    engine.get_parameter(engine.parameter_index(convolution, "weight"), 1, came_weight);
    engine.get_parameter(engine.parameter_index(convolution, "bias"), 1, came_bias);
    same(dweight, came_weight, where + ": weight gradient", rounding(Mode::train, dweight_size));
    same(dbias, came_bias, where + ": bias gradient");

    // Everything kept: nothing is fused, and the input's gradient is computed.
    engine.start(Mode::inspect, x.data(), c.batch, {}, true);
    const int stages = engine.stage_count(Mode::inspect, c.batch);
    engine.run_forward(0, stages);
    engine.run_loss(nullptr, target.data(), 1.0f);
    engine.run_backward(0, stages);
    engine.read_gradient(input, came_x.data());
    same(dx, came_x, where + ": input gradient", rounding(Mode::inspect, dx_size));
    engine.get_parameter(engine.parameter_index(convolution, "weight"), 1, came_weight);
    same(dweight, came_weight, where + ": weight gradient, everything kept", rounding(Mode::inspect, dweight_size));
}

void check_dense(const Kernels& kernels, Index batch, Index features, Index units, int products, int threads) {
    const std::string where = std::string(kernels.name) + (products != 0 ? " bf16" : "") + ": dense " + std::to_string(batch) + "x" +
                              std::to_string(features) + "x" + std::to_string(units);
    Draws draws(static_cast<std::uint64_t>(features * 1000 + units));
    Engine engine(kernels, threads, products);
    const int dense = engine.add_dense(engine.add_input({features, {1, 1, 1}, true}), units, true);
    engine.finish({});
    const std::vector<float> x = draws.numbers(batch * features, 3), weight = draws.numbers(units * features, 2);
    const std::vector<float> bias = draws.numbers(units, 5);
    engine.set_parameter(engine.parameter_index(dense, "weight"), 0, weight);
    engine.set_parameter(engine.parameter_index(dense, "bias"), 0, bias);
    Numbers y(static_cast<std::size_t>(batch * units)), dweight(weight.size(), 0.0), dbias(bias.size(), 0.0);
    std::vector<float> target(y.size()), output(y.size());
    for (Index n = 0; n < batch; ++n)
        for (Index k = 0; k < units; ++k) {
            const auto at = static_cast<std::size_t>(n * units + k);
            const double dy = draws.number(2);
            y[at] = static_cast<double>(bias[static_cast<std::size_t>(k)]);
            for (Index f = 0; f < features; ++f) {
                const double value = static_cast<double>(x[static_cast<std::size_t>(n * features + f)]);
                y[at] += value * static_cast<double>(weight[static_cast<std::size_t>(k * features + f)]);
                dweight[static_cast<std::size_t>(k * features + f)] += dy * value;
            }
            dbias[static_cast<std::size_t>(k)] += dy;
            target[at] = static_cast<float>(y[at] - dy);
        }
    engine.train_step(x.data(), batch, nullptr, target.data(), 1.0f, {}, 0.0, false, output.data());
    same(y, output, where + ": output");
    std::vector<float> came_weight(weight.size()), came_bias(bias.size());
    engine.get_parameter(engine.parameter_index(dense, "weight"), 1, came_weight);
    engine.get_parameter(engine.parameter_index(dense, "bias"), 1, came_bias);
    same(dweight, came_weight, where + ": weight gradient");
    same(dbias, came_bias, where + ": bias gradient");
}

template <typename Function>
void check_activation(const Kernels& kernels, const Curve& settings, const char* name, Function function) {
    std::vector<float> x, y(401);
    for (int i = -200; i <= 200; ++i) x.push_back(static_cast<float>(i) * 0.05f);
    kernels.curve(settings, x.data(), y.data(), static_cast<Index>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = function(static_cast<double>(x[i])), error = std::abs(static_cast<double>(y[i]) - expected);
        if (error > 1e-6 * (1 + std::abs(static_cast<double>(x[i]))) * std::abs(expected) + 1e-30) {
            require(false, std::string(kernels.name) + ": " + name + " of " + std::to_string(x[i]));
            return;
        }
    }
}

void check_all(const Kernels& kernels) {
    // batch, channels, height, width, filters, kernel, stride, before, after, dilation, groups, ReLU, pool
    const Case cases[] = {
        {3, 1, 9, 8, 5, 3, 1, 1, 1, 1, 1, true, true},     {2, 3, 7, 11, 17, 3, 1, 1, 1, 1, 1, true, false},
        {5, 4, 6, 6, 8, 2, 2, 0, 0, 1, 1, false, false},   {2, 16, 8, 8, 16, 3, 1, 1, 1, 1, 1, true, true},
        {2, 33, 7, 5, 18, 3, 1, 1, 1, 1, 1, false, false}, {3, 6, 9, 9, 9, 3, 2, 1, 2, 1, 3, true, false},
        {2, 7, 8, 9, 7, 3, 1, 1, 1, 1, 7, true, false},    {2, 16, 8, 9, 16, 3, 2, 0, 1, 2, 16, false, false},
        {17, 2, 5, 5, 4, 5, 1, 2, 2, 1, 1, true, true},    {2, 5, 10, 10, 3, 3, 1, 2, 2, 2, 1, false, false},
        {2, 8, 6, 6, 12, 6, 1, 0, 0, 1, 1, true, false},   {4, 20, 12, 12, 40, 3, 1, 1, 1, 1, 1, true, true},
        {3, 2, 1, 21, 9, 5, 1, 2, 2, 1, 1, true, true},    {2, 16, 1, 15, 17, 3, 1, 1, 1, 1, 1, true, false},
        {2, 17, 1, 20, 33, 5, 1, 2, 1, 1, 1, true, true},  {2, 18, 1, 13, 16, 7, 1, 0, 3, 1, 1, false, false},
        {1, 33, 1, 12, 70, 4, 1, 1, 2, 1, 1, true, true},  {2, 1, 60, 90, 6, 5, 1, 2, 2, 1, 1, true, true},
    };
    std::uint64_t seed = 1;
    for (const Case& c : cases)
        for (int products : {0, 1})
            for (int threads : {1, 3}) check_convolution(kernels, c, products, threads, seed++);
    for (Index features : {1, 7, 33, 130})
        for (Index units : {1, 5, 16, 35})
            for (int products : {0, 1}) check_dense(kernels, 9, features, units, products, 2);
    const auto logistic = [](double v) { return 1 / (1 + std::exp(-v)); };
    check_activation(kernels, {Activation::sigmoid, 0, 0}, "sigmoid", logistic);
    check_activation(kernels, {Activation::tanh, 0, 0}, "tanh", [](double v) { return std::tanh(v); });
    check_activation(kernels, {Activation::elu, 1, 1}, "ELU", [](double v) { return v > 0 ? v : std::expm1(v); });
    check_activation(kernels, {Activation::softplus, 0, 0}, "softplus",
                     [](double v) { return v > 0 ? v + std::log1p(std::exp(-v)) : std::log1p(std::exp(v)); });
    check_activation(kernels, {Activation::swish, 1, 0}, "Swish", [&](double v) { return v * logistic(v); });
    check_activation(kernels, {Activation::gelu, 0, 0}, "GELU", [](double v) { return v * 0.5 * std::erfc(-v / std::sqrt(2.0)); });
}

}  // namespace

int main() {
    check_all(*baseline_kernels());
    if (failures == 0) std::printf("the %s kernels, %d numbers wide, agree with plain loops\n", baseline_kernels()->name, baseline_kernels()->lanes);
    return failures == 0 ? 0 : 1;
}
