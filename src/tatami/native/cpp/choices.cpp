// What is decided from a network's description alone, the same for every plan: which nodes are one tensor, which way a layer
// with weights multiplies, and how fused operations are named.
#include "plan.hpp"

namespace tatami {

std::vector<int> consumers_of(const Engine& engine, int node) {
    std::vector<int> found;
    for (std::size_t i = 0; i < engine.nodes().size(); ++i)
        for (int input : engine.nodes()[i].inputs)
            if (input == node) found.push_back(static_cast<int>(i));
    return found;
}

bool flatten_is_alias(const Engine& engine, int node) {
    const Node& flatten = engine.nodes()[static_cast<std::size_t>(node)];
    if (flatten.kind != Kind::flatten) return false;
    if (consumers_of(engine, flatten.inputs[0]).size() != 1) return false;
    if (engine.nodes()[static_cast<std::size_t>(flatten.inputs[0])].kind == Kind::external) return false;
    const std::vector<int> consumers = consumers_of(engine, node);
    return !consumers.empty() && std::all_of(consumers.begin(), consumers.end(), [&](int consumer) {
        return engine.nodes()[static_cast<std::size_t>(consumer)].kind == Kind::dense;
    });
}

Shape dense_source(const Engine& engine, int node) {
    const int input = engine.nodes()[static_cast<std::size_t>(node)].inputs[0];
    const Node& from = engine.nodes()[static_cast<std::size_t>(input)];
    return flatten_is_alias(engine, input) ? engine.nodes()[static_cast<std::size_t>(from.inputs[0])].shape : from.shape;
}

bool is_depthwise(const Engine& engine, int node) {
    const Node& convolution = engine.nodes()[static_cast<std::size_t>(node)];
    if (convolution.kind != Kind::convolution || convolution.groups < 2) return false;
    const Index channels = engine.nodes()[static_cast<std::size_t>(convolution.inputs[0])].shape.channels;
    return convolution.groups == channels && convolution.shape.channels == channels;
}

bool sees_everything(const Engine& engine, int node) {
    const Node& convolution = engine.nodes()[static_cast<std::size_t>(node)];
    const Shape& from = engine.nodes()[static_cast<std::size_t>(convolution.inputs[0])].shape;
    const WindowSettings& w = convolution.window;
    return convolution.kind == Kind::convolution && convolution.groups == 1 && convolution.connections.empty() && w.kernel == from.size &&
           w.before == Size{0, 0, 0} && w.after == Size{0, 0, 0};
}

bool uses_tiles(const Engine& engine, int node) {
    const Kind kind = engine.nodes()[static_cast<std::size_t>(node)].kind;
    return engine.bf16() && engine.kernels().tiles != nullptr &&
           (kind == Kind::dense || (kind == Kind::convolution && !is_depthwise(engine, node)));
}

namespace {

// Does bf16 concern a convolution that has no tiles? With fewer channels preparing the operands costs more than it saves.
bool is_wide(const Engine& engine, int node) {
    constexpr Index enough = 8;
    const Node& convolution = engine.nodes()[static_cast<std::size_t>(node)];
    return convolution.kind == Kind::convolution && engine.bf16() && !uses_tiles(engine, node) &&
           engine.nodes()[static_cast<std::size_t>(convolution.inputs[0])].shape.channels / convolution.groups >= enough;
}

}  // namespace

bool uses_pairs(const Engine& engine, int node) {
    if (engine.nodes()[static_cast<std::size_t>(node)].kind == Kind::dense || sees_everything(engine, node))
        return engine.bf16() && !uses_tiles(engine, node);
    return is_wide(engine, node) && engine.kernels().dots;
}

bool rounds_operands(const Engine& engine, int node) { return is_wide(engine, node) && !uses_pairs(engine, node); }

bool winograd_fits(const Engine& engine, int node) {
    const Node& convolution = engine.nodes()[static_cast<std::size_t>(node)];
    if (convolution.kind != Kind::convolution || convolution.groups != 1) return false;
    const WindowSettings& w = convolution.window;
    if (sees_everything(engine, node) || uses_tiles(engine, node)) return false;
    const Index channels = engine.nodes()[static_cast<std::size_t>(convolution.inputs[0])].shape.channels;
    constexpr Index enough = 16;  // with fewer the transforms cost more than they save
    return w.kernel == Size{1, 3, 3} && w.stride == Size{1, 1, 1} && w.dilation == Size{1, 1, 1} &&
           w.before[0] + w.after[0] == 0 && convolution.shape.size[0] == 1 && channels >= enough &&
           convolution.shape.channels >= enough && !(uses_pairs(engine, node) && channels % 2 != 0);
}

bool signal_fits(const Engine& engine, int node) {
    const Node& convolution = engine.nodes()[static_cast<std::size_t>(node)];
    if (convolution.kind != Kind::convolution || convolution.groups != 1 || engine.bf16() || sees_everything(engine, node)) return false;
    const WindowSettings& w = convolution.window;
    const Shape& from = engine.nodes()[static_cast<std::size_t>(convolution.inputs[0])].shape;
    constexpr Index enough = 16;  // with fewer the transforms cost more than they save
    const Size& size = convolution.shape.size;
    return w.kernel[0] == 1 && w.kernel[1] == 1 && w.kernel[2] >= 3 && w.kernel[2] <= 9 && w.stride == Size{1, 1, 1} &&
           w.dilation == Size{1, 1, 1} && size[0] == 1 && size[1] == 1 && from.size[0] == 1 && from.size[1] == 1 &&
           from.channels >= enough && convolution.shape.channels >= enough;
}

const Curve* fused_curve(const Engine& engine, const Fused& fused) {
    return fused.activation < 0 ? nullptr : &engine.nodes()[static_cast<std::size_t>(fused.activation)].curve;
}

bool is_relu(const Curve* curve) { return curve != nullptr && curve->kind == Activation::relu; }

namespace {

const char* name_of(Activation kind) {
    switch (kind) {
        case Activation::identity: return "identity";
        case Activation::step: return "step";
        case Activation::sigmoid: return "sigmoid";
        case Activation::tanh: return "tanh";
        case Activation::relu: return "ReLU";
        case Activation::leaky_relu: return "leaky ReLU";
        case Activation::elu: return "ELU";
        case Activation::softplus: return "softplus";
        case Activation::swish: return "Swish";
        case Activation::mish: return "Mish";
        case Activation::gelu: return "GELU";
        case Activation::gelu_tanh: return "GELU (tanh)";
        case Activation::hard_sigmoid: return "hard sigmoid";
    }
    return "activation";
}

}  // namespace

std::string describe_fused(const Engine& engine, const Fused& fused) {
    std::string text;
    if (fused.normalization >= 0) text += " + batch normalisation";
    if (fused.activation >= 0) text += std::string(" + ") + name_of(fused_curve(engine, fused)->kind);
    if (fused.pool >= 0)
        text += engine.nodes()[static_cast<std::size_t>(fused.pool)].kind == Kind::max_pool ? " + max pool" : " + average pool";
    return text;
}

}  // namespace tatami
