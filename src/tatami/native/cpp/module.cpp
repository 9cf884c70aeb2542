// The Python module: the engine with its arrays checked at the door.
//
// Arrays must be C-contiguous NumPy arrays of the right type; their sizes are compared with what the network expects before a
// pointer is handed on, and under the lock where that depends on what another thread may start. Long calls release the
// interpreter's lock and take the engine's own, so that two Python threads may use one engine, one after the other.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "engine.hpp"
#include "processor.hpp"
#include "remembered.hpp"
#include "tile_support.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace tatami;

namespace {

using FloatsIn = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using LabelsIn = nb::ndarray<const std::int64_t, nb::c_contig, nb::device::cpu>;

void require(bool condition, const char* message) {
    if (!condition) throw DescriptionError(message);
}

template <typename Array>
void require_aligned(const Array& array) {
    require(reinterpret_cast<std::uintptr_t>(array.data()) % alignof(typename Array::Scalar) == 0,
            "the array does not lie at a multiple of its item size; copy it");
}

// A set of vector kernels with tiles beside them.
Kernels with_tiles(const char* name, const Kernels& vectors, const TileKernels* tiles) {
    Kernels kernels = vectors;
    kernels.name = name;
    kernels.tiles = tiles;
    return kernels;
}

// The tables that this processor can execute, best first.
std::vector<const Kernels*> available_kernels() {
    std::vector<const Kernels*> found;
#if defined(TATAMI_X86) && defined(TATAMI_AMX)
    if (tiles_missing().empty()) {
        static const Kernels amx = with_tiles("amx", *avx512_bf16_kernels(), amx_tiles());
        found.push_back(&amx);
    }
#endif
#if defined(TATAMI_X86)
    if (processor().avx512_bf16) found.push_back(avx512_bf16_kernels());
#if !defined(TATAMI_QUICK)
    if (processor().avx512) found.push_back(avx512_kernels());
    if (processor().avx2) found.push_back(avx2_kernels());
#endif
#endif
    found.push_back(baseline_kernels());
    return found;
}

// Tiles in software beside the best vectors, or beside the plainest: slow, for tests only, and never chosen but by name.
const Kernels* emulated_kernels(const std::string& name) {
    static const Kernels best = [] {
        const std::vector<const Kernels*> found = available_kernels();
        return with_tiles("amx_emulated", *(found[0]->tiles == nullptr ? found[0] : found[1]), emulated_tiles());
    }();
    static const Kernels plain = with_tiles("amx_emulated_baseline", *baseline_kernels(), emulated_tiles_baseline());
    if (name == best.name) return &best;
    return name == plain.name ? &plain : nullptr;
}

const Kernels& kernels_named(const std::string& name) {
    if (const Kernels* const emulated = emulated_kernels(name)) return *emulated;
    for (const Kernels* kernels : available_kernels())
        if (name.empty() || name == kernels->name) return *kernels;
    throw DescriptionError("instruction set '" + name + "' is not available on this processor");
}

// Remembered arrays that two Python threads may ask for.
struct SharedMemory {
    SharedMemory(const std::vector<Index>& sizes, int threads) : memory(sizes, threads) {}
    Remembered memory;
    std::mutex lock;
};

std::vector<int> changed_arrays(SharedMemory& shared, const nb::list& arrays) {
    std::vector<FloatsIn> held;  // until the comparison ends, whatever happens to the list
    std::vector<const float*> pointers;
    for (std::size_t i = 0; i < arrays.size() && i < shared.memory.count(); ++i) {
        FloatsIn array;
        const bool fits = nb::try_cast<FloatsIn>(arrays[i], array, false) && static_cast<Index>(array.size()) == shared.memory.size(i);
        pointers.push_back(fits ? array.data() : nullptr);
        held.push_back(std::move(array));
    }
    require(arrays.size() == shared.memory.count(), "there are other arrays than those remembered");
    nb::gil_scoped_release release;
    const std::lock_guard guard(shared.lock);
    return shared.memory.changed(pointers);
}

Shape shape_of(const std::vector<Index>& sizes) {
    require(!sizes.empty() && sizes.size() <= 4, "a shape has 1 to 4 axes: (features,) or (C, *spatial)");
    Shape shape;
    shape.channels = sizes[0];
    shape.flat = sizes.size() == 1;
    for (std::size_t i = 1; i < sizes.size(); ++i) shape.size[3 - sizes.size() + i] = sizes[i];
    return shape;
}

const Node& node_at(const Engine& engine, int node) {
    require(node >= 0 && node < static_cast<int>(engine.nodes().size()), "no such node");
    return engine.nodes()[static_cast<std::size_t>(node)];
}

WindowSettings window_of(const Size& kernel, const Size& stride, const Size& before, const Size& after,
                         const Size& dilation) {
    return {kernel, stride, before, after, dilation};
}

// The number of examples in x, after comparing the size of each with the network's input.
Index batch_of(const Engine& engine, const FloatsIn& x) {
    require(x.ndim() >= 1 && x.shape(0) >= 1, "the batch is empty");
    require_aligned(x);
    require(!engine.nodes().empty(), "the network has no nodes");
    const Index batch = static_cast<Index>(x.shape(0));
    require(batch <= (Index{1} << 20), "the batch has more than 1048576 examples");
    require(static_cast<Index>(x.size()) == batch * engine.nodes()[0].shape.count(),
            "the examples do not have the network's input shape");
    return batch;
}

void check_output(const Engine& engine, Index batch, const FloatsOut& output) {
    require_aligned(output);
    require(static_cast<Index>(output.size()) == batch * engine.nodes().back().shape.count(),
            "the output array has another size than the network's output");
}

struct Goal {
    const std::int64_t* labels = nullptr;
    const float* targets = nullptr;
};

Goal goal_of(const Engine& engine, Index batch, const std::optional<LabelsIn>& labels, const std::optional<FloatsIn>& targets) {
    require(labels.has_value() != targets.has_value(), "give either labels or targets");
    require(batch > 0 && !engine.nodes().empty(), "nothing was started");
    const Shape& shape = engine.nodes().back().shape;
    Goal goal;
    if (labels) {
        require_aligned(*labels);
        const Index positions = shape.size[0] * shape.size[1] * shape.size[2];
        require(static_cast<Index>(labels->size()) == batch * positions, "one label for each example (and position)");
        for (std::size_t i = 0; i < labels->size(); ++i)
            require(labels->data()[i] >= 0 && labels->data()[i] < shape.channels, "a label is out of range");
        goal.labels = labels->data();
    } else {
        require_aligned(*targets);
        require(static_cast<Index>(targets->size()) == batch * shape.count(), "targets must have the output's size");
        goal.targets = targets->data();
    }
    return goal;
}

Mode mode_of(int mode) {
    require(mode >= 0 && mode <= 2, "the mode is 0 (predict), 1 (train) or 2 (inspect)");
    return static_cast<Mode>(mode);
}

OptimizerSettings optimizer_of(int rule, double decay, double momentum, double beta2, double epsilon, double largest_norm) {
    require(rule >= 0 && rule <= 6, "the rule is from 0 to 6");
    require(std::isfinite(decay) && std::isfinite(momentum) && std::isfinite(beta2) && std::isfinite(epsilon) &&
                std::isfinite(largest_norm) && largest_norm >= 0,
            "the optimiser's settings must be finite");
    return {static_cast<Rule>(rule), decay, momentum, beta2, epsilon, largest_norm};
}

}  // namespace

NB_MODULE(_kernels, module) {
    nb::set_leak_warnings(false);
    module.doc() = "C++ kernels of Tatami; use them through tatami.program.Program(backend='native').";
    module.def(
        "available",
        [] {
            std::vector<std::string> names;
            for (const Kernels* kernels : available_kernels()) names.push_back(kernels->name);
            return names;
        },
        "Instruction sets that this build has kernels for and this processor can execute, best first.");
    module.def(
        "tiles", [] { return std::make_tuple(tiles_missing(), tiles_checked()); },
        "Why the processor's tiles are not used, or an empty string; and how they were checked.");
    module.def(
        "tile_misuse", [] { return first_tile_misuse(); },
        "The first rule of tile registers that work on the emulation has broken, or an empty string.");
    module.def(
        "check_emulation",
        [] {
            bool exact = false;
            const std::string difference = compare_tiles(*emulated_tiles(), *emulated_tiles_baseline(), exact);
            return !difference.empty() ? difference : exact ? std::string() : std::string("the bits differ");
        },
        "Run the check of the tiles on two compilations of the emulation: an empty string, or what differs.");
    module.def("default_threads", [] { return threads_to_use(0); }, "Number of threads OpenMP would use.");

    nb::class_<SharedMemory>(module, "Remembered", "What arrays of floats held when they were last looked at.")
        .def(nb::init<const std::vector<Index>&, int>(), "sizes"_a, "threads"_a = 0)
        .def("changed", &changed_arrays, "arrays"_a,
             "Numbers of the arrays that hold other bits than those remembered, or are no contiguous float32 of that size.")
        .def("remember",
             [](SharedMemory& m, std::size_t array, const FloatsIn& values) {
                 require_aligned(values);
                 const std::lock_guard guard(m.lock);
                 m.memory.remember(array, {values.data(), values.size()});
             },
             "array"_a, "values"_a.noconvert());

    nb::class_<Engine>(module, "Engine", "A network, its parameters and the plans that run it.")
        .def("__init__",
             [](Engine* self, const std::string& isa, int threads, int products) {
                 new (self) Engine(kernels_named(isa), threads, products);
             },
             "isa"_a = "", "threads"_a = 0, "products"_a = 0)
        .def_prop_ro("isa", [](const Engine& e) { return std::string(e.kernels().name); })
        .def_prop_ro("memory",
                     [](Engine& e) {
                         const std::lock_guard guard(e.lock());
                         return e.memory();
                     })
        .def_prop_rw("arrival_grain", &Engine::arrival_grain,
                     [](Engine& e, Index grain) {
                         require(grain >= 0 && grain <= 4096, "images taken at a time are from 0 (fixed groups) to 4096");
                         const std::lock_guard guard(e.lock());
                         e.set_arrival_grain(grain);
                     },
                     "Only to measure what equal bits cost: images that a free thread takes at a time; 0 keeps fixed groups.")
        .def_prop_rw("update_count", &Engine::update_count,
                     [](Engine& e, Index count) {
                         require(count >= 0, "the count of updates is not negative");
                         const std::lock_guard guard(e.lock());
                         e.set_update_count(count);
                     })
        .def("add_input", [](Engine& e, const std::vector<Index>& shape) { return e.add_input(shape_of(shape)); }, "shape"_a)
        .def("add_convolution",
             [](Engine& e, int input, Index filters, const Size& kernel, const Size& stride, const Size& before,
                const Size& after, const Size& dilation, Index groups, bool bias) {
                 return e.add_convolution(input, filters, window_of(kernel, stride, before, after, dilation), groups, bias);
             },
             "input"_a, "filters"_a, "kernel"_a, "stride"_a, "before"_a, "after"_a, "dilation"_a, "groups"_a, "bias"_a)
        .def("add_table_convolution",
             [](Engine& e, int input, const std::vector<std::vector<Index>>& table, const Size& kernel, const Size& stride,
                const Size& before, const Size& after, const Size& dilation, bool bias) {
                 return e.add_table_convolution(input, table, window_of(kernel, stride, before, after, dilation), bias);
             },
             "input"_a, "table"_a, "kernel"_a, "stride"_a, "before"_a, "after"_a, "dilation"_a, "bias"_a)
        .def("add_local",
             [](Engine& e, int input, Index filters, const Size& kernel, const Size& stride, const Size& before,
                const Size& after, const Size& dilation, bool bias) {
                 return e.add_local(input, filters, window_of(kernel, stride, before, after, dilation), bias);
             },
             "input"_a, "filters"_a, "kernel"_a, "stride"_a, "before"_a, "after"_a, "dilation"_a, "bias"_a)
        .def("add_dense", &Engine::add_dense, "input"_a, "units"_a, "bias"_a)
        .def("add_max_pool",
             [](Engine& e, int input, const Size& kernel, const Size& stride, const Size& before, const Size& after,
                const Size& dilation, int ties) {
                 require(ties >= 0 && ties <= 2, "the rule for ties is from 0 to 2");
                 return e.add_pool(input, Kind::max_pool, window_of(kernel, stride, before, after, dilation), false, 2, true,
                                   false, static_cast<Ties>(ties));
             },
             "input"_a, "kernel"_a, "stride"_a, "before"_a, "after"_a, "dilation"_a = Size{1, 1, 1}, "ties"_a = 0)
        .def("add_average_pool",
             [](Engine& e, int input, const Size& kernel, const Size& stride, const Size& before, const Size& after,
                bool count_padding, const Size& dilation) {
                 return e.add_pool(input, Kind::average_pool, window_of(kernel, stride, before, after, dilation),
                                   count_padding, 2, true, false);
             },
             "input"_a, "kernel"_a, "stride"_a, "before"_a, "after"_a, "count_padding"_a, "dilation"_a = Size{1, 1, 1})
        .def("add_lp_pool",
             [](Engine& e, int input, const Size& kernel, const Size& stride, const Size& before, const Size& after,
                float exponent, bool normalise, const Size& dilation) {
                 return e.add_pool(input, Kind::lp_pool, window_of(kernel, stride, before, after, dilation), false, exponent,
                                   normalise, false);
             },
             "input"_a, "kernel"_a, "stride"_a, "before"_a, "after"_a, "exponent"_a, "normalise"_a,
             "dilation"_a = Size{1, 1, 1})
        .def("add_global_pool",
             [](Engine& e, int input, bool maximum) {
                 return e.add_pool(input, maximum ? Kind::max_pool : Kind::average_pool, {}, false, 2, true, true);
             },
             "input"_a, "maximum"_a)
        .def("add_activation",
             [](Engine& e, int input, int kind, float first, float second) {
                 require(kind >= 0 && kind <= 12, "the activation is from 0 to 12");
                 return e.add_activation(input, {static_cast<Activation>(kind), first, second});
             },
             "input"_a, "kind"_a, "first"_a = 0.0f, "second"_a = 0.0f)
        .def("add_softmax", &Engine::add_softmax, "input"_a)
        .def("add_dropout", &Engine::add_dropout, "input"_a, "ratio"_a, "stream"_a, "by_channel"_a = false, "exact"_a = false)
        .def("add_flatten", &Engine::add_flatten, "input"_a)
        .def("add_batch_norm", &Engine::add_batch_norm, "input"_a, "momentum"_a, "epsilon"_a, "affine"_a, "bias"_a)
        .def("add_interleave", &Engine::add_interleave, "input"_a, "size"_a, "stride"_a, "before"_a, "groups"_a, "bias"_a)
        .def("add_recurrent",
             [](Engine& e, const std::vector<int>& inputs, int cell, Index units, bool every_step, bool reverse, Index truncate) {
                 require(cell >= 0 && cell <= 3, "the cell is from 0 to 3");
                 return e.add_recurrent(inputs, static_cast<Cell>(cell), units, every_step, reverse, truncate);
             },
             "inputs"_a, "cell"_a, "units"_a, "every_step"_a, "reverse"_a, "truncate"_a)
        .def("add_local_response", &Engine::add_local_response, "input"_a, "neighbours"_a, "alpha"_a, "beta"_a, "constant"_a)
        .def("add_reshape",
             [](Engine& e, int input, const std::vector<Index>& shape) { return e.add_reshape(input, shape_of(shape)); },
             "input"_a, "shape"_a)
        .def("add_product", &Engine::add_product, "inputs"_a)
        .def("add_slopes", &Engine::add_slopes, "input"_a, "shared"_a)
        .def("add_pieces", &Engine::add_pieces, "input"_a, "pieces"_a)
        .def("add_larger", &Engine::add_larger, "input"_a, "other"_a)
        .def("add_example_norm", &Engine::add_example_norm, "input"_a, "groups"_a, "over_channels"_a, "per_value"_a,
             "epsilon"_a, "affine"_a, "bias"_a)
        .def("add_noise", &Engine::add_noise, "input"_a, "deviation"_a, "stream"_a)
        .def("add_sample", &Engine::add_sample, "mean"_a, "log_variance"_a, "stream"_a)
        .def("add_resample",
             [](Engine& e, int input, const std::array<Index, 3>& taps, const std::array<std::vector<Index>, 3>& sources,
                const std::array<std::vector<float>, 3>& weights, float fill) {
                 std::array<AxisMap, 3> maps;
                 for (std::size_t axis = 0; axis < 3; ++axis) maps[axis] = {taps[axis], sources[axis], weights[axis]};
                 return e.add_resample(input, maps, fill);
             },
             "input"_a, "taps"_a, "sources"_a, "weights"_a, "fill"_a)
        .def("add_adaptive_pool", &Engine::add_adaptive_pool, "input"_a, "size"_a, "maximum"_a)
        .def("add_permute", &Engine::add_permute, "input"_a, "axes"_a)
        .def("add_embedding",
             [](Engine& e, int input, Index vocabulary, const std::vector<Index>& shape) {
                 return e.add_embedding(input, vocabulary, shape_of(shape));
             },
             "input"_a, "vocabulary"_a, "shape"_a)
        .def("add_padding_mask", &Engine::add_padding_mask, "input"_a, "value"_a)
        .def("add_unpool",
             [](Engine& e, int input, int places, const Size& kernel, const Size& stride, const Size& before, const Size& after) {
                 return e.add_unpool(input, places, window_of(kernel, stride, before, after, {1, 1, 1}));
             },
             "input"_a, "places"_a, "kernel"_a, "stride"_a, "before"_a, "after"_a)
        .def("add_stochastic_pool",
             [](Engine& e, int input, const Size& kernel, const Size& stride, const Size& before, const Size& after,
                const Size& dilation, std::uint32_t stream) {
                 return e.add_stochastic_pool(input, window_of(kernel, stride, before, after, dilation), stream);
             },
             "input"_a, "kernel"_a, "stride"_a, "before"_a, "after"_a, "dilation"_a, "stream"_a)
        .def("add_log_power", &Engine::add_log_power, "input"_a, "groups"_a, "gain"_a)
        .def("add_drop_connect", &Engine::add_drop_connect, "input"_a, "units"_a, "ratio"_a, "stream"_a, "bias"_a)
        .def("fix_weights", &Engine::fix_weights, "node"_a,
             "The weights of a convolution are set after `finish`, and no step moves them.")
        .def("add_merge", &Engine::add_merge, "inputs"_a, "concatenate"_a)
        .def("add_external",
             [](Engine& e, const std::vector<int>& inputs, const std::vector<Index>& shape,
                const std::vector<Index>& parameter_sizes) {
                 return e.add_external(inputs, shape_of(shape), parameter_sizes);
             },
             "inputs"_a, "shape"_a, "parameter_sizes"_a)
        .def("finish",
             [](Engine& e, int rule, double decay, double momentum, double beta2, double epsilon, double largest_norm) {
                 e.finish(optimizer_of(rule, decay, momentum, beta2, epsilon, largest_norm));
             },
             "rule"_a = 0, "decay"_a = 0.0, "momentum"_a = 0.0, "beta2"_a = 0.0, "epsilon"_a = 0.0, "largest_norm"_a = 0.0)
        .def("parameter_index", &Engine::parameter_index, "node"_a, "name"_a)
        .def("set_parameter",
             [](Engine& e, int parameter, int which, const FloatsIn& values) {
                 require_aligned(values);
                 const std::lock_guard guard(e.lock());
                 e.set_parameter(parameter, which, {values.data(), values.size()});
             },
             "parameter"_a, "which"_a, "values"_a.noconvert())
        .def("get_parameter",
             [](Engine& e, int parameter, int which, const FloatsOut& values) {
                 require_aligned(values);
                 const std::lock_guard guard(e.lock());
                 e.get_parameter(parameter, which, {values.data(), values.size()});
             },
             "parameter"_a, "which"_a, "values"_a.noconvert())
        .def("predict",
             [](Engine& e, const FloatsIn& x, const FloatsOut& output) {
                 const Index batch = batch_of(e, x);
                 check_output(e, batch, output);
                 nb::gil_scoped_release release;
                 const std::lock_guard guard(e.lock());
                 e.predict(x.data(), batch, output.data());
             },
             "x"_a.noconvert(), "output"_a.noconvert())
        .def("train_step",
             [](Engine& e, const FloatsIn& x, const std::optional<LabelsIn>& labels, const std::optional<FloatsIn>& targets,
                float loss_weight, std::uint64_t seed, std::uint32_t epoch, std::uint32_t step, double rate, bool update,
                const FloatsOut& output) {
                 const Index batch = batch_of(e, x);
                 const Goal goal = goal_of(e, batch, labels, targets);
                 check_output(e, batch, output);
                 nb::gil_scoped_release release;
                 const std::lock_guard guard(e.lock());
                 const LossResult result = e.train_step(x.data(), batch, goal.labels, goal.targets, loss_weight,
                                                        {seed, epoch, step}, rate, update, output.data());
                 return std::make_tuple(result.loss, result.correct);
             },
             "x"_a.noconvert(), "labels"_a.none().noconvert(), "targets"_a.none().noconvert(), "loss_weight"_a,
             "seed"_a, "epoch"_a, "step"_a, "rate"_a, "update"_a, "output"_a.noconvert())
        .def("stages",
             [](Engine& e, int mode, Index batch) {
                 const std::lock_guard guard(e.lock());
                 std::vector<int> external;
                 for (int stage = 0; stage < e.stage_count(mode_of(mode), batch); ++stage)
                     external.push_back(e.external_node(mode_of(mode), batch, stage));
                 return external;
             },
             "mode"_a, "batch"_a, "The stages of a plan: -1 for a native one, else the node that runs outside.")
        .def("start",
             [](Engine& e, int mode, const FloatsIn& x, std::uint64_t seed, std::uint32_t epoch, std::uint32_t step,
                bool training) {
                 const std::lock_guard guard(e.lock());
                 e.start_with_copy(mode_of(mode), x.data(), batch_of(e, x), {seed, epoch, step}, training);
             },
             "mode"_a, "x"_a.noconvert(), "seed"_a = 0, "epoch"_a = 0, "step"_a = 0, "training"_a = false)
        .def("run_forward",
             [](Engine& e, int first, int last) {
                 nb::gil_scoped_release release;
                 const std::lock_guard guard(e.lock());
                 e.run_forward(first, last);
             },
             "first"_a, "last"_a)
        .def("run_loss",
             [](Engine& e, const std::optional<LabelsIn>& labels, const std::optional<FloatsIn>& targets, float loss_weight) {
                 const std::lock_guard guard(e.lock());
                 const Goal goal = goal_of(e, e.batch(), labels, targets);
                 const LossResult result = e.run_loss(goal.labels, goal.targets, loss_weight);
                 return std::make_tuple(result.loss, result.correct);
             },
             "labels"_a.none().noconvert(), "targets"_a.none().noconvert(), "loss_weight"_a)
        .def("start_backward",
             [](Engine& e, const FloatsIn& doutput) {
                 require_aligned(doutput);
                 const std::lock_guard guard(e.lock());
                 require(!e.nodes().empty() && static_cast<Index>(doutput.size()) == e.batch() * e.nodes().back().shape.count(),
                         "the gradient has another size than the network's output");
                 e.start_backward(doutput.data());
             },
             "doutput"_a.noconvert())
        .def("run_backward",
             [](Engine& e, int first, int last) {
                 nb::gil_scoped_release release;
                 const std::lock_guard guard(e.lock());
                 e.run_backward(first, last);
             },
             "first"_a, "last"_a)
        .def("run_update",
             [](Engine& e, double rate) {
                 nb::gil_scoped_release release;
                 const std::lock_guard guard(e.lock());
                 e.run_update(rate);
             },
             "rate"_a)
        .def("read_value",
             [](Engine& e, int node, const FloatsOut& to) {
                 require_aligned(to);
                 const std::lock_guard guard(e.lock());
                 require(static_cast<Index>(to.size()) == e.batch() * node_at(e, node).shape.count(), "the array has another size");
                 e.read_value(node, to.data());
             },
             "node"_a, "to"_a.noconvert())
        .def("write_value",
             [](Engine& e, int node, const FloatsIn& from) {
                 require_aligned(from);
                 const std::lock_guard guard(e.lock());
                 require(static_cast<Index>(from.size()) == e.batch() * node_at(e, node).shape.count(),
                         "the array has another size");
                 e.write_value(node, from.data());
             },
             "node"_a, "from_"_a.noconvert())
        .def("has_gradient",
             [](Engine& e, int node) {
                 const std::lock_guard guard(e.lock());
                 return e.has_gradient(node);
             },
             "node"_a)
        .def("read_gradient",
             [](Engine& e, int node, const FloatsOut& to) {
                 require_aligned(to);
                 const std::lock_guard guard(e.lock());
                 require(static_cast<Index>(to.size()) == e.batch() * node_at(e, node).shape.count(), "the array has another size");
                 e.read_gradient(node, to.data());
             },
             "node"_a, "to"_a.noconvert())
        .def("add_gradient",
             [](Engine& e, int node, int consumer, const FloatsIn& from) {
                 require_aligned(from);
                 const std::lock_guard guard(e.lock());
                 require(static_cast<Index>(from.size()) == e.batch() * node_at(e, node).shape.count(),
                         "the array has another size");
                 e.add_gradient(node, consumer, from.data());
             },
             "node"_a, "consumer"_a, "from_"_a.noconvert())
        .def("describe",
             [](Engine& e, int mode, Index batch) {
                 const std::lock_guard guard(e.lock());
                 return e.describe(mode_of(mode), batch);
             },
             "mode"_a, "batch"_a);
}
