// Planning, once for each way of running: what shares a tensor, what is fused, who writes which gradient and who adds to it,
// and where everything lies in one arena. running.cpp runs the plan; choices.cpp holds what geometry alone decides.
//
// Fused are, unless everything is to be kept: into a convolution a batch normalisation at prediction, any activation without
// parameters, and 2×2 maxima or averages; into a dense layer or a normalisation an activation.
#include "plan.hpp"

#include <algorithm>
#include <cstring>

namespace tatami {

namespace {

// Tiles take maxima of what ReLU let through on their way out of the registers; other poolings are operations of their own.
bool tiles_pool(const Engine& engine, const Fused& fused, int pool) {
    return is_relu(fused_curve(engine, fused)) && engine.nodes()[static_cast<std::size_t>(pool)].kind == Kind::max_pool;
}

// What stands for a node in an external stage.
class External : public Operation {
public:
    using Operation::Operation;
    bool by_image() const override { return false; }
    std::string describe() const override { return "reference layer"; }
};

}  // namespace

void Plan::Free::operator()(float* memory) const { free_floats(memory); }

Plan::Plan(Engine& owner, Mode wanted, Index capacity, int threads)
    : engine(owner), mode(wanted), kernels(owner.kernels()), capacity_(capacity), slots_(threads), threads_(threads) {
    choose_tensors();
    build_operations();
    by_example_ = passes_by_example();
    decide_gradients();
    place_tensors();
}

Plan::~Plan() = default;

// Which nodes share a tensor, and what border every value needs.
void Plan::choose_tensors() {
    const auto& nodes = engine.nodes();
    const std::size_t count = nodes.size();
    tensor_of_.resize(count);
    values_.assign(count, {});
    gradients_.assign(count, {});
    for (std::size_t i = 0; i < count; ++i) {
        const Node& node = nodes[i];
        const bool passes = mode == Mode::predict && (node.kind == Kind::dropout || node.kind == Kind::noise);
        const bool alias = passes || flatten_is_alias(engine, static_cast<int>(i));
        tensor_of_[i] = alias ? tensor_of_[static_cast<std::size_t>(node.inputs[0])] : static_cast<int>(i);
        if (alias) continue;
        Tensor& tensor = values_[i];
        tensor.channels = node.shape.channels;
        tensor.size = node.shape.size;
        tensor.stride = round_up(tensor.channels, kernels.lanes);
        gradients_[i] = tensor;
    }
    // The network's input is not padded to whole vectors where only sums of products read it.
    const std::vector<int> readers = consumers_of(engine, 0);
    const bool only_products = !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](int reader) {
        const Node& node = nodes[static_cast<std::size_t>(reader)];
        return (node.kind == Kind::convolution && !is_depthwise(engine, reader)) || node.kind == Kind::local || node.kind == Kind::dense ||
               (node.kind == Kind::flatten && flatten_is_alias(engine, reader));
    });
    if (only_products) values_[0].stride = values_[0].channels;
    values_[0].in_place = reads_input_in_place();
    for (std::size_t i = 0; i < count; ++i) {
        if (nodes[i].kind != Kind::convolution && nodes[i].kind != Kind::local) continue;
        Tensor& tensor = values_[static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(nodes[i].inputs[0])])];
        for (int axis = 0; axis < 3; ++axis) {
            tensor.before[axis] = std::max(tensor.before[axis], nodes[i].window.before[axis]);
            // Winograd's patches reach one pixel beyond an odd size.
            const bool in_pairs = winograd_fits(engine, static_cast<int>(i)) || (axis == 2 && signal_fits(engine, static_cast<int>(i)));
            const Index odd = axis > 0 && in_pairs ? nodes[i].shape.size[axis] % 2 : 0;
            tensor.after[axis] = std::max(tensor.after[axis], nodes[i].window.after[axis] + odd);
        }
    }
}

// Whether dense layers alone read the network's input, in the order in which the caller has it: features of an image side by
// side, without borders or gaps. Copying it takes as long as a twentieth of a small network's step.
bool Plan::reads_input_in_place() const {
    const auto& nodes = engine.nodes();
    const auto is_dense = [&](int node) { return nodes[static_cast<std::size_t>(node)].kind == Kind::dense; };
    const std::vector<int> readers = consumers_of(engine, 0);
    const Shape& shape = nodes[0].shape;
    return mode != Mode::inspect && !engine.bf16() && (shape.channels == 1 || shape.count() == shape.channels) &&
           !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](int reader) {
               return is_dense(reader) || flatten_is_alias(engine, reader);
           });
}

void Plan::build_operations() {
    const auto& nodes = engine.nodes();
    const int count = static_cast<int>(nodes.size());
    materialised_.assign(nodes.size(), true);
    fused_into_.resize(nodes.size());
    for (int i = 0; i < count; ++i) fused_into_[static_cast<std::size_t>(i)] = i;

    const auto only_consumer = [&](int node) {
        const std::vector<int> consumers = consumers_of(engine, node);
        return consumers.size() == 1 ? consumers[0] : -1;
    };
    const auto is_kind = [&](int node, Kind kind) { return node >= 0 && nodes[static_cast<std::size_t>(node)].kind == kind; };
    const auto is_pair_pool = [&](int node) {
        if (!is_kind(node, Kind::max_pool) && !is_kind(node, Kind::average_pool)) return false;
        const WindowSettings& w = nodes[static_cast<std::size_t>(node)].window;
        const Index height = nodes[static_cast<std::size_t>(nodes[static_cast<std::size_t>(node)].inputs[0])].shape.size[1];
        const Size pair{1, height == 1 ? 1 : 2, 2};  // signals have one row
        if (w.dilation != Size{1, 1, 1} || nodes[static_cast<std::size_t>(node)].ties != Ties::first) return false;
        return w.kernel == pair && w.stride == pair && w.before == Size{0, 0, 0} && w.after == Size{0, 0, 0};
    };

    operations_.push_back(make_import(*this));
    std::vector<bool> done(nodes.size(), false);
    for (int i = 1; i < count; ++i) {
        const std::size_t at = static_cast<std::size_t>(i);
        const Node& node = nodes[at];
        if (done[at] || tensor_of_[at] != i) continue;
        Fused fused{i};
        fused.output = i;
        const auto take = [&](int next) {
            materialised_[static_cast<std::size_t>(fused.output)] = false;
            done[static_cast<std::size_t>(next)] = true;
            return fused.output = next;
        };
        const auto take_activation = [&] {
            if (const int next = only_consumer(fused.output); mode != Mode::inspect && is_kind(next, Kind::activation))
                fused.activation = take(next);
        };
        if (node.kind == Kind::convolution && !sees_everything(engine, i)) {
            // Products of bf16 round the weights as they are.
            if (const int next = only_consumer(i); mode == Mode::predict && !engine.bf16() && is_kind(next, Kind::batch_norm))
                fused.normalization = take(next);
            take_activation();
            const int next = only_consumer(fused.output);
            if (mode != Mode::inspect && is_pair_pool(next) && node.groups == 1 && node.shape.size[0] == 1 &&
                (!uses_tiles(engine, i) || tiles_pool(engine, fused, next)))
                fused.pool = take(next);
            const auto make = uses_tiles(engine, i)        ? make_tile_convolution
                              : planes_fit(*this, fused) ? make_planar_convolution
                                                         : make_convolution;
            operations_.push_back(make(*this, fused));
        } else if (node.kind == Kind::dense || node.kind == Kind::convolution) {
            take_activation();
            operations_.push_back(uses_tiles(engine, i) ? make_tile_dense(*this, fused) : make_dense(*this, fused));
        } else if (node.kind == Kind::batch_norm || node.kind == Kind::example_norm) {
            take_activation();
            operations_.push_back(node.kind == Kind::batch_norm ? make_batch_norm(*this, fused) : make_example_norm(*this, fused));
        } else if (node.kind == Kind::interleave) {
            operations_.push_back(make_interleave(*this, i));
        } else if (node.kind == Kind::recurrent) {
            operations_.push_back(make_recurrent(*this, i));
        } else if (node.kind == Kind::local) {
            operations_.push_back(make_local(*this, i));
        } else if (node.kind == Kind::external) {
            operations_.push_back(std::make_unique<External>(*this, node.inputs[0], i));
        } else {
            operations_.push_back(make_simple(*this, i));
        }
        for (int inner : {fused.first, fused.normalization, fused.activation})
            if (inner >= 0) fused_into_[static_cast<std::size_t>(inner)] = fused.output;
    }
    for (const auto& operation : operations_) {
        if (operation->node == 0 && values_[0].in_place) continue;
        const bool external = nodes[static_cast<std::size_t>(operation->node)].kind == Kind::external;
        if (operation->by_image()) {
            if (stages_.empty() || !stages_.back().by_image) stages_.push_back({});
            stages_.back().operations.push_back(operation.get());
        } else {
            stages_.push_back({{operation.get()}, false, external ? operation->node : -1});
        }
    }
}

bool Plan::passes_by_example() const {
    const auto convolution = [&](const auto& operation) {
        return operation->by_image() && engine.nodes()[static_cast<std::size_t>(operation->node)].kind != Kind::input;
    };
    return mode == Mode::train && engine.arrival_grain() == 0 &&
           std::any_of(operations_.begin(), operations_.end(), convolution) &&
           std::all_of(operations_.begin(), operations_.end(), [](const auto& operation) { return operation->by_example(); });
}

// Who writes, who adds, and which gradients nobody needs.
void Plan::decide_gradients() {
    const auto& nodes = engine.nodes();
    needed_.assign(nodes.size(), mode == Mode::inspect);
    live_.assign(nodes.size(), false);
    accumulate_.assign(nodes.size(), {});
    if (!trains()) return;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const Node& node = nodes[i];
        bool any = (node.kind == Kind::convolution && !node.fixed) || node.kind == Kind::dense || node.kind == Kind::batch_norm ||
                   (node.kind == Kind::interleave && node.bias) ||
                   engine.learns(static_cast<int>(i)) || (node.kind == Kind::external && !node.parameter_sizes.empty());
        for (int input : node.inputs) any = any || needed_[static_cast<std::size_t>(input)];
        needed_[i] = needed_[i] || any;
    }
    std::vector<bool> written(nodes.size(), false);  // by tensor
    const auto tensor = [&](int node) { return static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(node)]); };
    written[tensor(static_cast<int>(nodes.size()) - 1)] = true;
    for (std::size_t i = nodes.size(); i-- > 0;) {
        live_[i] = written[tensor(fused_into_[i])];
        if (static_cast<std::size_t>(tensor_of_[i]) != i) continue;  // an alias: its consumers write to the tensor itself
        // Nodes inside a fused operation have one consumer, which writes straight to the operation's input.
        for (int input : nodes[i].inputs) {
            const std::size_t t = tensor(input);
            accumulate_[i].push_back(written[t]);
            if (live_[i] && needed_[static_cast<std::size_t>(input)]) written[t] = true;
        }
    }
    for (const auto& operation : operations_) {
        if (operation->node == 0) continue;
        int first = operation->node;  // the node of this operation that reads the operation's input
        for (std::size_t i = 0; i < nodes.size(); ++i)
            if (fused_into_[i] == operation->node && !nodes[i].inputs.empty() && nodes[i].inputs[0] == operation->input)
                first = static_cast<int>(i);
        operation->wants_input_gradient = needed_[static_cast<std::size_t>(operation->input)];
        operation->accumulate_input = accumulate_[static_cast<std::size_t>(first)][0];
    }
}

void Plan::place_tensors() {
    const auto& nodes = engine.nodes();
    const int last = static_cast<int>(nodes.size()) - 1;
    std::vector<int> stage_of(nodes.size(), 0);
    for (std::size_t s = 0; s < stages_.size(); ++s)
        for (Operation* operation : stages_[s].operations)
            stage_of[static_cast<std::size_t>(operation->node)] = static_cast<int>(s);
    for (std::size_t i = 0; i < nodes.size(); ++i) stage_of[i] = stage_of[static_cast<std::size_t>(fused_into_[i])];

    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (tensor_of_[i] != static_cast<int>(i) || !materialised_[i]) continue;
        bool local = static_cast<int>(i) != tensor_of_[static_cast<std::size_t>(last)];
        local = local && stages_[static_cast<std::size_t>(stage_of[i])].by_image;
        for (std::size_t j = 0; j < nodes.size(); ++j)
            for (int input : nodes[j].inputs)
                if (tensor_of_[static_cast<std::size_t>(input)] == static_cast<int>(i) && tensor_of_[j] != static_cast<int>(i))
                    local = local && stage_of[j] == stage_of[i];
        Tensor& value = values_[i];
        value.used = true;
        value.per_thread = local && mode == Mode::predict;
        value.passing = local && by_example_;
        value.arrange();
        if (value.in_place) {
            value.image = nodes[i].shape.count();
            continue;
        }
        value.base = reserve(multiply_sizes({value.image, value.per_thread ? slots_ : std::max<Index>(capacity_, slots_)}));
        Tensor& gradient = gradients_[i];
        gradient.used = trains() && needed_[i];
        gradient.per_thread = local && mode == Mode::train;
        gradient.arrange();
        if (gradient.used)
            gradient.base = reserve(multiply_sizes({gradient.image, gradient.per_thread ? slots_ : capacity_}));
    }
    for (const auto& operation : operations_) operation->prepare();
    scratch_floats_ = round_up(scratch_floats_ + 64, 16);
    scratch_base_ = reserve(multiply_sizes({scratch_floats_, slots_}));
    if (trains() && partial_floats_ > 0) partial_base_ = reserve(multiply_sizes({partial_floats_, chunks}));
    arena_floats_ += 1024;  // kernels may load a vector beyond the end
    arena_.reset(allocate_floats(arena_floats_));
    codes_.assign(static_cast<std::size_t>(codes_bytes_) + 64, 0);
}

Index Plan::reserve(Index floats) {
    const Index base = arena_floats_;
    arena_floats_ = round_up(arena_floats_ + floats, 16);
    multiply_sizes({arena_floats_});
    return base;
}

Index Plan::reserve_partial(Index floats) {
    const Index base = partial_floats_;
    partial_floats_ = round_up(partial_floats_ + floats, 16);
    return base;
}

Index Plan::reserve_codes(Index bytes_per_image) {
    const Index base = codes_bytes_;
    codes_bytes_ += multiply_sizes({bytes_per_image, capacity_}) + 64;
    return base;
}

Tensor& Plan::reserve_tensor(Tensor tensor, bool per_thread) {
    tensor.used = true;
    tensor.per_thread = per_thread;
    tensor.arrange();
    // What passes stands in its thread's place, of which there may be more than images.
    const Index images = tensor.passing ? std::max<Index>(capacity_, slots_) : capacity_;
    tensor.base = reserve(multiply_sizes({tensor.image, per_thread ? slots_ : images}));
    own_tensors_.push_back(std::make_unique<Tensor>(tensor));
    return *own_tensors_.back();
}

float* Plan::weights(int node, int which, const char* name) const {
    const int index = engine.node_parameters_[static_cast<std::size_t>(node)][std::strcmp(name, "bias") == 0 ? 1 : 0];
    return engine.values_[which].get() + engine.parameters_[static_cast<std::size_t>(index)].offset;
}

std::vector<std::string> Plan::describe() const {
    std::vector<std::string> lines(engine.nodes().size());
    for (const auto& operation : operations_) lines[static_cast<std::size_t>(operation->node)] = operation->describe();
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (fused_into_[i] != static_cast<int>(i)) lines[i] = "fused into " + std::to_string(fused_into_[i]);
        if (tensor_of_[i] != static_cast<int>(i)) lines[i] = "no work";
    }
    return lines;
}

void Operation::through_activation(const Curve& curve, const Tensor* before, Index n, int thread, float* gradient) {
    const Tensor& y = plan.value(node);
    const Tensor& dy = plan.gradient(node);
    const auto line_of = [n, thread, this](const Tensor& tensor, Index d, Index h) {
        return plan.image(tensor, n, thread) + tensor.origin + d * tensor.step[0] + h * tensor.step[1];
    };
    for (Index d = 0; d < y.size[0]; ++d)
        for (Index h = 0; h < y.size[1]; ++h) {
            float* const line = gradient + dy.origin + d * dy.step[0] + h * dy.step[1];
            const float* const activated = line_of(y, d, h);
            plan.kernels.curve_gradient(curve, before ? line_of(*before, d, h) : activated, activated, line, line,
                                        y.size[2] * y.stride, false);
        }
}

const Tensor* Operation::reserve_before(const Curve* curve) {
    if (!plan.trains() || curve == nullptr || !slope_needs_input(*curve)) return nullptr;
    Tensor before = plan.value(node);
    before.before = before.after = {0, 0, 0};
    before.passing = plan.by_example() && by_image();
    return &plan.reserve_tensor(before, false);
}

}  // namespace tatami
