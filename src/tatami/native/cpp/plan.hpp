// A network planned for one way of running: operations in order, stages, and every tensor's place in one arena.
#pragma once

#include <functional>

#include "engine.hpp"

namespace tatami {

// Where the numbers of one tensor lie: channels-last pixels, with a border of zeros that convolutions read as padding.
struct Tensor {
    Index channels = 0, stride = 0;  // floats of a pixel, used and reserved
    Size size{1, 1, 1}, before{0, 0, 0}, after{0, 0, 0};
    Size step{0, 0, 0};  // floats from plane to plane, line to line, pixel to pixel
    Index image = 0;     // floats of one image
    Index origin = 0;    // first pixel within the image
    bool per_thread = false;
    bool passing = false;  // nobody reads an image's numbers after its own pass, see Plan::step
    bool used = false;
    bool in_place = false;  // the network's input, read where the caller has it
    Index base = 0;         // offset in the arena

    void arrange();
    bool contiguous_lines() const { return before[2] + after[2] == 0 && stride == channels; }
};

// Shape of the map behind a dense layer's flat input, or the flat input itself.
Shape dense_source(const Engine& engine, int node);
bool is_depthwise(const Engine& engine, int node);
bool sees_everything(const Engine& engine, int node);  // a convolution with one window: a dense layer in disguise
bool winograd_fits(const Engine& engine, int node);  // a 3×3 convolution with stride 1 and enough channels
bool signal_fits(const Engine& engine, int node);    // a signal's convolution with stride 1 and enough channels
bool uses_pairs(const Engine& engine, int node);       // bf16: multiplies pairs of numbers
bool rounds_operands(const Engine& engine, int node);  // bf16 without an instruction for pairs: multiplies rounded floats
bool uses_tiles(const Engine& engine, int node);     // the same on the processor's tiles
bool flatten_is_alias(const Engine& engine, int node);
std::vector<int> consumers_of(const Engine& engine, int node);

// What one operation computes: a layer with weights (or a normalisation), and the nodes behind it that are fused into it.
struct Fused {
    int first;               // the layer itself
    int normalization = -1;  // folded into the weights at prediction; -1: none
    int activation = -1;     // entry by entry
    int pool = -1;           // 2×2 maxima or averages
    int output = -1;         // the last of them
};

class Operation;

class Plan {
public:
    Plan(Engine& engine, Mode mode, Index capacity, int threads);
    ~Plan();

    Index capacity() const { return capacity_; }
    Index batch() const { return batch_; }
    int threads() const { return slots_; }
    void use_threads(int threads) { threads_ = threads < slots_ ? threads : slots_; }
    Index floats() const { return arena_floats_; }

    int stage_count() const { return static_cast<int>(stages_.size()); }
    int external_node(int stage) const;
    void start(const float* x, Index batch, const RandomKey& key, bool training);
    void forget_input() { input_ = nullptr; }  // the caller's array is gone
    void forward(int first, int last);
    LossResult loss(const std::int64_t* labels, const float* targets, float weight);
    void backward(int first, int last);
    // All three at once.
    LossResult step(const std::int64_t* labels, const float* targets, float weight);
    // Whether `step` takes every image through the whole network and back before the next one; see running.cpp.
    bool by_example() const { return by_example_; }
    void read_value(int node, float* to) const;
    void write_value(int node, const float* from);
    bool is_materialised(int node) const;
    bool has_gradient(int node) const;
    void read_gradient(int node, float* to) const;
    void write_gradient(int node, const float* from, bool accumulate);
    bool accumulates(int consumer, int node) const;
    bool accumulates_at(int consumer, std::size_t input) const {
        return accumulate_[static_cast<std::size_t>(consumer)][input];
    }
    std::vector<std::string> describe() const;

    // For operations.
    Engine& engine;
    const Mode mode;
    const Kernels& kernels;
    const Tensor& value(int node) const { return values_[static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(node)])]; }
    const Tensor& gradient(int node) const {
        return gradients_[static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(node)])];
    }
    Tensor& gradient_to_arrange(int node) {
        return gradients_[static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(node)])];
    }
    float* image(const Tensor& tensor, Index n, int thread) const {
        if (tensor.in_place) return const_cast<float*>(input_) + n * tensor.image;  // nothing writes to an input
        return arena_.get() + tensor.base + (tensor.per_thread || (tensor.passing && stepping_) ? thread : n) * tensor.image;
    }
    float* weights(int node, int which, const char* name) const;  // which: 0 values, 1 gradients
    const std::vector<Panel>& panels(int node) const { return engine.panels_[static_cast<std::size_t>(node)]; }
    float* state(int node, int which) const {  // running statistics: 0 mean, 1 variance
        const int index = engine.node_parameters_[static_cast<std::size_t>(node)][1] + 1 + which;
        return engine.values_[0].get() + engine.parameters_[static_cast<std::size_t>(index)].offset;
    }
    const Parameter& parameter(int node, int which) const {
        const int index = engine.node_parameters_[static_cast<std::size_t>(node)][static_cast<std::size_t>(which)];
        return engine.parameters_[static_cast<std::size_t>(index)];
    }
    float* scratch(int thread) const { return arena_.get() + scratch_base_ + thread * scratch_floats_; }
    float* partial(Index chunk) const { return arena_.get() + partial_base_ + chunk * partial_floats_; }
    std::uint8_t* codes(Index base, Index n, Index image) const { return codes_.data() + base + n * image; }
    Index reserve(Index floats);  // while planning: a place in the arena
    Index reserve_partial(Index floats);
    Index reserve_codes(Index bytes_per_image);
    void need_scratch(Index floats) { scratch_floats_ = scratch_floats_ > floats ? scratch_floats_ : floats; }
    Tensor& reserve_tensor(Tensor tensor, bool per_thread);  // for operations' own tensors
    float* arena() const { return arena_.get(); }
    const float* input() const { return input_; }
    const RandomKey& key() const { return key_; }
    bool training() const { return training_; }
    // Running statistics have moved: other plans have to look again; this one reads them nowhere else.
    void statistics_changed() { packed_version_ = ++engine.version_; }
    int running_threads() const { return threads_; }
    // In a training step that may move weights while it runs: how; null otherwise. An operation that has moved all parameters
    // of a node says so.
    const Update* update() const { return update_; }
    void set_update(const Update* update) {
        update_ = update;
        updated_.assign(engine.nodes().size(), false);
    }
    void mark_updated(int node) { updated_[static_cast<std::size_t>(node)] = true; }
    bool is_updated(int node) const { return update_ != nullptr && updated_[static_cast<std::size_t>(node)]; }
    bool trains() const { return mode != Mode::predict; }
    bool is_live(int node) const { return live_[static_cast<std::size_t>(node)]; }

private:
    struct Stage {
        std::vector<Operation*> operations;  // one for batch and external stages
        bool by_image = true;
        int external = -1;
    };
    static constexpr Index chunks = 16;  // groups of images over which weight gradients are summed first

    struct ExampleLoss {
        double loss = 0;
        Index correct = 0;
    };

    void choose_tensors();
    bool reads_input_in_place() const;
    void build_operations();
    bool passes_by_example() const;
    ExampleLoss loss_of(Index n, const std::int64_t* labels, const float* targets, float weight) const;
    static LossResult total(const std::vector<ExampleLoss>& losses, float weight);
    void decide_gradients();
    Index backward_by_chunks(const std::vector<Operation*>& operations);
    Index backward_by_arrival(const std::vector<Operation*>& operations);
    void place_tensors();
    void fetch_ahead(const Tensor& tensor, Index n) const;

    Index capacity_, batch_ = 0;
    int slots_, threads_;
    std::vector<int> tensor_of_;      // of each node
    std::vector<bool> materialised_;  // of each node
    std::vector<Tensor> values_, gradients_;
    std::vector<std::unique_ptr<Operation>> operations_;
    std::vector<Stage> stages_;
    std::vector<int> fused_into_;  // of each node: the node whose operation computes it
    std::vector<bool> needed_;     // of each node: its gradient is wanted
    std::vector<bool> live_;       // of each node: its gradient is written by someone
    std::vector<std::vector<bool>> accumulate_;  // of each node, for each input
    struct Free {
        void operator()(float* memory) const;
    };
    std::unique_ptr<float, Free> arena_;
    Index arena_floats_ = 0;
    mutable std::vector<std::uint8_t> codes_;
    Index codes_bytes_ = 0;
    Index scratch_floats_ = 0, scratch_base_ = 0;
    Index partial_floats_ = 0, partial_base_ = 0;
    std::vector<std::unique_ptr<Tensor>> own_tensors_;
    const float* input_ = nullptr;
    RandomKey key_;
    bool training_ = false;
    bool by_example_ = false;
    bool stepping_ = false;  // images stand in their thread's place
    const Update* update_ = nullptr;
    std::vector<bool> updated_;
    Index packed_version_ = 0;

    friend class Operation;
};

// One node, or several fused ones, in a plan.
class Operation {
public:
    Operation(Plan& owner, int input_node, int output_node) : plan(owner), node(output_node), input(input_node) {}
    virtual ~Operation() = default;
    virtual bool by_image() const { return true; }
    virtual std::string describe() const = 0;
    virtual void prepare() {}  // after all tensors are placed
    virtual void pack() {}     // whenever parameters have changed
    virtual void forward(Index, int) {}
    // One image shared out: in how many parts, and one of them. `slot` says where per-thread tensors lie.
    virtual Index parts(Index) const { return 1; }
    virtual void forward_part(Index n, int slot, int, Index, Index) { forward(n, slot); }
    virtual void backward(Index, int, Index, bool) {}  // image, thread, chunk, first image of the chunk
    virtual void forward_batch() {}
    virtual void backward_batch() {}
    // Whether forward and backward above do for one image what the functions of the batch do, but for what sums over images;
    // that is left to finish_batch.
    virtual bool by_example() const { return by_image(); }
    virtual void finish_batch() {}
    virtual void end_chunk(int, Index) {}  // thread, chunk: its last image went back
    virtual void add_up(Index) {}  // weight gradient = sum of so many chunks

    Plan& plan;
    const int node;   // the last of the fused nodes
    const int input;  // the first one's (only or first) input
    bool wants_input_gradient = false;
    bool accumulate_input = false;

protected:
    // An image's gradient of the fused output becomes that of what the activation was applied to: `before`, which may be null
    // where the derivative does not look at it.
    void through_activation(const Curve& curve, const Tensor* before, Index n, int thread, float* gradient);
    // A tensor like the fused output's, for what goes into the activation while training, or null where nobody asks for it.
    const Tensor* reserve_before(const Curve* curve);
};

// The activation and the pooling of an operation, or null, and what `describe` says of everything behind the layer.
const Curve* fused_curve(const Engine& engine, const Fused& fused);
bool is_relu(const Curve* curve);
std::string describe_fused(const Engine& engine, const Fused& fused);
bool planes_fit(const Plan& plan, const Fused& fused);  // few filters of the network's input: vectors of pixels

std::unique_ptr<Operation> make_import(Plan& plan);
std::unique_ptr<Operation> make_convolution(Plan& plan, const Fused& fused);
std::unique_ptr<Operation> make_planar_convolution(Plan& plan, const Fused& fused);
std::unique_ptr<Operation> make_dense(Plan& plan, const Fused& fused);
std::unique_ptr<Operation> make_tile_convolution(Plan& plan, const Fused& fused);
std::unique_ptr<Operation> make_tile_dense(Plan& plan, const Fused& fused);
std::unique_ptr<Operation> make_batch_norm(Plan& plan, const Fused& fused);
std::unique_ptr<Operation> make_example_norm(Plan& plan, const Fused& fused);
std::unique_ptr<Operation> make_slopes(Plan& plan, int node);
std::unique_ptr<Operation> make_pieces(Plan& plan, int node);
std::unique_ptr<Operation> make_larger(Plan& plan, int node);
std::unique_ptr<Operation> make_dropout(Plan& plan, int node);
std::unique_ptr<Operation> make_noise(Plan& plan, int node);
std::unique_ptr<Operation> make_sample(Plan& plan, int node);
std::unique_ptr<Operation> make_resample(Plan& plan, int node);
std::unique_ptr<Operation> make_adaptive_pool(Plan& plan, int node);
std::unique_ptr<Operation> make_permute(Plan& plan, int node);
std::unique_ptr<Operation> make_embedding(Plan& plan, int node);
std::unique_ptr<Operation> make_padding_mask(Plan& plan, int node);
std::unique_ptr<Operation> make_unpool(Plan& plan, int node);
std::unique_ptr<Operation> make_stochastic_pool(Plan& plan, int node);
std::unique_ptr<Operation> make_log_power(Plan& plan, int node);
std::unique_ptr<Operation> make_drop_connect(Plan& plan, int node);
std::unique_ptr<Operation> make_interleave(Plan& plan, int node);
std::unique_ptr<Operation> make_local(Plan& plan, int node);
std::unique_ptr<Operation> make_recurrent(Plan& plan, int node);
std::unique_ptr<Operation> make_simple(Plan& plan, int node);  // everything else

void copy_to_pixels(const float* from, const Tensor& tensor, float* image);                        // (C, D, H, W) -> tensor
void copy_from_pixels(const float* image, const Tensor& tensor, float* to);                        // and back
void add_to_pixels(const float* from, const Tensor& tensor, float* image);

}  // namespace tatami
