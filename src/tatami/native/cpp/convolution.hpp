// A convolution in a plan, with the activation and the 2×2 pooling that are fused into it.
//
//   convolution.cpp           what is planned, and the forward pass
//   convolution_fused.cpp     activations other than ReLU, averages, and their gradients
//   convolution_backward.cpp  the dense gradients, and the weights transposed for them
//   convolution_signal.cpp    signals, Winograd's way along their one axis
//   convolution_sparse.cpp    gradients behind fused maxima, from the winners alone
//   convolution_winograd.cpp  the dense weight gradient from Winograd's tiles
//   convolution_pairs.cpp     bf16: operands copied into the words that pairs.hpp describes
//
// Which kernel a pass takes is decided once, in `prepare`, from the geometry alone, so that every batch and every number of
// threads gets the same bits.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "plan.hpp"

namespace tatami {

// Input positions that see the same taps at the same distances; see convolution_backward.cpp.
struct Phase {
    Size first, count;
    std::vector<std::array<Index, 4>> taps;  // tap number, and distances along the axes
    std::vector<Segment> segments;           // relative to dy's pixel at the same index
    std::vector<Index> offsets;              // the same for depthwise kernels
    std::vector<Index> tap_weights;          // depthwise: offset of each tap's weights
    Index weight = 0;                        // offset of the transposed weights
    std::vector<Segment> pair_segments;      // the same in words
    Index pair_weight = 0;
};

class Convolution : public Operation {
public:
    Convolution(Plan& owner, const Fused& with);
    std::string describe() const override;
    void prepare() override;
    void pack() override;
    Index parts(Index wanted) const override;
    void forward(Index n, int thread) override { forward_part(n, thread, thread, 0, 1); }
    // Rows of the output (pooled rows with pooling), a share of them.
    void forward_part(Index n, int slot, int thread, Index part, Index parts) override;
    void backward(Index n, int thread, Index chunk, bool first_image) override;
    void end_chunk(int thread, Index chunk) override;
    void add_up(Index used_chunks) override;

private:
    // What the forward pass reads: floats, or words of bf16.
    struct Operand {
        const float* data;  // at the first tap of the first output pixel
        const Tensor* tensor;
        const std::vector<Segment>& segments;
        void (*correlate)(const CorrelateRow&);
    };

    const std::vector<Panel>& plan_panels() const { return plan.panels(convolution); }
    const Parameter& parameter(int which) const { return plan.parameter(convolution, which); }
    // Rows of a pooling window: 2, or 1 for signals.
    Index pair_rows() const { return plan.value(node).size[1] * 2 <= settings.shape.size[1] ? 2 : 1; }

    // Planning.
    void list_window(const Tensor& x);
    void prepare_pooling(const Tensor& x);
    void prepare_gradients(const Tensor& x);

    // Forward.
    void fold_normalization();
    const float* bias_values() const {
        return normalization >= 0 ? plan.arena() + folded_bias : plan.weights(convolution, 0, "bias");
    }
    void forward_depthwise(const float* from, float* to, Index n, int slot, Index begin, Index end) const;
    Winograd winograd_of(int thread) const;
    // Rows of the map for rows [begin, end) of y: pooling may leave out a last one, but not change how the map is cut.
    Index winograd_rows(Index begin, Index end) const {
        const Index rows = pool ? 2 : 1;
        return end == plan.value(node).size[1] ? settings.shape.size[1] - begin * rows : (end - begin) * rows;
    }
    void forward_winograd(const float* from, float* to, Index n, int thread, Index begin, Index end) const;
    void maxima_of_panel(const CorrelateRow& row, const float* from, float* to, Index n, Index filter, Index begin,
                         Index end) const;
    void pooled_panel(CorrelateRow row, const Operand& source, const float* from, float* to, Index n, int thread,
                      Index filter, Index begin, Index end);
    void activated_panel(CorrelateRow row, const Operand& source, const float* from, float* to, Index n, int thread, Index filter,
                         Index begin, Index end) const;
    Index tiles_at_once(Index pixel) const;
    Index exact_tiles(Index pixel) const;
    // Training decides kinks, prediction does not: see winograd_exact.hpp.
    void run_winograd(const Winograd& job) const { (plan.trains() ? plan.kernels.winograd_exact : plan.kernels.winograd)(job); }
    Index winograd_scratch(Index pixel) const {
        const Index tiles = tiles_at_once(pixel);
        return winograd_positions * (winograd_step(tiles * pixel) + winograd_step(tiles * 2 * lanes));
    }
    // Floats of the transformed weights of one panel, and of all.
    Index winograd_panel(Index channels) const { return winograd_positions * winograd_step(channels * 2 * lanes); }
    Index winograd_weights(Index channels, Index filters) const {
        return round_up(filters, 2 * lanes) / (2 * lanes) * winograd_panel(channels);
    }
    void set_panels(Winograd& job, Index columns) const;
    static bool is_small(Index size) { return size <= 6; }  // of a map, for Winograd's tiles

    // Activations other than ReLU, and averages.
    void prepare_activation();
    void winograd_and_activation(const float* from, float* to, Index n, int slot, int thread, Index begin, Index end) const;
    void activate_row(const float* sums, Index sums_stride, float* to, Index to_stride, Index pixels, Index count) const {
        plan.kernels.curve_pixels({*curve, sums, sums_stride, to, to_stride, pixels, count});
    }
    ActivatedPair pair_of(Index n, int thread, Index filter, Index h, float* sums, Index pixel, Index line, float* to) const;
    void averages_gradient(Index n, int thread, float* full) const;

    // 1×1 windows over what ReLU left, or over gradients that went back through it.
    bool skips_zeros(Index columns) const;
    void forward_skipping(const float* from, float* to, Index begin, Index end) const;
    void skipping_input_gradient(const Tensor& du, const float* dy, float* to) const;

    // Signals, Winograd's way.
    void prepare_signal(const Tensor& x);
    void prepare_signal_gradient();
    void pack_signal();
    SignalWinograd signal_of(const Tensor& from, Index channels, Index columns, int thread) const;
    void forward_signal(const float* from, float* to, Index n, int thread) const;
    void signal_input_gradient(const Tensor& du, const float* dy, float* to, int thread) const;

    // Dense gradients.
    void find_phases(const Shape& from);
    void prepare_phases();
    Index transposed_group(const Phase& phase) const {
        return static_cast<Index>(phase.taps.size()) * group_filters * round_up(group_channels, lanes);
    }
    void pack_transposed();
    void pack_phase(const Phase& phase);
    void weight_gradient(Index n, int thread, Index chunk, bool accumulate, const Tensor& du, const float* gradient);
    void depthwise_weight_gradient(const float* plane, const Tensor& du, const float* dy, float* dweight, bool add) const;
    void input_gradient(Index n, int thread, const Tensor& du, const float* gradient);
    void winograd_input_gradient(const Tensor& du, const float* dy, float* to, int thread) const;
    // Weight gradient from the tiles of several images; see convolution_winograd.cpp.
    void choose_winograd_gradient(const Tensor& x);
    void prepare_winograd_gradient(const Tensor& x);
    void winograd_weight_gradient(Index n, int thread, Index chunk, bool first_image, const Tensor& du, const float* dy);
    void add_waiting_tiles(int thread, Index chunk);
    void depthwise_input_gradient(const Phase& phase, const Tensor& du, const float* dy, float* to) const;
    void prepare_scatter(const Tensor& x);
    void pack_scatter();
    void scatter_gradient(Index n, int thread, const Tensor& du, const float* dy);

    // Sparse gradients.
    void pack_winners();
    // The lists of sparse_weight_gradient: whole vectors of filters write theirs side by side.
    Index winner_entries(Index pixels) const { return round_up(settings.shape.channels, lanes) * pixels; }
    void unpool(Index n, int thread, float* full);
    void winners_weight_gradient(Index n, int thread, Index chunk, bool accumulate);
    void prepare_chosen();
    void chosen_weight_gradient(Index n, int thread, Index chunk, bool accumulate);
    void add_up_winners(Index used_chunks, float* total);
    void winners_input_gradient(Index n, int thread);
    void signal_input_gradient(Index n, int thread) const;
    bool is_signal() const { return settings.shape.size[1] == 1; }

    // bf16.
    static Tensor in_words(const Tensor& like, Index words);
    void prepare_pairs();
    void prepare_gradient_pairs();
    Index pair_rows_of(const Phase& phase) const { return static_cast<Index>(phase.taps.size()) * filter_words; }
    void pack_weight_pairs();
    void pack_transposed_pairs();
    void narrow_image(const Tensor& from, const float* image, const Tensor& to, float* words, Index channels) const;
    const float* pack_channel_pairs(Index n, int slot, int thread);
    Operand channel_pairs(Index n, int slot, int thread);
    const float* pack_filter_pairs(Index n, int thread, const Tensor& du, const float* gradient);
    Index winograd_pairs_tiles(Index pixel) const;
    Index winograd_pairs_scratch(Index pixel) const {
        return winograd_pairs_tiles(pixel) * 16 * (pixel / 2 + 2 * lanes);
    }
    void forward_winograd_pairs(const float* from, float* to, Index n, int thread, Index begin, Index end) const;
    void winograd_pairs_input_gradient(const Tensor& du, const float* dy, float* to, int thread) const;
    void pack_pixel_pairs(Index n, int thread, const Tensor& du, const float* gradient);
    void put_in_order(float* sums, Index rows) const;
    Index packed_group() const { return taps * channel_words * round_up(group_filters, lanes); }
    Index transposed_pair_group(const Phase& phase) const { return pair_rows_of(phase) * round_up(group_channels, lanes); }
    const float* weight_values() const {
        if (normalization >= 0) return plan.arena() + folded_weight;
        return rounds ? plan.arena() + rounded_weight : plan.weights(convolution, 0, "weight");
    }
    const float* image_values(Index n, int slot, int thread) const;

    const Fused fused;
    const int convolution, normalization;
    const Node& settings;
    const Curve* const curve;                                // of the fused activation, or null
    const bool pool, average;                                // 2×2 maxima, or averages
    const bool relu;                                         // the kernels apply it to what they hold in registers
    const bool depthwise;
    const bool pairs, rounds;  // bf16: operands in pairs, or rounded floats where no instruction multiplies pairs
    const int lanes;
    Index group_channels = 0, group_filters = 0, taps = 0, first_tap = 0;
    std::vector<Segment> segments;
    std::vector<Index> tap_offsets, tap_rows;
    Size border_before{0, 0, 0}, border_after{0, 0, 0};  // zeros around dy
    std::vector<Phase> phases;
    Index partial_weight = 0, partial_bias = 0;
    bool winograd = false, winograd_input = false, winograd_gradient = false;
    struct WaitingTiles {
        Index images = 0;    // transformed, and not yet in the weight gradient
        bool added = false;  // others of the same chunk are
    };
    std::vector<WaitingTiles> waiting;  // of each thread
    Index images_together = 0, patches_image = 0, gradients_image = 0, waiting_patches = 0, waiting_gradients = 0;
    bool winograd_pairs = false, winograd_pairs_input = false;
    Index winograd_weight = 0, winograd_input_weight = 0;
    bool signal = false, signal_forward = false, signal_backward = false;
    Index signal_weight = 0, signal_input_weight = 0;
    bool skipping = false, skipping_input = false;
    Index folded_weight = 0, folded_bias = 0;

    const Tensor* before = nullptr;      // what goes into the activation (of the winners), where its derivative looks at that
    const Tensor* full_value = nullptr;  // the convolution's own map: kept for the gradients of averages, else Winograd's
    bool sparse = false, chosen = false, sparse_input = false;  // gradients from the winners alone
    Index code_base = 0, code_image = 0;
    Tensor* full_gradient = nullptr;   // of the convolution itself, zero but for the winners
    ChosenWeightGradient chosen_job{};  // what does not change from image to image
    std::vector<Index> quad_offsets;
    Index padded_run = 0, winner_weight = 0, winner_pairs = 0;
    Tensor window;  // dx with its border
    bool scatter = false;
    Index scatter_weight = 0;

    Tensor* image_pairs = nullptr;    // the input in bf16
    Tensor* shifted_pairs = nullptr;  // every input float with the one a step to the right
    Tensor* pixel_pairs = nullptr;    // dy, two pixels in a word
    Tensor* filter_pairs = nullptr;   // dy in bf16, with its border
    Tensor* rounded_image = nullptr;
    Index rounded_weight = 0;
    std::vector<Segment> pair_segments, number_segments;
    Index channel_words = 0, filter_words = 0, first_pair = 0, pair_weight = 0;
};

}  // namespace tatami
