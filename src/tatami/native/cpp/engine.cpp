// The description of a network, checked number by number, its parameters in the kernels' layout, and the optimiser's step.
//
// Weights stand panel by panel (two vectors of filters side by side), within a panel row by row, one row for every float
// that a window sees, so that the inner loop of a product reads them from the first to the last. A parameter's gradient and
// the optimiser's slots lie at the same offset of arrays of their own. The update runs in pieces of 4,096 floats, which stay
// in the first cache while five arrays are read and written. See engine.hpp for how the work is split.
#include "engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "checks.hpp"
#include "plan.hpp"

namespace tatami {

namespace {

constexpr std::size_t largest_network = 10000;    // nodes

Size output_size(const Size& size, const WindowSettings& window) {
    Size result{};
    for (int axis = 0; axis < 3; ++axis) {
        check_axis(window.kernel[axis], "kernel");
        check_axis(window.stride[axis], "stride");
        check_axis(window.dilation[axis], "dilation");
        require(window.before[axis] >= 0 && window.before[axis] <= largest_size && window.after[axis] >= 0 &&
                    window.after[axis] <= largest_size,
                "padding must be from 0 to 1048576");
        const Index extent = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
        const Index padded = size[axis] + window.before[axis] + window.after[axis];
        require(extent <= padded, "the window is larger than the padded input: " + std::to_string(extent) + " > " +
                                      std::to_string(padded));
        result[axis] = (padded - extent) / window.stride[axis] + 1;
    }
    return result;
}

}  // namespace

Index multiply_sizes(std::initializer_list<Index> sizes) {
    Index product = 1;
    for (Index size : sizes) {
        if (size < 0 || (size > 0 && product > largest_count / size))
            throw DescriptionError("a tensor of this network has more than 2^40 numbers");
        product *= size;
    }
    return product;
}

float* allocate_floats(Index count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float) + 4096;
    void* const memory = ::operator new(bytes, std::align_val_t{64});
    std::memset(memory, 0, bytes);
    return static_cast<float*>(memory);
}

void free_floats(float* memory) { ::operator delete(memory, std::align_val_t{64}); }

void Engine::Free::operator()(float* memory) const { free_floats(memory); }

Engine::Engine(const Kernels& kernels, int threads, int products) : kernels_(kernels), threads_(threads), products_(products) {
    require(products == 0 || products == 1 || products == 3, "products must be 0 (float32), 1 (bf16) or 3 (bf16 three times)");
    require(products != 3 || kernels.tiles != nullptr, "three products of bf16 for one of floats need tile registers");
    require(threads >= 0 && threads <= 256, "threads must be from 0 (automatic) to 256");
}

Engine::~Engine() = default;

const Node& Engine::checked(int node) const {
    require(node >= 0 && node < static_cast<int>(nodes_.size()), "no node " + std::to_string(node));
    return nodes_[static_cast<std::size_t>(node)];
}

void Engine::require_open() const {
    require(!finished_, "the network is finished; describe another one in a new engine");
    require(nodes_.size() < largest_network, "too many nodes");
}

int Engine::append(Node node) {
    require_open();
    require(!nodes_.empty() || node.kind == Kind::input, "the first node must be the input");
    check_shape(node.shape);
    nodes_.push_back(std::move(node));
    return static_cast<int>(nodes_.size()) - 1;
}

int Engine::add_input(const Shape& shape) {
    require(nodes_.empty(), "a network has one input");
    Node node;
    node.shape = shape;
    return append(node);
}

int Engine::add_convolution(int input, Index filters, const WindowSettings& window, Index groups, bool bias) {
    const Shape& from = checked(input).shape;
    require(!from.flat, "a convolution needs an input with positions");
    check_axis(filters, "filters");
    check_axis(groups, "groups");
    require(from.channels % groups == 0 && filters % groups == 0, "groups must divide channels and filters");
    Node node;
    node.kind = Kind::convolution;
    node.inputs = {input};
    node.window = window;
    node.groups = groups;
    node.bias = bias;
    node.shape = {filters, output_size(from.size, window), false};
    multiply_sizes({filters, from.channels / groups, window.kernel[0], window.kernel[1], window.kernel[2]});
    return append(node);
}

int Engine::add_dense(int input, Index units, bool bias) {
    const Shape& from = checked(input).shape;
    require(from.flat, "a dense layer needs a flat input");
    check_axis(units, "units");
    Node node;
    node.kind = Kind::dense;
    node.inputs = {input};
    node.bias = bias;
    node.shape = {units, {1, 1, 1}, true};
    multiply_sizes({units, from.channels});
    return append(node);
}

int Engine::add_pool(int input, Kind kind, const WindowSettings& window, bool count_padding, float exponent, bool normalise,
                     bool global, Ties ties) {
    const Shape& from = checked(input).shape;
    require(!from.flat, "a pooling needs an input with positions");
    Node node;
    node.kind = kind;
    node.inputs = {input};
    node.window = window;
    if (global) {
        node.window = WindowSettings{};
        node.window.kernel = from.size;
        node.window.stride = from.size;
    }
    multiply_sizes({node.window.kernel[0], node.window.kernel[1], node.window.kernel[2], 2048});  // taps fit into 31 bits
    node.shape = {from.channels, output_size(from.size, node.window), global};
    for (int axis = 0; axis < 3; ++axis)
        for (Index position = 0; position < node.shape.size[axis]; ++position) {
            const Index start = position * node.window.stride[axis] - node.window.before[axis];
            const Index gap = node.window.dilation[axis], first = start < 0 ? (gap - 1 - start) / gap : 0;
            require(first < node.window.kernel[axis] && start + first * gap < from.size[axis],
                    "a pooling window sees only padding");
        }
    require(std::isfinite(exponent) && exponent >= 1.0f, "the exponent must be a finite number of at least 1");
    node.ties = ties;
    node.count_padding = count_padding;
    node.exponent = exponent;
    node.normalise = normalise;
    return append(node);
}

int Engine::add_activation(int input, const Curve& curve) {
    require(std::isfinite(curve.first) && std::isfinite(curve.second), "the settings of an activation must be finite");
    Node node;
    node.shape = checked(input).shape;
    node.kind = Kind::activation;
    node.inputs = {input};
    node.curve = curve;
    return append(node);
}

int Engine::add_softmax(int input) {
    Node node;
    node.shape = checked(input).shape;
    node.kind = Kind::softmax;
    node.inputs = {input};
    return append(node);
}

int Engine::add_flatten(int input) {
    const Shape& from = checked(input).shape;
    Node node;
    node.kind = Kind::flatten;
    node.inputs = {input};
    node.shape = {from.count(), {1, 1, 1}, true};
    return append(node);
}

int Engine::add_batch_norm(int input, double momentum, double epsilon, bool affine, bool bias) {
    require(momentum >= 0.0 && momentum <= 1.0, "the momentum must be from 0 to 1");
    require(std::isfinite(epsilon) && epsilon > 0.0, "epsilon must be above 0");
    Node node;
    node.shape = checked(input).shape;
    node.kind = Kind::batch_norm;
    node.inputs = {input};
    require(affine || !bias, "a bias needs a scale");
    node.momentum = momentum;
    node.epsilon = epsilon;
    node.affine = affine;
    node.bias = bias;
    return append(node);
}

int Engine::add_interleave(int input, const Size& size, const Size& stride, const Size& before, Index groups, bool bias) {
    const Shape& from = checked(input).shape;
    require(!from.flat, "maps are put together of an input with positions");
    for (int axis = 0; axis < 3; ++axis) {
        check_axis(size[axis], "size");
        check_axis(stride[axis], "stride");
        require(before[axis] >= 0 && before[axis] <= largest_size, "padding must be from 0 to 1048576");
    }
    check_axis(groups, "groups");
    const Index phases = multiply_sizes({stride[0], stride[1], stride[2]});
    require(from.channels % phases == 0 && from.channels / phases % groups == 0,
            "the channels must be phases times groups times channels of a group");
    Node node;
    node.kind = Kind::interleave;
    node.inputs = {input};
    node.window.stride = stride;
    node.window.before = before;
    node.groups = groups;
    node.bias = bias;
    node.shape = {from.channels / phases, size, false};
    return append(node);
}

int Engine::add_recurrent(const std::vector<int>& inputs, Cell cell, Index units, bool every_step, bool reverse,
                          Index truncate) {
    require(inputs.size() == 1 || inputs.size() == 2, "a recurrent layer takes a sequence and perhaps its mask");
    const Shape& from = checked(inputs[0]).shape;
    require(!from.flat && from.size[0] == 1 && from.size[1] == 1, "a recurrent layer needs a sequence (features, time)");
    const Index time = from.size[2];
    if (inputs.size() == 2) {
        const Shape& mask = checked(inputs[1]).shape;
        require(mask.flat && mask.channels == time, "the mask of a sequence has one number for each of its " +
                                                        std::to_string(time) + " steps");
    }
    require(cell >= Cell::rnn_tanh && cell <= Cell::gru, "the cell must be from 0 to 3");
    check_axis(units, "units");
    require(truncate >= 0 && truncate <= largest_size, "truncate must be from 0 (never) to 1048576");
    multiply_sizes({units, units + from.channels, 64});     // packed weights, with their padding
    multiply_sizes({time, 8 * units + from.channels, 64});  // what is kept of an image
    Node node;
    node.kind = Kind::recurrent;
    node.inputs = inputs;
    node.cell = cell;
    node.every_step = every_step;
    node.reverse = reverse;
    node.truncate = truncate;
    if (every_step)
        node.shape = {units, {1, 1, time}, false};
    else
        node.shape = {units, {1, 1, 1}, true};
    return append(node);
}

int Engine::add_local_response(int input, Index neighbours, float alpha, float beta, float constant) {
    check_axis(neighbours, "neighbours");
    require(std::isfinite(alpha) && alpha >= 0 && std::isfinite(beta) && std::isfinite(constant) && constant > 0,
            "alpha must be at least 0, k above 0, and beta finite");
    Node node;
    node.shape = checked(input).shape;
    node.kind = Kind::local_response;
    node.inputs = {input};
    node.neighbours = neighbours;
    node.alpha = alpha;
    node.beta = beta;
    node.constant = constant;
    return append(node);
}

int Engine::add_reshape(int input, const Shape& shape) {
    check_shape(shape);
    require(checked(input).shape.count() == shape.count(), "both shapes must have as many numbers");
    Node node;
    node.kind = Kind::reshape;
    node.inputs = {input};
    node.shape = shape;
    return append(node);
}

int Engine::add_product(const std::vector<int>& inputs) {
    const int number = add_merge(inputs, false);
    nodes_.back().kind = Kind::multiply;
    return number;
}

int Engine::add_merge(const std::vector<int>& inputs, bool concatenate) {
    require(inputs.size() >= 2 && inputs.size() <= 10000, "a merge joins two or more inputs");
    Node node;
    node.kind = concatenate ? Kind::concatenate : Kind::add;
    node.inputs = inputs;
    node.shape = checked(inputs[0]).shape;
    for (std::size_t i = 1; i < inputs.size(); ++i) {
        const Shape& shape = checked(inputs[i]).shape;
        require(shape.size == node.shape.size && shape.flat == node.shape.flat, "merged shapes must agree");
        if (concatenate)
            node.shape.channels += shape.channels;
        else
            require(shape.channels == node.shape.channels, "added shapes must agree");
    }
    return append(node);
}

int Engine::add_external(const std::vector<int>& inputs, const Shape& shape, const std::vector<Index>& parameter_sizes) {
    require(!inputs.empty(), "an external node has inputs");
    for (int input : inputs) checked(input);
    for (Index size : parameter_sizes) require(size >= 0 && size <= largest_count / 64, "parameter too large");
    Node node;
    node.kind = Kind::external;
    node.inputs = inputs;
    node.shape = shape;
    node.parameter_sizes = parameter_sizes;
    return append(node);
}

void Engine::add_parameter(int node, const char* name, Index count, Index padded, bool decays) {
    Parameter parameter;
    parameter.node = node;
    parameter.name = name;
    parameter.count = count;
    parameter.padded = round_up(padded, 16);
    parameter.offset = parameter_floats_;
    parameter.decays = decays;
    parameter_floats_ += parameter.padded;
    require(parameter_floats_ <= largest_count, "the network has too many parameters");
    parameters_.push_back(std::move(parameter));
}

// Weights: group by group, panel by panel, then (tap, input channel) rows of the panel's filters; depthwise ones: tap by tap.
void Engine::create_parameters() {
    node_parameters_.assign(nodes_.size(), {-1, -1});
    panels_.assign(nodes_.size(), {});
    group_padding_.assign(nodes_.size(), 0);
    const Index width = 2 * kernels_.lanes;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        const Node& node = nodes_[i];
        const int number = static_cast<int>(i);
        if (node.kind == Kind::external) {
            for (std::size_t p = 0; p < node.parameter_sizes.size(); ++p)
                add_parameter(number, ("external" + std::to_string(p)).c_str(), node.parameter_sizes[p],
                              node.parameter_sizes[p], true);
            continue;
        }
        if (create_layer_parameters(number)) continue;
        if (node.kind == Kind::batch_norm) {
            const Index channels = node.shape.channels, padded = round_up(channels, kernels_.lanes);
            node_parameters_[i] = {static_cast<int>(parameters_.size()), static_cast<int>(parameters_.size()) + 1};
            add_parameter(number, "scale", node.affine ? channels : 0, padded, true);
            add_parameter(number, "bias", node.bias ? channels : 0, padded, false);
            for (const char* name : {"running_mean", "running_variance"}) {
                add_parameter(number, name, channels, padded, false);
                parameters_.back().trained = false;
            }
            continue;
        }
        if (node.kind == Kind::interleave) {
            node_parameters_[i][1] = static_cast<int>(parameters_.size());
            add_parameter(number, "bias", node.bias ? node.shape.channels : 0, round_up(node.shape.channels, 16) + width, false);
            continue;
        }
        if (node.kind == Kind::recurrent) {  // in the order that people see; see recurrent.cpp
            const Index features = nodes_[static_cast<std::size_t>(node.inputs[0])].shape.channels, units = node.shape.channels;
            const Index rows = (node.cell == Cell::lstm ? 4 : node.cell == Cell::gru ? 3 : 1) * units;
            const Index input_count = multiply_sizes({rows, features}), state_count = multiply_sizes({rows, units});
            node_parameters_[i] = {static_cast<int>(parameters_.size()), static_cast<int>(parameters_.size()) + 2};
            add_parameter(number, "input_weight", input_count, input_count, true);
            add_parameter(number, "state_weight", state_count, state_count, true);
            add_parameter(number, "bias", rows, rows, false);
            if (node.cell == Cell::gru) add_parameter(number, "state_bias", units, units, false);
            continue;
        }
        if (node.kind != Kind::convolution && node.kind != Kind::dense) continue;
        const bool dense = node.kind == Kind::dense;
        Shape from = nodes_[static_cast<std::size_t>(node.inputs[0])].shape;
        if (dense) from = dense_source(*this, number);
        const Index groups = node.groups, filters = node.shape.channels;
        const Index group_filters = filters / groups, group_channels = from.channels / groups;
        const Size kernel = dense ? from.size : node.window.kernel;
        const Index taps = kernel[0] * kernel[1] * kernel[2];
        const Index rows = multiply_sizes({taps, group_channels});
        Index padded = 0;
        if (is_depthwise(*this, number)) {
            padded = taps * round_up(filters, kernels_.lanes);
        } else {
            for (Index g = 0; g < groups; ++g)
                for (Index first = 0; first < group_filters; first += width) {
                    const Index columns = std::min(width, group_filters - first);
                    const int vectors = columns > kernels_.lanes ? 2 : 1;
                    panels_[i].push_back({g, first, columns, vectors, padded});
                    padded += multiply_sizes({rows, vectors * kernels_.lanes});
                }
        }
        node_parameters_[i][0] = static_cast<int>(parameters_.size());
        const auto absent = std::count(node.connections.begin(), node.connections.end(), Index{-1});
        add_parameter(number, "weight", multiply_sizes({filters, rows}) - absent * taps, padded, true);
        Parameter& weight = parameters_.back();
        weight.trained = !node.fixed;
        weight.groups = groups;
        weight.group_filters = group_filters;
        weight.group_channels = group_channels;
        weight.taps = taps;
        // The bias is padded by a panel beyond the last filter, because kernels load whole vectors.
        node_parameters_[i][1] = static_cast<int>(parameters_.size());
        add_parameter(number, "bias", node.bias ? filters : 0, round_up(filters, 16) + width, false);
    }
}

void Engine::finish(const OptimizerSettings& optimizer) {
    require_open();
    require(!nodes_.empty(), "the network has no nodes");
    create_parameters();
    optimizer_ = optimizer;
    const int slots = optimizer.rule == Rule::sgd ? 0 : (optimizer.rule >= Rule::adam ? 2 : 1);
    values_[0].reset(allocate_floats(parameter_floats_ + 64));  // gradients follow with the first plan that trains
    for (int which = 2; which < 2 + slots; ++which) values_[which].reset(allocate_floats(parameter_floats_ + 64));
    finished_ = true;
}

int Engine::parameter_index(int node, const std::string& name) const {
    for (std::size_t i = 0; i < parameters_.size(); ++i)
        if (parameters_[i].node == node && parameters_[i].name == name) return static_cast<int>(i);
    throw DescriptionError("node " + std::to_string(node) + " has no parameter " + name);
}

// Calls visit(element as the user counts it, its place) for every element of a parameter.
template <typename Visit>
void Engine::for_each_element(const Parameter& p, Visit visit) const {
    const auto& panels = panels_[static_cast<std::size_t>(p.node)];
    if (p.taps == 0 && p.positions > 0) {
        const Index padded = round_up(p.group_filters, kernels_.lanes);
        for (Index k = 0; k < p.count / p.positions; ++k)
            for (Index o = 0; o < p.positions; ++o) visit(k * p.positions + o, o * padded + k);
    } else if (p.taps == 0) {
        for (Index i = 0; i < p.count; ++i) visit(i, i);
    } else if (panels.empty()) {  // depthwise: tap by tap
        for (Index k = 0; k < p.groups; ++k)
            for (Index t = 0; t < p.taps; ++t) visit(k * p.taps + t, t * round_up(p.groups, kernels_.lanes) + k);
    } else {
        const auto& connections = nodes_[static_cast<std::size_t>(p.node)].connections;
        const Index positions = std::max<Index>(p.positions, 1);
        const Index block = panels.back().weight + p.taps * p.group_channels * panels.back().vectors * kernels_.lanes;
        for (const Panel& panel : panels)
            for (Index k = 0; k < panel.columns; ++k)
                for (Index c = 0; c < p.group_channels; ++c) {
                    Index pair = (panel.group * p.group_filters + panel.first + k) * p.group_channels + c;
                    if (!connections.empty()) pair = connections[static_cast<std::size_t>(pair)];
                    for (Index t = 0; t < p.taps && pair >= 0; ++t) {
                        const Index place = panel.weight + (t * p.group_channels + c) * panel.vectors * kernels_.lanes + k;
                        for (Index o = 0; o < positions; ++o) visit((pair * p.taps + t) * positions + o, place + o * block);
                    }
                }
    }
}

void Engine::set_parameter(int parameter, int which, std::span<const float> values) {
    require(parameter >= 0 && parameter < static_cast<int>(parameters_.size()), "no such parameter");
    require(which >= 0 && which < 4 && values_[which] != nullptr, "the optimiser has no such slot");
    const Parameter& p = parameters_[static_cast<std::size_t>(parameter)];
    require(static_cast<Index>(values.size()) == p.count, "the parameter has " + std::to_string(p.count) +
                                                              " elements, got " + std::to_string(values.size()));
    float* const to = values_[which].get() + p.offset;
    std::fill(to, to + p.padded, 0.0f);
    for_each_element(p, [&](Index i, Index at) { to[at] = values[static_cast<std::size_t>(i)]; });
    ++version_;
}

void Engine::get_parameter(int parameter, int which, std::span<float> values) const {
    require(parameter >= 0 && parameter < static_cast<int>(parameters_.size()), "no such parameter");
    require(which >= 0 && which < 4 && values_[which] != nullptr, "the optimiser has no such slot");
    const Parameter& p = parameters_[static_cast<std::size_t>(parameter)];
    require(static_cast<Index>(values.size()) == p.count, "the parameter has another size");
    const float* const from = values_[which].get() + p.offset;
    for_each_element(p, [&](Index i, Index at) { values[static_cast<std::size_t>(i)] = from[at]; });
}

Plan& Engine::plan(Mode mode, Index batch) {
    require(finished_, "the network is not finished");
    require(batch >= 1 && batch <= largest_size, "the batch must have 1 to 1048576 examples");
    if (mode != Mode::predict && values_[1] == nullptr) values_[1].reset(allocate_floats(parameter_floats_ + 64));
    auto& slot = plans_[static_cast<int>(mode)];
    const int threads = threads_to_use(threads_);
    if (!slot || slot->capacity() < batch || slot->threads() < threads) {
        if (current_ == slot.get()) current_ = nullptr;
        slot.reset();
        slot = std::make_unique<Plan>(*this, mode, batch, threads);
    }
    slot->use_threads(threads);
    return *slot;
}

Update Engine::next_update(double rate) {
    ++update_count_;
    Update step{};
    step.rule = optimizer_.rule;
    step.rate = static_cast<float>(rate);
    step.scale = 1.0f;
    step.momentum = static_cast<float>(optimizer_.momentum);
    step.beta2 = static_cast<float>(optimizer_.beta2);
    step.rest1 = static_cast<float>(1.0 - optimizer_.momentum);
    step.rest2 = static_cast<float>(1.0 - optimizer_.beta2);
    step.epsilon = static_cast<float>(optimizer_.epsilon);
    step.correction1 = static_cast<float>(1.0 - std::pow(optimizer_.momentum, static_cast<double>(update_count_)));
    step.correction2 = static_cast<float>(1.0 - std::pow(optimizer_.beta2, static_cast<double>(update_count_)));
    return step;
}

void Engine::update_piece(const Update& step, const Parameter& parameter, Index first, Index count,
                          const float* gradient) const {
    if (!parameter.trained) return;
    const Index at = parameter.offset + first;
    Update own = step;
    own.decay = parameter.decays ? static_cast<float>(optimizer_.decay) : 0.0f;
    own.weight = values_[0].get() + at;
    own.gradient = gradient;
    own.first = values_[2] ? values_[2].get() + at : nullptr;
    own.second = values_[3] ? values_[3].get() + at : nullptr;
    own.count = count;
    kernels_.update(own);
}

namespace {

struct Piece {
    const Parameter* parameter;
    Index first, count;
};

// What an optimiser moves, in pieces of one size; a layer without bias has one of 0 elements, which stays zero.
template <typename Wanted>
std::vector<Piece> pieces_of(const std::vector<Parameter>& parameters, Wanted wanted) {
    constexpr Index block = 4096;
    std::vector<Piece> pieces;
    for (const Parameter& p : parameters)
        for (Index at = 0; at < (p.count > 0 && p.trained && wanted(p) ? p.padded : 0); at += block)
            pieces.push_back({&p, at, std::min(block, p.padded - at)});
    return pieces;
}

}  // namespace

double Engine::gradient_scale() {
    if (optimizer_.largest_norm <= 0) return 1.0;
    const std::vector<Piece> pieces = pieces_of(parameters_, [](const Parameter&) { return true; });
    const float* const gradient = values_[1].get();
    std::vector<double> sums(pieces.size());
    parallel_for(threads_to_use(threads_), static_cast<Index>(pieces.size()), 1, [&](Index i, int) {
        const Piece& piece = pieces[static_cast<std::size_t>(i)];
        double sum = 0;
        for (Index j = 0; j < piece.count; ++j) {
            const double g = gradient[piece.parameter->offset + piece.first + j];
            sum += g * g;
        }
        sums[static_cast<std::size_t>(i)] = sum;
    });
    double total = 0;
    for (double sum : sums) total += sum;
    const double norm = std::sqrt(total);
    return norm > optimizer_.largest_norm ? optimizer_.largest_norm / norm : 1.0;
}

// Moves all parameters but those that a plan has moved already.
void Engine::update_parameters(const Update& step, const Plan* done) {
    const std::vector<Piece> pieces =
        pieces_of(parameters_, [&](const Parameter& p) { return done == nullptr || !done->is_updated(p.node); });
    parallel_for(threads_to_use(threads_), static_cast<Index>(pieces.size()), 1, [&](Index i, int) {
        const Piece& piece = pieces[static_cast<std::size_t>(i)];
        update_piece(step, *piece.parameter, piece.first, piece.count,
                     values_[1].get() + piece.parameter->offset + piece.first);
    });
    ++version_;
}

void Engine::predict(const float* x, Index batch, float* output) {
    start(Mode::predict, x, batch, {}, false);
    run_forward(0, current_->stage_count());
    read_value(static_cast<int>(nodes_.size()) - 1, output);
    current_->forget_input();
}

LossResult Engine::train_step(const float* x, Index batch, const std::int64_t* labels, const float* targets,
                              float loss_weight, const RandomKey& key, double rate, bool update, float* output) {
    start(Mode::train, x, batch, key, true);
    LossResult result;
    if (!update) {
        result = current_->step(labels, targets, loss_weight);
    } else if (optimizer_.largest_norm > 0) {
        result = current_->step(labels, targets, loss_weight);
        run_update(rate);
    } else {  // no number depends on all gradients: weights may move as soon as theirs is there
        const Update step = next_update(rate);
        current_->set_update(&step);
        result = current_->step(labels, targets, loss_weight);
        update_parameters(step, current_);
        current_->set_update(nullptr);
    }
    if (output) read_value(static_cast<int>(nodes_.size()) - 1, output);
    current_->forget_input();
    return result;
}

int Engine::stage_count(Mode mode, Index batch) { return plan(mode, batch).stage_count(); }
int Engine::external_node(Mode mode, Index batch, int stage) { return plan(mode, batch).external_node(stage); }

void Engine::start(Mode mode, const float* x, Index batch, const RandomKey& key, bool training) {
    current_ = &plan(mode, batch);
    current_->start(x, batch, key, training);
}

void Engine::start_with_copy(Mode mode, const float* x, Index batch, const RandomKey& key, bool training) {
    require(!nodes_.empty(), "the network has no nodes");
    held_.assign(x, x + batch * nodes_[0].shape.count());
    start(mode, held_.data(), batch, key, training);
}

void Engine::run_forward(int first, int last) {
    require(current_ != nullptr, "nothing was started");
    current_->forward(first, last);
}

LossResult Engine::run_loss(const std::int64_t* labels, const float* targets, float loss_weight) {
    require(current_ != nullptr, "nothing was started");
    return current_->loss(labels, targets, loss_weight);
}

void Engine::start_backward(const float* doutput) {
    require(current_ != nullptr, "nothing was started");
    current_->write_gradient(static_cast<int>(nodes_.size()) - 1, doutput, false);
}

void Engine::run_backward(int first, int last) {
    require(current_ != nullptr, "nothing was started");
    current_->backward(first, last);
}

void Engine::run_update(double rate) {
    require(finished_, "the network is not finished");
    require(values_[1] != nullptr, "there are no gradients yet");
    Update step = next_update(rate);
    step.scale = static_cast<float>(gradient_scale());
    update_parameters(step, nullptr);
}

void Engine::read_value(int node, float* to) const {
    require(current_ != nullptr, "nothing was started");
    checked(node);
    current_->read_value(node, to);
}

void Engine::write_value(int node, const float* from) {
    require(current_ != nullptr, "nothing was started");
    checked(node);
    current_->write_value(node, from);
}

bool Engine::has_gradient(int node) const {
    require(current_ != nullptr, "nothing was started");
    checked(node);
    return current_->has_gradient(node);
}

void Engine::read_gradient(int node, float* to) const {
    require(current_ != nullptr, "nothing was started");
    checked(node);
    current_->read_gradient(node, to);
}

void Engine::add_gradient(int node, int consumer, const float* from) {
    require(current_ != nullptr, "nothing was started");
    checked(node);
    checked(consumer);
    current_->write_gradient(node, from, current_->accumulates(consumer, node));
}

bool Engine::is_materialised(int node) const {
    require(current_ != nullptr, "nothing was started");
    checked(node);
    return current_->is_materialised(node);
}

Index Engine::batch() const { return current_ ? current_->batch() : 0; }

Index Engine::memory() const {
    Index floats = 0;
    for (const auto& array : values_)
        if (array) floats += parameter_floats_;
    for (const auto& plan : plans_)
        if (plan) floats += plan->floats();
    return floats * static_cast<Index>(sizeof(float));
}

std::vector<std::string> Engine::describe(Mode mode, Index batch) { return plan(mode, batch).describe(); }

}  // namespace tatami
