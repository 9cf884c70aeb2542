// A network on the native backend: its description, its parameters, and the plans that run it.
//
// Python describes the network node by node; every number is checked here again before memory depends on it. `Engine` keeps
// the parameters in the layout the kernels want (and only there). For each way of running, prediction, training, or
// inspection, it plans once: which operations are fused, where every tensor lies in one arena, how the work is split.
//
// Splitting, so that results do not depend on the number of threads: convolutions and whatever stands between them belong to
// image stages, in which every image passes by itself; weight gradients are summed over fixed groups of images, then over
// the groups in order. Dense layers are batch stages, split into tiles of outputs, each computed whole by one thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernel_table.hpp"
#include "threads.hpp"

namespace tatami {

using Size = std::array<Index, 3>;  // depth, height, width

// Something the caller can put right: reported to Python as ValueError.
struct DescriptionError : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

enum class Kind { input, convolution, dense, max_pool, average_pool, lp_pool, activation, softmax, dropout, flatten, add,
                  concatenate, multiply, batch_norm, local_response, reshape, slopes, pieces, larger, example_norm,
                  noise, sample, resample, adaptive_pool, permute, embedding, padding_mask,
                  unpool, stochastic_pool, log_power, drop_connect,
                  interleave, recurrent, local, external };

enum class Mode : int { predict = 0, train = 1, inspect = 2 };

struct Shape {
    Index channels = 0;
    Size size{1, 1, 1};
    bool flat = true;  // (features,): channels without positions
    Index count() const { return channels * size[0] * size[1] * size[2]; }
};

struct WindowSettings {
    Size kernel{1, 1, 1}, stride{1, 1, 1}, before{0, 0, 0}, after{0, 0, 0}, dilation{1, 1, 1};
};

// How one axis of an output is made of that of an input: output i = Σ over t of weights(i, t) · input(sources(i, t)).
struct AxisMap {
    Index taps = 1;
    std::vector<Index> sources;
    std::vector<float> weights;
};

struct Node {
    Kind kind = Kind::input;
    std::vector<int> inputs;
    Shape shape;
    WindowSettings window;
    Index groups = 1;
    std::vector<Index> connections;  // of a wired convolution, filter × channel: which number its weights have, or -1
    bool bias = false;
    bool count_padding = false;
    bool normalise = true;
    float exponent = 2.0f;
    Curve curve;  // of an activation
    double ratio = 0.0;
    Index neighbours = 0;                    // of a local response normalisation
    float alpha = 0, beta = 0, constant = 0;  // likewise
    double momentum = 0.0, epsilon = 0.0;
    bool affine = false;
    std::uint32_t stream = 0;
    bool shared = false;         // one learned slope for all channels
    Index pieces = 1;            // channels that become their maximum
    bool over_channels = false;  // of a normalisation within an example: every pixel by itself
    Ties ties = Ties::first;     // of a maximum
    bool fixed = false;          // a convolution whose weights are no parameters
    bool by_channel = false;     // a dropout of whole maps
    bool exact = false;          // a dropout of an exact number of units of the batch
    std::array<AxisMap, 3> maps;
    std::array<Index, 4> order{0, 1, 2, 3};  // of a permutation: the input's axis for each of the output's
    Index vocabulary = 0;
    bool maximum = false;        // an adaptive pooling keeps maxima, not means
    bool per_value = false;      // likewise: a scale for every number, not for every channel
    Cell cell = Cell::rnn_tanh;  // of a recurrent layer
    bool every_step = false, reverse = false;
    Index truncate = 0;                  // steps that gradients go back; 0: all
    std::vector<Index> parameter_sizes;  // external nodes: elements of each parameter
};

// Where one parameter lies and how its elements are arranged.
struct Parameter {
    int node = 0;
    std::string name;
    Index count = 0;   // elements as the user sees them
    Index offset = 0;  // into every parameter array
    Index padded = 0;  // floats reserved, a multiple of 16
    bool decays = true;
    bool trained = true;  // false: running statistics
    Index groups = 0, group_filters = 0, group_channels = 0, taps = 0;  // of weights; 0: elements in order
    Index positions = 0;  // each with weights or a bias of its own; 0: they are shared
};

// How the filters of a convolution or dense layer are cut into panels of up to two vectors.
struct Panel {
    Index group, first, columns;  // first filter within the group
    int vectors;
    Index weight;  // offset of its block
};

struct OptimizerSettings {
    Rule rule = Rule::sgd;
    double decay = 0, momentum = 0, beta2 = 0, epsilon = 0;
    double largest_norm = 0;  // 0: no clipping
};

struct RandomKey {
    std::uint64_t seed = 0;
    std::uint32_t epoch = 0, step = 0;
};

struct LossResult {
    double loss = 0;
    Index correct = 0;
};

class Plan;

class Engine {
public:
    // products: 0 multiplies floats, 1 floats rounded to bf16, 3 floats as three products of bf16 (on tiles only).
    Engine(const Kernels& kernels, int threads, int products = 0);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Description. Each call returns the node's number; the first node is the input.
    int add_input(const Shape& shape);
    int add_convolution(int input, Index filters, const WindowSettings& window, Index groups, bool bias);
    // Filter k sees the channels table[k] alone.
    int add_table_convolution(int input, const std::vector<std::vector<Index>>& table, const WindowSettings& window, bool bias);
    // A convolution with other filters at every position.
    int add_local(int input, Index filters, const WindowSettings& window, bool bias);
    int add_dense(int input, Index units, bool bias);
    int add_pool(int input, Kind kind, const WindowSettings& window, bool count_padding, float exponent, bool normalise,
                 bool global, Ties ties = Ties::first);
    int add_activation(int input, const Curve& curve);
    int add_softmax(int input);
    int add_dropout(int input, double ratio, std::uint32_t stream, bool by_channel, bool exact);
    int add_flatten(int input);
    int add_batch_norm(int input, double momentum, double epsilon, bool affine, bool bias);
    // y of `size` from the maps of all phases; `before` is cut from the start of every axis. See interleave.cpp.
    int add_interleave(int input, const Size& size, const Size& stride, const Size& before, Index groups, bool bias);
    // inputs: a sequence (features, time), and perhaps its mask (time,). every_step: the output is (units, time), else (units,).
    int add_recurrent(const std::vector<int>& inputs, Cell cell, Index units, bool every_step, bool reverse, Index truncate);
    int add_local_response(int input, Index neighbours, float alpha, float beta, float constant);
    int add_reshape(int input, const Shape& shape);
    int add_product(const std::vector<int>& inputs);
    int add_merge(const std::vector<int>& inputs, bool concatenate);
    // Layers of engine_layers.cpp.
    int add_slopes(int input, bool shared);
    int add_pieces(int input, Index pieces);
    int add_larger(int input, int other);
    int add_example_norm(int input, Index groups, bool over_channels, bool per_value, double epsilon, bool affine, bool bias);
    int add_noise(int input, float deviation, std::uint32_t stream);
    int add_sample(int mean, int log_variance, std::uint32_t stream);
    int add_resample(int input, const std::array<AxisMap, 3>& maps, float fill);
    int add_adaptive_pool(int input, const Size& size, bool maximum);
    int add_permute(int input, const std::vector<Index>& axes);
    int add_embedding(int input, Index vocabulary, const Shape& shape);
    int add_padding_mask(int input, float value);
    int add_unpool(int input, int before, const WindowSettings& window);
    int add_stochastic_pool(int input, const WindowSettings& window, std::uint32_t stream);
    int add_log_power(int input, Index groups, float gain);
    int add_drop_connect(int input, Index units, double ratio, std::uint32_t stream, bool bias);
    void fix_weights(int node);  // of a convolution: they are set, and nothing moves them
    int add_external(const std::vector<int>& inputs, const Shape& shape, const std::vector<Index>& parameter_sizes);
    void finish(const OptimizerSettings& optimizer);

    const std::vector<Node>& nodes() const { return nodes_; }
    const std::vector<Parameter>& parameters() const { return parameters_; }
    const Kernels& kernels() const { return kernels_; }
    int threads() const { return threads_; }
    bool bf16() const { return products_ > 0; }  // operands of products are bf16
    int products() const { return products_; }
    // Only to measure what equal bits cost: images go one by one (so many at a time) to whichever thread is free, and every
    // thread sums the weight gradients of those that it got. 0: the fixed groups of images that results depend on.
    Index arrival_grain() const { return arrival_grain_; }
    void set_arrival_grain(Index grain) { arrival_grain_ = grain; }
    int parameter_index(int node, const std::string& name) const;

    // which: 0 value, 1 gradient, 2 and 3 the optimiser's slots
    void set_parameter(int parameter, int which, std::span<const float> values);
    void get_parameter(int parameter, int which, std::span<float> values) const;
    void set_update_count(Index count) { update_count_ = count; }
    Index update_count() const { return update_count_; }

    // Running. Every call takes the engine's lock.
    void predict(const float* x, Index batch, float* output);
    LossResult train_step(const float* x, Index batch, const std::int64_t* labels, const float* targets, float loss_weight,
                          const RandomKey& key, double rate, bool update, float* output);

    // The same in pieces, for networks with nodes that run outside and for inspection.
    int stage_count(Mode mode, Index batch);
    int external_node(Mode mode, Index batch, int stage);  // -1: a native stage
    void start(Mode mode, const float* x, Index batch, const RandomKey& key, bool training);
    void start_with_copy(Mode mode, const float* x, Index batch, const RandomKey& key, bool training);
    void run_forward(int first, int last);
    LossResult run_loss(const std::int64_t* labels, const float* targets, float loss_weight);
    void start_backward(const float* doutput);
    void run_backward(int first, int last);  // stages last - 1 down to first
    void run_update(double rate);
    void read_value(int node, float* to) const;
    void write_value(int node, const float* from);
    bool has_gradient(int node) const;
    void read_gradient(int node, float* to) const;
    void add_gradient(int node, int consumer, const float* from);
    bool is_materialised(int node) const;
    Index batch() const;
    Index memory() const;
    std::vector<std::string> describe(Mode mode, Index batch);

    // Moves `count` floats of one parameter, from `first` on, by their gradients; see update.hpp.
    void update_piece(const Update& step, const Parameter& parameter, Index first, Index count, const float* gradient) const;

    // Sets the gradients of weights that a table leaves out to zero, so that nothing ever moves them.
    void clear_unconnected(int node) const;

    std::mutex& lock() { return lock_; }

private:
    friend class Plan;
    const Node& checked(int node) const;
    int append(Node node);
    Node node_like(int input, Kind kind) const;  // a node with the shape of its input
    bool create_layer_parameters(int number);
    void create_local_parameters(int number);
    bool learns(int node) const;  // has parameters of engine_layers.cpp that move
    void require_open() const;
    void create_parameters();
    void add_parameter(int node, const char* name, Index count, Index padded, bool decays);
    template <typename Visit>
    void for_each_element(const Parameter& parameter, Visit visit) const;
    Plan& plan(Mode mode, Index batch);
    Update next_update(double rate);
    double gradient_scale();  // below 1 where the gradients' norm is limited and exceeded
    void update_parameters(const Update& step, const Plan* done);

    const Kernels& kernels_;
    int threads_;
    int products_;
    Index arrival_grain_ = 0;
    bool finished_ = false;
    std::vector<Node> nodes_;
    std::vector<Parameter> parameters_;
    std::vector<std::array<int, 2>> node_parameters_;  // weight, bias; -1: none
    std::vector<std::vector<Panel>> panels_;           // of each node
    std::vector<Index> group_padding_;
    OptimizerSettings optimizer_;
    Index parameter_floats_ = 0;
    struct Free {
        void operator()(float* memory) const;
    };
    std::unique_ptr<float, Free> values_[4];
    Index update_count_ = 0;
    Index version_ = 1;  // grows whenever parameters change, so that plans know when to repack
    std::unique_ptr<Plan> plans_[3];
    Plan* current_ = nullptr;
    std::vector<float> held_;  // the batch, between calls
    mutable std::mutex lock_;
};

// Floats aligned to 64 bytes and set to zero; throws std::bad_alloc.
float* allocate_floats(Index count);
void free_floats(float* memory);
Index multiply_sizes(std::initializer_list<Index> sizes);  // throws DescriptionError when too large
inline Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

}  // namespace tatami
