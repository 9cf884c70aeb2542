// The description of the layers that stand between the products: what they may be, and which parameters they have.
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
