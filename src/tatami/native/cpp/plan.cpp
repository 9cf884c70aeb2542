// Planning, once for each way of running: what shares a tensor, what is fused, who writes which gradient and who adds to it,
// and where everything lies in one arena; then running the stages forward and backward.
//
// Fused are, unless everything is to be kept: into a convolution a batch normalisation at prediction, any activation without
// parameters, and 2×2 maxima or averages; into a dense layer or a normalisation an activation.
//
// Forward, an image passes through all operations of its stage while its numbers are in the cache, four images at a time.
// A training step of convolutions with at most small dense layers behind them goes further: every image passes through the
// whole network, the loss, and back again before the next one. Its activations stand in one place for each thread, which
// stays in the second-level cache; a batch's activations do not, and the way back would wait for memory.
// Backward, sums over images are made in sixteen groups of images, whatever the number of threads, and added in order.
#include "plan.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>


namespace tatami {

namespace {

Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

// Images that a thread takes at a time in the forward pass.
constexpr Index forward_grain = 4;

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

void Tensor::arrange() {
    step[2] = stride;
    step[1] = multiply_sizes({before[2] + size[2] + after[2], step[2]});
    step[0] = multiply_sizes({before[1] + size[1] + after[1], step[1]});
    image = round_up(multiply_sizes({before[0] + size[0] + after[0], step[0]}), 16);
    origin = before[0] * step[0] + before[1] * step[1] + before[2] * step[2];
}

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

int Plan::external_node(int stage) const {
    if (stage < 0 || stage >= stage_count()) throw DescriptionError("no such stage");
    return stages_[static_cast<std::size_t>(stage)].external;
}

void Plan::start(const float* x, Index batch, const RandomKey& key, bool training) {
    batch_ = batch;
    stepping_ = false;
    input_ = x;
    key_ = key;
    training_ = training;
    if (packed_version_ != engine.version_) {
        // Batch operations share their packing out themselves; the others are packed side by side.
        const Index count = static_cast<Index>(operations_.size());
        parallel_for(threads_, count, 1, [&](Index i, int) {
            if (operations_[static_cast<std::size_t>(i)]->by_image()) operations_[static_cast<std::size_t>(i)]->pack();
        });
        for (const auto& operation : operations_)
            if (!operation->by_image()) operation->pack();
        packed_version_ = engine.version_;
    }
}

void Plan::forward(int first, int last) {
    if (first < 0 || last > stage_count()) throw DescriptionError("no such stage");
    if ((first == 0 || values_[0].in_place) && input_ == nullptr) throw DescriptionError("nothing was started");
    for (int s = first; s < last; ++s) {
        const Stage& stage = stages_[static_cast<std::size_t>(s)];
        if (!stage.by_image) {
            stage.operations[0]->forward_batch();
            continue;
        }
        if (batch_ == 1 && threads_ > 1) {
            for (Operation* operation : stage.operations) {
                const Index parts = operation->parts(threads_);
                if (parts == 1)
                    operation->forward(0, 0);
                else
                    parallel_for(threads_, parts, 1,
                                 [&](Index part, int thread) { operation->forward_part(0, 0, thread, part, parts); });
            }
            continue;
        }
        parallel_for(threads_, batch_, forward_grain, [&](Index n, int thread) {
            for (Operation* operation : stage.operations) operation->forward(n, thread);
        });
    }
}

// Asks for one image's values to come to the second-level cache while another one is worked on: a batch's values are larger
// than that cache, and a gradient that meets them first would wait for memory line by line.
void Plan::fetch_ahead(const Tensor& tensor, Index n) const {
#if defined(__GNUC__)
    if (!tensor.used || tensor.per_thread) return;
    constexpr Index line = 16;             // floats
    constexpr Index most = 65536;          // floats of an image that leave room for the one at hand
    if (tensor.image > most) return;
    const float* const from = image(tensor, n, 0);
    for (Index i = 0; i < tensor.image; i += line) __builtin_prefetch(from + i, 0, 2);
#endif
}

void Plan::backward(int first, int last) {
    if (first < 0 || last > stage_count()) throw DescriptionError("no such stage");
    if (values_[0].in_place && input_ == nullptr) throw DescriptionError("nothing was started");
    for (int s = last - 1; s >= first; --s) {
        const Stage& stage = stages_[static_cast<std::size_t>(s)];
        if (!stage.by_image) {
            if (is_live(stage.operations[0]->node)) stage.operations[0]->backward_batch();
            continue;
        }
        const Index sums = engine.arrival_grain() > 0 && threads_ <= chunks ? backward_by_arrival(stage.operations)
                                                                           : backward_by_chunks(stage.operations);
        for (Operation* operation : stage.operations)
            if (is_live(operation->node)) operation->add_up(sums);
    }
}

// Images in fixed groups, each summed in order: the same bits whichever thread takes a group.
Index Plan::backward_by_chunks(const std::vector<Operation*>& operations) {
    const Index used_chunks = std::min(chunks, batch_);
    parallel_for(threads_, used_chunks, 1, [&](Index chunk, int thread) {
        const Index begin = batch_ * chunk / used_chunks, end = batch_ * (chunk + 1) / used_chunks;
        for (Index n = end - 1; n >= begin; --n)  // the last one forward is still in the cache
            for (std::size_t i = operations.size(); i-- > 0;) {
                if (!is_live(operations[i]->node)) continue;
                if (n > begin) fetch_ahead(value(operations[i]->input), n - 1);
                operations[i]->backward(n, thread, chunk, n == end - 1);
            }
        for (Operation* operation : operations)
            if (is_live(operation->node)) operation->end_chunk(thread, chunk);
    });
    return used_chunks;
}

LossResult Plan::step(const std::int64_t* labels, const float* targets, float weight) {
    if (!by_example_) {
        forward(0, stage_count());
        const LossResult result = loss(labels, targets, weight);
        backward(0, stage_count());
        return result;
    }
    if (input_ == nullptr) throw DescriptionError("nothing was started");
    stepping_ = true;
    const Index used_chunks = std::min(chunks, batch_);
    std::vector<ExampleLoss> losses(static_cast<std::size_t>(batch_));
    parallel_for(threads_, used_chunks, 1, [&](Index chunk, int thread) {
        const Index begin = batch_ * chunk / used_chunks, end = batch_ * (chunk + 1) / used_chunks;
        for (Index n = end - 1; n >= begin; --n) {  // the order of backward_by_chunks: the same sums
            for (const auto& operation : operations_) operation->forward(n, thread);
            losses[static_cast<std::size_t>(n)] = loss_of(n, labels, targets, weight);
            for (std::size_t i = operations_.size(); i-- > 0;)
                if (is_live(operations_[i]->node)) operations_[i]->backward(n, thread, chunk, n == end - 1);
        }
        for (const auto& operation : operations_)
            if (is_live(operation->node)) operation->end_chunk(thread, chunk);
    });
    for (std::size_t i = operations_.size(); i-- > 0;) {
        Operation& operation = *operations_[i];
        if (!is_live(operation.node)) continue;
        operation.by_image() ? operation.add_up(used_chunks) : operation.finish_batch();
    }
    return total(losses, weight);
}

// One sum for every thread, of the images that it happens to get.
Index Plan::backward_by_arrival(const std::vector<Operation*>& operations) {
    std::vector<Index> sum_of(static_cast<std::size_t>(threads_), -1);
    std::atomic<Index> sums{0};
    parallel_for(threads_, batch_, engine.arrival_grain(), [&](Index i, int thread) {
        Index& sum = sum_of[static_cast<std::size_t>(thread)];
        const bool first = sum < 0;
        if (first) sum = sums.fetch_add(1);
        for (std::size_t at = operations.size(); at-- > 0;)
            if (is_live(operations[at]->node)) operations[at]->backward(batch_ - 1 - i, thread, sum, first);
    });
    for (std::size_t thread = 0; thread < sum_of.size(); ++thread)
        for (Operation* operation : operations)
            if (sum_of[thread] >= 0 && is_live(operation->node)) operation->end_chunk(static_cast<int>(thread), sum_of[thread]);
    return sums.load();
}

LossResult Plan::loss(const std::int64_t* labels, const float* targets, float weight) {
    std::vector<ExampleLoss> losses(static_cast<std::size_t>(batch_));
    parallel_for(threads_, batch_, 8, [&](Index n, int) {
        losses[static_cast<std::size_t>(n)] = loss_of(n, labels, targets, weight);
    });
    return total(losses, weight);
}

// One image's loss, and its gradient into that of the last node's output.
Plan::ExampleLoss Plan::loss_of(Index n, const std::int64_t* labels, const float* targets, float weight) const {
    const int node = static_cast<int>(engine.nodes().size()) - 1;
    const Tensor& y = value(node);
    const Tensor& dy = gradient(node);
    const Index positions = y.size[0] * y.size[1] * y.size[2];
    ExampleLoss result;
    for (Index p = 0; p < positions; ++p) {
        const Index w = p % y.size[2], h = p / y.size[2] % y.size[1], d = p / (y.size[2] * y.size[1]);
        const float* const z = image(y, n, 0) + y.origin + d * y.step[0] + h * y.step[1] + w * y.step[2];
        float* const dz = dy.used ? image(dy, n, 0) + dy.origin + d * dy.step[0] + h * dy.step[1] + w * dy.step[2] : nullptr;
        Index best = 0;
        for (Index k = 1; k < y.channels; ++k)
            if (z[k] > z[best]) best = k;
        if (labels) {
            const Index right = labels[n * positions + p];
            float total = 0;
            for (Index k = 0; k < y.channels; ++k) {
                const float power = std::exp(z[k] - z[best]);
                total += power;
                if (dz) dz[k] = power;
            }
            result.loss += std::log(static_cast<double>(total)) - static_cast<double>(z[right] - z[best]);
            if (dz)
                for (Index k = 0; k < y.channels; ++k)
                    dz[k] = (dz[k] / total - (k == right ? 1.0f : 0.0f)) * weight;
            result.correct += best == right;
        } else {
            Index wanted = 0;
            const float* const target = targets + n * y.channels * positions + p;
            for (Index k = 0; k < y.channels; ++k) {
                const float difference = z[k] - target[k * positions];
                if (target[k * positions] > target[wanted * positions]) wanted = k;
                result.loss += 0.5 * static_cast<double>(difference) * static_cast<double>(difference);
                if (dz) dz[k] = difference * weight;
            }
            result.correct += best == wanted;
        }
    }
    return result;
}

LossResult Plan::total(const std::vector<ExampleLoss>& losses, float weight) {
    LossResult result;
    for (const ExampleLoss& example : losses) {
        result.loss += example.loss;
        result.correct += example.correct;
    }
    result.loss *= static_cast<double>(weight);
    return result;
}

bool Plan::is_materialised(int node) const {
    const std::size_t tensor = static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(node)]);
    if (values_[tensor].in_place && input_ == nullptr) return false;  // the caller's array is gone
    return materialised_[tensor] && !values_[tensor].per_thread && !(values_[tensor].passing && stepping_);
}

bool Plan::has_gradient(int node) const {
    const std::size_t tensor = static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(node)]);
    return gradients_[tensor].used && !gradients_[tensor].per_thread && live_[static_cast<std::size_t>(node)];
}

bool Plan::accumulates(int consumer, int node) const {
    const auto& inputs = engine.nodes()[static_cast<std::size_t>(consumer)].inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i] == node && i < accumulate_[static_cast<std::size_t>(consumer)].size())
            return accumulate_[static_cast<std::size_t>(consumer)][i];
    throw DescriptionError("the node is no input of that consumer");
}

void Plan::read_value(int node, float* to) const {
    if (!is_materialised(node)) throw DescriptionError("the value of this node is not kept");
    const Tensor& tensor = value(node);
    const Index count = engine.nodes()[static_cast<std::size_t>(node)].shape.count();
    for (Index n = 0; n < batch_; ++n) copy_from_pixels(image(tensor, n, 0), tensor, to + n * count);
}

void Plan::write_value(int node, const float* from) {
    const Tensor& tensor = value(node);
    if (!is_materialised(node) || tensor.in_place) throw DescriptionError("the value of this node is not kept");
    const Index count = engine.nodes()[static_cast<std::size_t>(node)].shape.count();
    for (Index n = 0; n < batch_; ++n) copy_to_pixels(from + n * count, tensor, image(tensor, n, 0));
}

void Plan::read_gradient(int node, float* to) const {
    if (!has_gradient(node)) throw DescriptionError("the gradient of this node is not kept");
    const Tensor& tensor = gradient(node);
    const Index count = engine.nodes()[static_cast<std::size_t>(node)].shape.count();
    for (Index n = 0; n < batch_; ++n) copy_from_pixels(image(tensor, n, 0), tensor, to + n * count);
}

void Plan::write_gradient(int node, const float* from, bool accumulate) {
    const Tensor& tensor = gradient(node);
    if (!tensor.used || tensor.per_thread) throw DescriptionError("the gradient of this node is not kept");
    const Index count = engine.nodes()[static_cast<std::size_t>(node)].shape.count();
    for (Index n = 0; n < batch_; ++n)
        (accumulate ? add_to_pixels : copy_to_pixels)(from + n * count, tensor, image(tensor, n, 0));
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

namespace {

template <typename Visit>
void for_each_pixel(const Tensor& tensor, Visit visit) {
    Index position = 0;
    for (Index d = 0; d < tensor.size[0]; ++d)
        for (Index h = 0; h < tensor.size[1]; ++h)
            for (Index w = 0; w < tensor.size[2]; ++w, ++position)
                visit(position, tensor.origin + d * tensor.step[0] + h * tensor.step[1] + w * tensor.step[2]);
}

}  // namespace

void copy_to_pixels(const float* from, const Tensor& tensor, float* image) {
    const Index positions = tensor.size[0] * tensor.size[1] * tensor.size[2];
    if (positions == 1) {
        std::memcpy(image + tensor.origin, from, static_cast<std::size_t>(tensor.channels) * sizeof(float));
    } else if (tensor.stride == 1) {
        for (Index d = 0; d < tensor.size[0]; ++d)
            for (Index h = 0; h < tensor.size[1]; ++h)
                std::memcpy(image + tensor.origin + d * tensor.step[0] + h * tensor.step[1],
                            from + (d * tensor.size[1] + h) * tensor.size[2],
                            static_cast<std::size_t>(tensor.size[2]) * sizeof(float));
    } else {
        for_each_pixel(tensor, [&](Index position, Index at) {
            for (Index c = 0; c < tensor.channels; ++c) image[at + c] = from[c * positions + position];
        });
    }
}

void add_to_pixels(const float* from, const Tensor& tensor, float* image) {
    const Index positions = tensor.size[0] * tensor.size[1] * tensor.size[2];
    for_each_pixel(tensor, [&](Index position, Index at) {
        for (Index c = 0; c < tensor.channels; ++c) image[at + c] += from[c * positions + position];
    });
}

void copy_from_pixels(const float* image, const Tensor& tensor, float* to) {
    const Index positions = tensor.size[0] * tensor.size[1] * tensor.size[2];
    for_each_pixel(tensor, [&](Index position, Index at) {
        for (Index c = 0; c < tensor.channels; ++c) to[c * positions + position] = image[at + c];
    });
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
