// What the engine asks of one instruction set: a table of functions, and the sizes that decide memory layout.
//
// All kernels are single-threaded and touch nothing but what their arguments describe; the engine has checked every
// size before it calls them. Activations are channels-last: an image is depth × height × width pixels of `channels`
// floats, a pixel padded to a whole number of vectors (the network's input excepted).
#pragma once

#include <cstdint>

namespace tatami {

using Index = std::int64_t;

// A stretch of consecutive floats of the input that is multiplied with consecutive rows of the weight matrix.
struct Segment {
    Index offset;
    Index length;
};

// One row of output pixels times one panel of output channels; see correlate.hpp.
struct CorrelateRow {
    const float* input;
    Index input_stride;  // floats between the inputs of neighbouring output pixels
    const Segment* segments;
    Index segment_count;
    const float* weight;  // (sum of the segments' lengths) × (vectors · lanes)
    const float* bias;    // vectors · lanes floats, or null
    float* output;
    Index output_stride;
    Index pixels;
    int vectors;  // 1 or 2
    int columns;  // how many of the vectors' floats are stored
    bool relu;
    bool accumulate;  // add to what output holds
};

// A 1×1 convolution of one image whose input has many zeros; see skipping.hpp.
struct SkippingImage {
    const float* input;
    Index input_stride, input_line;
    Index rows;           // input channels
    const float* weight;  // panel by panel: rows × (2 · lanes)
    Index panel_floats;   // from one panel to the next
    const float* bias;    // or null
    float* output;
    Index output_stride, output_line;
    Index pixels, lines;
    Index columns;  // a multiple of 64
    bool relu;
};

// dweight(row, k) (+)= sum over lines and pixels of input(row) · dy(k); see weight_gradient.hpp.
struct WeightGradient {
    const float* input;
    Index input_stride, input_line;
    const float* dy;
    Index dy_stride, dy_line;
    Index pixels, lines;
    Index rows;      // consecutive input floats
    float* dweight;  // rows × (vectors · lanes)
    int vectors;
    int columns;
    bool accumulate;
};

// Channel by channel: output(p, c) = bias(c) + sum over taps of input(p + offset, c) · weight(tap, c); see depthwise.hpp.
struct DepthwiseRow {
    const float* input;
    Index input_stride;
    const Index* tap_offsets;
    const Index* weight_offsets;
    Index taps;
    const float* weight;
    const float* bias;
    float* output;
    Index output_stride;
    Index pixels;
    Index channels;  // a multiple of lanes
    bool relu;
    bool accumulate;
};

struct DepthwiseWeightGradient {
    const float* input;
    Index input_stride, input_line;
    const float* dy;
    Index dy_stride, dy_line;
    Index pixels, lines;
    const Index* tap_offsets;
    Index taps;
    float* dweight;  // taps × channels
    Index channels;
    Index valid_channels;
    bool accumulate;
};

// Which of several equal maxima gets the gradient: the first one, all of them the whole of it, or all an equal share.
enum class Ties : int { first = 0, all = 1, even = 2 };

// A pooling of one image; see pooling.hpp. Axes are depth, height, width.
struct Pooling {
    const float* input;
    float* output;
    std::int32_t* winner;  // max: number of the winning tap, one for each output float; may be null
    Index size[3], output_size[3], kernel[3], stride[3], before[3];
    Index dilation[3];  // positions from one tap to the next
    Index input_step[3], output_step[3];  // floats from one pixel to the next along each axis
    Index winner_step[3];
    Index channels;  // a multiple of lanes
    bool count_padding;
    bool normalise;
    float exponent;
    Ties ties;
};

struct PoolingGradient {
    Pooling forward;
    const float* dy;
    float* dx;
    Index dy_step[3], dx_step[3];
};

// Two rows of a convolution's output become one row of 2×2 maxima; see fused_pooling.hpp.
struct PoolPair {
    const float* upper;
    const float* lower;
    Index stride;  // floats between neighbouring pixels
    float* output;
    Index output_stride;
    std::uint8_t* code;  // pixels × channels, or null
    Index pixels;
    Index channels;
};

// One panel of filters over two rows of input, ReLU, and one row of 2×2 maxima out of it; see pooled_correlation.hpp.
struct PooledRow {
    const float* input;
    Index input_stride, input_line;  // floats between neighbouring output pixels, and between the two rows
    const Segment* segments;
    Index segment_count;
    const float* weight;  // (sum of the segments' lengths) × (vectors · lanes)
    const float* bias;    // vectors · lanes
    float* output;
    Index output_stride;
    std::uint8_t* code;  // which position won, or null
    Index code_stride;
    Index pixels;  // pooled
    int vectors;   // 1 or 2
};

// The way back: one row of pooled gradients becomes two rows, zero but for the winners.
struct UnpoolPair {
    const float* dy;
    Index dy_stride;
    const std::uint8_t* code;
    Index code_stride;
    float* upper;
    float* lower;  // null: windows of one row
    Index stride;
    Index pixels;
    Index channels;
};

// Weight gradient from the winners of fused pooling alone; see sparse_gradient.hpp.
struct SparseWeightGradient {
    const std::uint8_t* code;  // pooled pixels × code_stride
    Index code_stride;
    const float* dy;  // pooled gradient
    Index dy_stride, dy_line;
    Index pooled_height, pooled_width;
    Index channels;
    const float* input;              // at the first tap of output pixel (0, 0)
    Index input_stride, input_line;  // floats between the windows of neighbouring output pixels and rows
    const Segment* segments;         // rows of the window, all of one length
    Index segment_count;
    Index input_channels;  // floats of one tap within a row
    float* dweight;        // channels × segments × padded_run
    Index padded_run;
    float* dbias;  // whole vectors, or null
    bool accumulate;
    std::uint64_t* entries;  // scratch: whole vectors of channels × pooled pixels
    std::int32_t* counts;    // whole vectors of channels
};

// The same for windows of few floats; see chosen_gradient.hpp.
struct ChosenWeightGradient {
    const std::uint8_t* code;
    Index code_stride;
    const float* dy;
    Index dy_stride, dy_line;
    Index pooled_height, pooled_width;
    Index channels;  // filters
    const float* input;              // at the first tap of output pixel (0, 0)
    Index input_stride, input_line;  // floats between the windows of neighbouring output pixels and rows; no lower row: 0
    Index line;                      // floats between two lines of the image
    Index line_step, window_lines;   // lines from one window to the next below it, and lines that one pooled row sees
    Index line_floats;               // of a line that windows see
    Index rows_at_once;              // pooled rows whose quads are laid out at a time
    const Index* quad_offsets;       // of every float of the window
    Index taps;
    float* quads;    // scratch: ((2 · rows_at_once - 2) · line_step + window_lines) · 4 · line_floats
    float* dweight;  // panel by panel: taps × (vectors · lanes)
    float* dbias;    // or null
    bool accumulate;
};

// Input gradient of a 3×3 convolution from the winners of fused pooling alone; see sparse_gradient.hpp.
struct SparseInputGradient {
    const std::uint8_t* code;
    Index code_stride;
    const float* dy;
    Index dy_stride, dy_line;
    Index pooled_height, pooled_width;
    Index channels;
    const float* weight;  // vectors of input channels × channels × 9 × lanes
    Index input_vectors;
    float* dx;  // is added to
    Index height, width;
    Index top, left;  // padding in front
    Index pixel, line;
};

// Input gradient of a signal's convolution from the winners of fused pooling alone; see sparse_signal.hpp.
struct SignalInputGradient {
    const std::uint8_t* code;
    Index code_stride;
    const float* dy;
    Index dy_stride;
    Index pooled_width;
    Index channels;
    Index taps;           // from 2 to 9
    const float* weight;  // vectors of input channels × channels × taps × lanes
    Index input_vectors;
    float* window;  // dx with its border: zero at the start
    Index pixel;
};

// Input gradient by spreading every output's gradient over its window; see scatter_gradient.hpp.
struct ScatterGradient {
    const float* dy;
    Index dy_stride, dy_line;
    Index height, width;  // of the output
    Index channels;       // of the output
    const float* weight;  // channels × rows × padded_run
    Index rows;           // of the window
    Index padded_run;     // floats of one row, a multiple of lanes
    float* window;        // dx with its border and without gaps between pixels: zero at the start
    Index window_row;     // floats between the rows of one window
    Index window_stride, window_line;  // floats between neighbouring windows
};

// Floats from one position of Winograd's transforms to the next, for `floats` of one: an odd number of cache lines, so that
// 36 of them spread over the sets of the first-level cache.
constexpr Index winograd_positions = 36;
constexpr Index winograd_step(Index floats) { return (floats + 15) / 16 * 16 + ((floats + 15) / 16 % 2 == 0 ? 16 : 0); }

// Winograd's F(4×4, 3×3) convolution of one image; see winograd.hpp.
struct Winograd {
    const float* input;  // at the first tap of output pixel (0, 0)
    Index line, pixel;   // floats; a pixel is a whole number of vectors
    Index input_channels;
    Index height, width;  // of the output
    bool small_height, small_width;  // cut into half tiles; decided from the whole image, of which this may be a part
    const float* weight;  // transformed, panel by panel: positions × winograd_step(input channels × panel)
    Index panels;         // of 2 vectors, the last one of
    int last_vectors;
    const float* bias;  // or null
    float* output;
    Index output_line, output_pixel;
    bool relu;
    bool accumulate;
    bool pool;           // write 2×2 maxima instead of pixels
    std::uint8_t* code;  // with pool: which won, pooled pixels × code_stride, or null
    Index code_line, code_stride;
    float* scratch;
    Index tiles;  // at most so many at a time: scratch holds positions × winograd_step of them, of pixels and of 2 vectors
};

// The same in pairs of bf16; see winograd_pairs.hpp.
struct WinogradPairs {
    const float* input;  // at the first tap of output pixel (0, 0)
    Index line, pixel;   // floats; a pixel is a whole number of vectors
    Index words;         // pairs of input channels
    Index height, width;  // of the output
    const float* weight;  // transformed, panel by panel: 16 × words × panel
    Index panels;         // of 2 vectors, the last one of
    int last_vectors;
    const float* bias;  // or null
    float* output;
    Index output_line, output_pixel;
    bool relu;
    bool accumulate;
    bool pool;           // write 2×2 maxima instead of pixels
    std::uint8_t* code;  // with pool: which won, pooled pixels × code_stride, or null
    Index code_line, code_stride;
    float* scratch;
    Index tiles;  // at most so many at a time: scratch holds tiles · 16 · (pixel / 2 + 2 · lanes) words
};

// Winograd's convolution of a signal; see winograd_signal.hpp.
struct SignalWinograd {
    const float* input;  // at the first tap of the first output
    Index pixel;         // floats from one position to the next, a multiple of lanes
    Index input_channels;
    Index taps;          // 2 or more
    Index width;         // outputs
    const float* weight;  // transformed, panel by panel
    Index panels;         // of 2 vectors, the last one of
    int last_vectors;
    const float* bias;  // or null
    float* output;
    Index output_pixel;
    bool relu;
    bool accumulate;
    bool pool;           // write the maxima of pairs after ReLU
    std::uint8_t* code;  // with pool: which won, or null
    Index code_stride;
    float* scratch;  // pairs · products · pixel floats, a window having so many products; see products_of
    Index pairs;     // of outputs at a time
};

// Its weight gradient: an image's input and dy transformed, tile by tile; see winograd_gradient.hpp.
struct WinogradTiles {
    Winograd map;  // of the forward pass: input, line, pixel, height, width, small_height, small_width
    const float* dy;
    Index dy_line, dy_pixel;
    float* patches;    // positions × winograd_step(tiles × pixel)
    float* gradients;  // positions × winograd_step(tiles × dy_pixel)
};

// One panel of filters, for several images.
struct WinogradGradient {
    Winograd map;          // likewise, and input_channels
    const float* patches;  // of the first image, the next ones so many floats further on
    Index patches_image;
    const float* gradients;  // at the panel's first filter
    Index gradients_image, dy_pixel;
    Index images;
    float* dweight;  // (tap, input channel) × (vectors · lanes)
    int vectors, columns;
    bool accumulate;
    float* scratch;  // positions × winograd_step(tile_pixels × vectors · lanes)
};

// One line of pixels of a normalisation channel by channel; see normalization.hpp.
struct NormalizedLine {
    const float* x;
    Index x_stride;
    Index pixels;
    Index channels;  // a multiple of lanes
    const float* mean;
    const float* factor;  // forward: of (x - mean); backward: of the whole
    const float* bias;    // forward: added; backward: mean of dy
    const float* slope;   // backward: of (x - mean)
    const float* dy;
    Index dy_stride;
    float* output;  // y or dx, or channels sums that are added to
    Index output_stride;
    bool relu;
    bool accumulate;
};

// One line of pixels of a local response normalisation; see local_response.hpp.
struct LocalResponse {
    const float* x;
    Index x_stride, pixels, channels;
    Index size, before;  // channels that are summed, and how many of them stand before the own one
    float alpha, beta, k;
    const float* dy;  // backward
    Index dy_stride;
    float* output;  // y or dx
    Index output_stride;
    bool accumulate;
    float* scratch;  // 3 · (channels + 2 · size + 2 · lanes) floats
};

enum class Activation : int { identity = 0, step = 1, sigmoid = 2, tanh = 3, relu = 4, leaky_relu = 5, elu = 6, softplus = 7,
                              swish = 8, mish = 9, gelu = 10, gelu_tanh = 11, hard_sigmoid = 12 };

// An activation with its settings: the slope of leaky ReLU and hard sigmoid, α and λ of ELU, β of Swish; see activations.hpp.
struct Curve {
    Activation kind = Activation::identity;
    float first = 0, second = 0;
};

// Whether the derivative looks at x; the others get by with y. (With a slope that is not negative y > 0 says that x > 0.)
inline bool slope_needs_input(const Curve& curve) {
    switch (curve.kind) {
        case Activation::elu:
        case Activation::softplus:
        case Activation::swish:
        case Activation::mish:
        case Activation::gelu:
        case Activation::gelu_tanh: return true;
        case Activation::leaky_relu: return !(curve.first >= 0);
        default: return false;
    }
}

// An activation of some floats of every pixel of a row; see activations.hpp.
struct CurvedRow {
    Curve curve;
    const float* x;
    Index x_stride;
    float* y;  // may be x
    Index y_stride;
    Index pixels, count;
};

// Two rows of a convolution's output through an activation and into one row of 2×2 maxima or averages; see activated_pooling.hpp.
struct ActivatedPair {
    Curve curve;
    float* upper;  // before the activation
    float* lower;  // null: windows of one row
    Index stride;  // floats between neighbouring pixels
    bool average;
    bool keep_activated;  // averages: the activation's y takes the place of its x
    float* output;
    Index output_stride;
    std::uint8_t* code;  // maxima: which won, or null
    float* winner;       // maxima: the winners' x, or null
    Index code_stride, winner_stride;
    Index pixels, channels;  // of the pooled row
};

// The way back from averages: dx(window) = f'(kept) · dy / size of the window.
struct ActivatedPairGradient {
    Curve curve;
    const float* dy;
    Index dy_stride;
    const float* kept[2];  // x or y of the activation, as slope_needs_input says: upper and lower row
    Index kept_stride;
    float* dx[2];  // dx[1] is null: windows of one row
    Index dx_stride;
    Index pixels, channels;
};

enum class Rule : int { sgd = 0, momentum = 1, nesterov = 2, adagrad = 3, rmsprop = 4, adam = 5, adamw = 6 };

// One optimiser step over consecutive parameters; see update.hpp.
struct Update {
    Rule rule;
    float* weight;
    const float* gradient;
    float* first;
    float* second;
    Index count;  // a multiple of lanes
    float rate, decay, scale;  // scale: factor on the gradient (clipping)
    float momentum, beta2, rest1, rest2;  // rest1 = 1 - momentum, rounded once
    float epsilon, correction1, correction2;
};

enum class Cell : int { rnn_tanh = 0, rnn_relu = 1, lstm = 2, gru = 3 };

// One step of a recurrent layer for some images, behind its products; see recurrent.hpp.
struct CellStep {
    Cell cell;
    Index images;
    Index width;   // floats of a gate, a multiple of lanes
    float* gates;  // what the products gave; becomes what the gates are
    Index gates_stride;
    const float* state;  // before
    Index state_stride;
    float* next;  // the state after
    Index next_stride;
    float* output;  // the same again, or null
    Index output_stride;
    const float* cell_before;  // of an LSTM
    float* cell_after;
    Index cell_stride;
    float* squashed;  // tanh of the cell after, for the way back, or null
    Index squashed_stride;
    const float* present;  // 0 behind a sequence's end, or null
    Index present_stride;
};

// The way back through the same step.
struct CellGradient {
    Cell cell;
    Index images;
    Index width, units;  // floats of a gate with and without padding
    float* gates;        // as CellStep left them; become the gradients in front of them
    Index gates_stride;
    const float* state;  // before
    Index state_stride;
    const float* dy;  // added to the state's gradient where present, or null
    Index dy_stride;
    float* dstate;  // of the state after; becomes what goes to the state before but through the products
    float* dcell;
    Index dstate_stride;
    const float* cell_before;
    Index cell_stride;
    const float* squashed;
    Index squashed_stride;
    const float* present;
    Index present_stride;
};

struct TileKernels;
struct LayerKernels;
struct PlaneKernels;

struct Kernels {
    const char* name;
    int lanes;
    int tile_pixels;
    bool dots;  // one instruction multiplies pairs of bf16
    void (*correlate)(const CorrelateRow&);
    void (*correlate_skipping)(const SkippingImage&);
    void (*weight_gradient)(const WeightGradient&);
    void (*depthwise)(const DepthwiseRow&);
    void (*depthwise_weight_gradient)(const DepthwiseWeightGradient&);
    // The same sums of bf16 pairs: pointers, strides and offsets count 32-bit words; see pairs.hpp.
    void (*correlate_pairs)(const CorrelateRow&);
    void (*weight_gradient_of_pairs)(const WeightGradient&);
    void (*sparse_weight_gradient_of_pairs)(const SparseWeightGradient&);  // of bf16 numbers: see sparse_pairs.hpp
    void (*round_floats)(float* values, Index count);  // each to the nearest bf16, in place
    void (*narrow)(const float* from, std::uint16_t* to, Index count);
    // words[i] = (low[i], high[i]); high may be null: zeros
    void (*pack_pairs)(const float* low, const float* high, float* words, Index count);
    // Rows 0 and 1, 2 and 3, …; a last row alone is paired with zeros.
    void (*pack_row_pairs)(const float* from, Index from_stride, Index rows, float* words, Index words_stride, Index columns);
    void (*undo_interleaving)(const float* from, float* to, Index count);  // a multiple of 2 · lanes
    void (*max_pool)(const Pooling&);
    void (*max_pool_gradient)(const PoolingGradient&);
    void (*average_pool)(const Pooling&);
    void (*average_pool_gradient)(const PoolingGradient&);
    void (*lp_pool)(const Pooling&);
    void (*lp_pool_gradient)(const PoolingGradient&);
    void (*pool_pair)(const PoolPair&);
    void (*correlate_and_pool)(const PooledRow&);
    void (*unpool_pair)(const UnpoolPair&);
    void (*sparse_weight_gradient)(const SparseWeightGradient&);
    void (*chosen_weight_gradient)(const ChosenWeightGradient&);
    void (*sparse_input_gradient)(const SparseInputGradient&);
    void (*sparse_signal_gradient)(const SignalInputGradient&);
    void (*scatter_gradient)(const ScatterGradient&);
    void (*winograd)(const Winograd&);
    // The same convolution in tiles of 2×2, for training; see winograd_exact.hpp. Weights: 16 × input channels × panel for each
    // panel; scratch: tiles · 16 · (pixel + 2 · lanes).
    void (*winograd_exact)(const Winograd&);
    void (*winograd_exact_weight)(const float* weight, float* transformed, Index input_channels, int vectors, bool reversed);
    void (*winograd_tiles)(const WinogradTiles&);
    void (*winograd_weight_gradient)(const WinogradGradient&);
    // One panel's weights, (tap, input channel) × panel, to positions × winograd_step(input channels × panel); reversed: the taps from the last to the first.
    void (*winograd_weight)(const float* weight, float* transformed, Index input_channels, int vectors, bool reversed);
    void (*winograd_of_pairs)(const WinogradPairs&);
    // The same for an even number of input channels, two of them in a word.
    void (*winograd_weight_of_pairs)(const float* weight, float* transformed, Index input_channels, int vectors, bool reversed);
    void (*sparse_input_gradient_of_pairs)(const SparseInputGradient&);  // filters in pairs; see sparse_input_pairs.hpp
    void (*signal_winograd)(const SignalWinograd&);
    void (*signal_winograd_weight)(const float* weight, float* transformed, Index input_channels, Index taps, int vectors,
                                   bool reversed);
    void (*activate)(Activation, const float* x, float* y, Index count);
    // dx (+)= f'(y) · dy
    void (*activate_gradient)(Activation, const float* y, const float* dy, float* dx, Index count, bool accumulate);
    void (*curve)(const Curve&, const float* x, float* y, Index count);
    // dx (+)= f'(x) · dy, with y = f(x) at hand
    void (*curve_gradient)(const Curve&, const float* x, const float* y, const float* dy, float* dx, Index count, bool accumulate);
    void (*curve_pixels)(const CurvedRow&);
    void (*activate_pair)(const ActivatedPair&);
    void (*activate_pair_gradient)(const ActivatedPairGradient&);
    void (*add)(const float* x, float* sum, Index count);
    void (*multiply)(const float* x, const float* y, float* product, Index count, bool accumulate);
    void (*column_sums)(const float* x, Index stride, Index line, Index pixels, Index lines, Index channels, float* sums,
                        bool accumulate);
    void (*centred_sums)(const NormalizedLine&);
    void (*normalize)(const NormalizedLine&);
    void (*normalize_gradient)(const NormalizedLine&);
    void (*local_response)(const LocalResponse&);
    void (*local_response_gradient)(const LocalResponse&);
    void (*update)(const Update&);
    // scale[i] = factor where the 24-bit number of word (first + i) is at least threshold, else 0
    void (*keep_mask)(const std::uint32_t key[2], const std::uint32_t counter[3], Index first, Index count,
                      std::uint32_t threshold, float factor, float* scale);
    // to[j · to_stride + i] = from[i · from_stride + j] for i < rows, j < columns
    void (*transpose)(const float* from, Index from_stride, float* to, Index to_stride, Index rows, Index columns);
    const LayerKernels* layers;  // the layers between the products; see layer_table.hpp
    void (*recurrent_step)(const CellStep&);
    void (*recurrent_gradient)(const CellGradient&);
    const PlaneKernels* planes;  // convolutions with few filters; see planes_table.hpp
    const TileKernels* tiles = nullptr;  // products of bf16 on tile registers, where there are any; see tile_table.hpp
};

const Kernels* baseline_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* avx512_bf16_kernels();

}  // namespace tatami
