// The description of the layers that stand between the products: what they may be, and which parameters they have.
#include <algorithm>
#include <cmath>

#include "checks.hpp"

namespace tatami {

Node Engine::node_like(int input, Kind kind) const {
    Node node;
    node.shape = checked(input).shape;
    node.kind = kind;
    node.inputs = {input};
    return node;
}

int Engine::add_slopes(int input, bool shared) {
    Node node = node_like(input, Kind::slopes);
    node.shared = shared;
    return append(node);
}

int Engine::add_pieces(int input, Index pieces) {
    Node node = node_like(input, Kind::pieces);
    check_axis(pieces, "pieces");
    require(node.shape.channels % pieces == 0, "the pieces must divide the channels");
    node.shape.channels /= pieces;
    node.pieces = pieces;
    return append(node);
}

int Engine::add_larger(int input, int other) {
    Node node = node_like(input, Kind::larger);
    const Shape& second = checked(other).shape;
    require(second.channels == node.shape.channels && second.size == node.shape.size && second.flat == node.shape.flat,
            "both inputs must have one shape");
    node.inputs.push_back(other);
    return append(node);
}

int Engine::add_example_norm(int input, Index groups, bool over_channels, bool per_value, double epsilon, bool affine, bool bias) {
    Node node = node_like(input, Kind::example_norm);
    check_axis(groups, "groups");
    require(node.shape.channels % groups == 0, "the groups must divide the channels");
    require(!(over_channels || per_value) || groups == 1, "only groups of channels are more than one");
    require(!(over_channels && per_value), "scales for every value belong to a normalisation of everything");
    require(std::isfinite(epsilon) && epsilon > 0.0, "epsilon must be above 0");
    require(affine || !bias, "a bias needs a scale");
    node.groups = groups;
    node.over_channels = over_channels;
    node.per_value = per_value;
    node.epsilon = epsilon;
    node.affine = affine;
    node.bias = bias;
    return append(node);
}

int Engine::add_dropout(int input, double ratio, std::uint32_t stream, bool by_channel, bool exact) {
    Node node = node_like(input, Kind::dropout);
    require(ratio >= 0.0 && ratio < 1.0, "the ratio must be at least 0 and below 1");
    require(!(by_channel && exact), "an exact number is drawn of units, not of maps");
    node.ratio = ratio;
    node.stream = stream;
    node.by_channel = by_channel;
    node.exact = exact;
    return append(node);
}

int Engine::add_noise(int input, float deviation, std::uint32_t stream) {
    Node node = node_like(input, Kind::noise);
    require(std::isfinite(deviation) && deviation >= 0, "the deviation must be a finite number of at least 0");
    node.constant = deviation;
    node.stream = stream;
    return append(node);
}

int Engine::add_sample(int mean, int log_variance, std::uint32_t stream) {
    Node node = node_like(mean, Kind::sample);
    const Shape& second = checked(log_variance).shape;
    require(second.channels == node.shape.channels && second.size == node.shape.size && second.flat == node.shape.flat,
            "mean and variance must have one shape");
    node.inputs.push_back(log_variance);
    node.stream = stream;
    return append(node);
}

int Engine::add_resample(int input, const std::array<AxisMap, 3>& maps, float fill) {
    Node node = node_like(input, Kind::resample);
    require(!node.shape.flat, "resampling needs an input with positions");
    require(std::isfinite(fill), "what is filled in must be finite");
    for (std::size_t axis = 0; axis < 3; ++axis) {
        const AxisMap& map = maps[axis];
        check_axis(map.taps, "taps");
        const Index entries = static_cast<Index>(map.sources.size());
        require(entries > 0 && entries % map.taps == 0 && map.weights.size() == map.sources.size(),
                "an axis needs a source and a weight for every tap of every output");
        for (Index source : map.sources)
            require(source >= 0 && source < node.shape.size[axis], "a source lies outside of the input");
        for (float weight : map.weights) require(std::isfinite(weight), "a weight must be finite");
    }
    for (std::size_t axis = 0; axis < 3; ++axis)
        node.shape.size[axis] = static_cast<Index>(maps[axis].sources.size()) / maps[axis].taps;
    node.maps = maps;
    node.constant = fill;
    return append(node);
}

int Engine::add_adaptive_pool(int input, const Size& size, bool maximum) {
    Node node = node_like(input, Kind::adaptive_pool);
    require(!node.shape.flat, "a pooling needs an input with positions");
    for (Index outputs : size) check_axis(outputs, "size");
    const Size& from = node.shape.size;
    multiply_sizes({from[0], from[1], from[2], 2048});  // taps fit into 31 bits
    node.shape.size = size;
    node.maximum = maximum;
    return append(node);
}

int Engine::add_permute(int input, const std::vector<Index>& axes) {
    Node node = node_like(input, Kind::permute);
    const std::size_t rank = axes.size();
    require(rank >= 1 && rank <= 4, "1 to 4 axes can be exchanged");
    require(node.shape.flat == (rank == 1), "every axis of the input must be named");
    std::array<Index, 4> from{node.shape.channels, 1, 1, 1};  // sizes of the axes as the user counts them
    std::array<bool, 4> named{};
    for (std::size_t axis = 0; axis < 3; ++axis) {
        const bool exists = axis + rank >= 4;
        require(exists || node.shape.size[axis] == 1, "every axis of the input must be named");
        if (exists) from[axis + rank - 3] = node.shape.size[axis];
    }
    for (Index axis : axes) {
        require(axis >= 0 && axis < static_cast<Index>(rank) && !named[static_cast<std::size_t>(axis)],
                "axes must name each axis once, counted from 0");
        named[static_cast<std::size_t>(axis)] = true;
    }
    // Places of channels, depth, height and width: axes that do not exist stand between the channels and the others.
    const auto place = [&](Index axis) { return axis == 0 ? 0 : axis + 4 - static_cast<Index>(rank); };
    node.order = {0, 1, 2, 3};
    for (std::size_t to = 0; to < rank; ++to)
        node.order[static_cast<std::size_t>(place(static_cast<Index>(to)))] = place(axes[to]);
    node.shape.channels = from[static_cast<std::size_t>(axes[0])];
    node.shape.size = {1, 1, 1};
    for (std::size_t to = 1; to < rank; ++to) node.shape.size[to + 3 - rank] = from[static_cast<std::size_t>(axes[to])];
    return append(node);
}

int Engine::add_embedding(int input, Index vocabulary, const Shape& shape) {
    Node node = node_like(input, Kind::embedding);
    check_axis(vocabulary, "vocabulary");
    check_shape(shape);
    require(!shape.flat && shape.count() / shape.channels == node.shape.count(),
            "the output has one vector for every token of the input");
    multiply_sizes({vocabulary, shape.channels});
    node.shape = shape;
    node.vocabulary = vocabulary;
    return append(node);
}

int Engine::add_padding_mask(int input, float value) {
    Node node = node_like(input, Kind::padding_mask);
    require(node.shape.size[0] == 1 && node.shape.size[1] == 1, "a sequence has one axis of time");
    if (!node.shape.flat) node.shape = {node.shape.size[2], {1, 1, 1}, true};
    node.constant = value;
    return append(node);
}

int Engine::add_table_convolution(int input, const std::vector<std::vector<Index>>& table, const WindowSettings& window,
                                  bool bias) {
    const Index channels = checked(input).shape.channels, filters = static_cast<Index>(table.size());
    check_axis(filters, "filters");
    std::vector<Index> connections(static_cast<std::size_t>(multiply_sizes({filters, channels})), -1);
    Index number = 0;
    for (Index k = 0; k < filters; ++k) {
        require(!table[static_cast<std::size_t>(k)].empty(), "every filter must see a channel");
        for (Index c : table[static_cast<std::size_t>(k)]) {
            require(c >= 0 && c < channels, "the table names a channel that the input does not have");
            Index& connection = connections[static_cast<std::size_t>(k * channels + c)];
            require(connection < 0, "the table names a channel twice");
            connection = number++;
        }
    }
    const int node = add_convolution(input, filters, window, 1, bias);
    nodes_.back().connections = std::move(connections);
    return node;
}

int Engine::add_local(int input, Index filters, const WindowSettings& window, bool bias) {
    const Index channels = checked(input).shape.channels;
    const int number = add_convolution(input, filters, window, 1, bias);
    Node& node = nodes_.back();
    node.kind = Kind::local;
    try {
        multiply_sizes({node.shape.size[0], node.shape.size[1], node.shape.size[2], channels, window.kernel[0], window.kernel[1],
                        window.kernel[2], filters + 64});
    } catch (...) {
        nodes_.pop_back();
        throw;
    }
    return number;
}

// Position by position, then as the weights of a convolution.
void Engine::create_local_parameters(int number) {
    const std::size_t at = static_cast<std::size_t>(number);
    const Node& node = nodes_[at];
    const Index channels = nodes_[static_cast<std::size_t>(node.inputs[0])].shape.channels, filters = node.shape.channels;
    const Index taps = node.window.kernel[0] * node.window.kernel[1] * node.window.kernel[2], rows = taps * channels;
    const Index positions = node.shape.count() / filters, width = 2 * kernels_.lanes;
    Index block = 0;
    for (Index first = 0; first < filters; first += width) {
        const Index columns = std::min(width, filters - first);
        const int vectors = columns > kernels_.lanes ? 2 : 1;
        panels_[at].push_back({0, first, columns, vectors, block});
        block += rows * vectors * kernels_.lanes;
    }
    node_parameters_[at] = {static_cast<int>(parameters_.size()), static_cast<int>(parameters_.size()) + 1};
    add_parameter(number, "weight", multiply_sizes({filters, rows, positions}), multiply_sizes({block, positions}), true);
    Parameter& weight = parameters_.back();
    weight.groups = 1;
    weight.group_filters = filters;
    weight.group_channels = channels;
    weight.taps = taps;
    weight.positions = positions;
    const Index room = multiply_sizes({round_up(filters, kernels_.lanes), positions}) + width;
    add_parameter(number, "bias", node.bias ? filters * positions : 0, room, false);
    parameters_.back().group_filters = filters;
    parameters_.back().positions = positions;
}

void Engine::clear_unconnected(int node) const {
    const auto& connections = nodes_[static_cast<std::size_t>(node)].connections;
    if (connections.empty()) return;
    const Parameter& p = parameters_[static_cast<std::size_t>(node_parameters_[static_cast<std::size_t>(node)][0])];
    float* const gradient = values_[1].get() + p.offset;
    for (const Panel& panel : panels_[static_cast<std::size_t>(node)])
        for (Index k = 0; k < panel.columns; ++k)
            for (Index c = 0; c < p.group_channels; ++c)
                for (Index t = 0; t < p.taps && connections[static_cast<std::size_t>((panel.first + k) * p.group_channels + c)] < 0; ++t)
                    gradient[panel.weight + (t * p.group_channels + c) * panel.vectors * kernels_.lanes + k] = 0.0f;
}

int Engine::add_unpool(int input, int before, const WindowSettings& window) {
    const Shape values = checked(input).shape, places = checked(before).shape;
    const int number = add_pool(before, Kind::max_pool, window, false, 2, true, false);
    const Shape pooled = nodes_.back().shape;
    nodes_.pop_back();
    require(pooled.channels == values.channels && pooled.size == values.size && !values.flat,
            "the values must have the shape that the pooling gives");
    Node node = node_like(before, Kind::unpool);
    node.inputs = {input, before};
    node.shape = places;
    node.window = window;
    require(number == static_cast<int>(nodes_.size()), "the nodes are out of order");
    return append(node);
}

int Engine::add_stochastic_pool(int input, const WindowSettings& window, std::uint32_t stream) {
    const int number = add_pool(input, Kind::stochastic_pool, window, false, 2, true, false);
    nodes_.back().stream = stream;
    return number;
}

int Engine::add_log_power(int input, Index groups, float gain) {
    Node node = node_like(input, Kind::log_power);
    check_axis(groups, "groups");
    const Size& size = node.shape.size;
    require(!node.shape.flat && size[0] == 1 && size[1] == 1, "powers need frames of a signal");
    require(node.shape.channels % (2 * groups) == 0, "every frequency has a real and an imaginary part");
    require(std::isfinite(gain) && gain > 0, "the gain must be a finite number above 0");
    node.groups = groups;
    node.constant = gain;
    node.shape = {groups, {1, node.shape.channels / (2 * groups), size[2]}, false};
    return append(node);
}

int Engine::add_drop_connect(int input, Index units, double ratio, std::uint32_t stream, bool bias) {
    Node node = node_like(input, Kind::drop_connect);
    require(node.shape.flat, "a dense layer needs a flat input");
    check_axis(units, "units");
    require(ratio >= 0.0 && ratio < 1.0, "the ratio must be at least 0 and below 1");
    multiply_sizes({units, node.shape.channels});
    node.shape.channels = units;
    node.ratio = ratio;
    node.stream = stream;
    node.bias = bias;
    return append(node);
}

void Engine::fix_weights(int node) {
    require_open();
    require(checked(node).kind == Kind::convolution && !nodes_[static_cast<std::size_t>(node)].bias,
            "only a convolution without a bias can have fixed weights");
    nodes_[static_cast<std::size_t>(node)].fixed = true;
}

// A first and perhaps a second parameter, in the order that the user has them; false for layers of another kind.
bool Engine::create_layer_parameters(int number) {
    const std::size_t at = static_cast<std::size_t>(number);
    const Node& node = nodes_[at];
    const auto create = [&](int place, const char* name, Index count, Index room, bool decays) {
        node_parameters_[at][static_cast<std::size_t>(place)] = static_cast<int>(parameters_.size());
        add_parameter(number, name, count, round_up(room, kernels_.lanes), decays);
    };
    const Index channels = node.shape.channels;
    switch (node.kind) {
        case Kind::slopes: create(0, "slope", node.shared ? 1 : channels, node.shared ? 1 : channels, true); return true;
        case Kind::example_norm: {
            const Index count = node.per_value ? node.shape.count() : channels;
            create(0, "scale", node.affine ? count : 0, count, true);
            create(1, "bias", node.bias ? count : 0, count, false);
            return true;
        }
        case Kind::drop_connect: {
            const Index weights = multiply_sizes({channels, nodes_[static_cast<std::size_t>(node.inputs[0])].shape.channels});
            create(0, "weight", weights, weights, true);
            // As behind a dense layer's bias there is room for a panel beyond the last unit.
            create(1, "bias", node.bias ? channels : 0, channels + 2 * kernels_.lanes, false);
            return true;
        }
        case Kind::embedding:
            create(0, "weight", multiply_sizes({node.vocabulary, channels}), multiply_sizes({node.vocabulary, channels}), true);
            return true;
        case Kind::local: create_local_parameters(number); return true;
        default: return false;
    }
}

bool Engine::learns(int node) const {
    for (int place : node_parameters_[static_cast<std::size_t>(node)])
        if (place >= 0) {
            const Parameter& parameter = parameters_[static_cast<std::size_t>(place)];
            if (parameter.count > 0 && parameter.trained) return true;
        }
    return false;
}

}  // namespace tatami
