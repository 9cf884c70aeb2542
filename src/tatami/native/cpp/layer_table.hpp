// The second part of an instruction set's table: kernels of the layers that stand between the products.
//
// As in kernel_table.hpp all are single-threaded, pixels are channels-last, and every size has been checked before.
#pragma once

#include "kernel_table.hpp"

namespace tatami {

// A line of pixels through a leaky ReLU whose slope is a row of numbers; see slopes.hpp.
struct SlopedLine {
    const float* x;
    Index x_stride, pixels;
    Index channels;  // a multiple of lanes
    const float* slope;
    const float* dy;
    Index dy_stride;
    float* output;  // y, or dx, or null where dx is not wanted
    Index output_stride;
    float* dslope;  // sums that are added to
    bool accumulate;
};

// A line of pixels of which every `pieces` neighbouring channels become their maximum; see maxima.hpp.
struct PiecesLine {
    const float* x;
    Index x_stride, pixels, pieces;
    Index channels;  // of the output
    const float* dy;
    Index dy_stride;
    float* output;  // y or dx
    Index output_stride;
    bool accumulate;
};

// A line of pixels, each normalised over its own channels; see example_normalization.hpp.
struct PixelsLine {
    const float* x;
    Index x_stride, pixels, channels;
    double epsilon;
    const float* scale;
    const float* bias;
    const float* dy;
    Index dy_stride;
    float* output;  // y, or dx, or null where dx is not wanted
    Index output_stride;
    float* dscale;  // sums that are added to
    float* dbias;
    bool relu;
    bool accumulate;
};

// A line of pixels with a scale and a bias for every number of it; see example_normalization.hpp.
struct ValuesLine {
    const float* x;
    Index x_stride, pixels;
    Index channels;  // a multiple of lanes
    const float* mean;
    const float* inverse;
    const float* scale;  // pixels × channels
    const float* bias;
    const float* dy;
    Index dy_stride;
    float* output;  // y, or scale · dy
    Index output_stride;
    float* dscale;  // pixels × channels, added to
    float* dbias;
    bool relu;
};

// A line of output pixels, each a weighted sum of input pixels, one factor of the weight for each axis; see resample.hpp.
struct ResampledLine {
    const float* x;             // at the image's first pixel; backward: dy of the line
    Index step[3];              // floats from one plane, row and pixel of the image to the next
    const Index* sources[3];    // of depth and row: `taps` numbers; of width: pixels × taps
    const float* weights[3];
    Index taps[3];
    Index pixels;
    Index channels;             // a multiple of lanes
    float* output;              // the line; backward: dx at the image's first pixel
    Index line_stride;          // floats from one pixel of the line to the next
    float fill;                 // what stands for the part of the weight that is missing to 1
};

struct LayerKernels {
    void (*slopes)(const SlopedLine&);
    void (*slopes_gradient)(const SlopedLine&);
    void (*maxima_of_pieces)(const PiecesLine&);
    void (*maxima_of_pieces_gradient)(const PiecesLine&);
    // max(x, other), x where both are equal; and the gradient of the winner or, `of_other`, of the loser
    void (*larger)(const float* x, const float* other, float* y, Index count);
    void (*larger_gradient)(const float* x, const float* other, const float* dy, float* d, Index count, bool of_other,
                            bool accumulate);
    void (*normalize_pixels)(const PixelsLine&);
    void (*normalize_pixels_gradient)(const PixelsLine&);
    void (*normalize_values)(const ValuesLine&);
    void (*normalize_values_gradient)(const ValuesLine&);
    void (*normalize_set_gradient)(const NormalizedLine&);
    // Words first … first + count - 1 of a stream of the counter-based generator; see random_mask.hpp.
    void (*random_words)(const std::uint32_t key[2], const std::uint32_t counter[3], Index first, Index count,
                         std::uint32_t* words);
    // y = e^(factor·x)
    void (*exponentials)(const float* x, float factor, float* y, Index count);
    void (*resample)(const ResampledLine&);
    void (*resample_gradient)(const ResampledLine&);
    // dx (+)= dy at the winner of every window; dy lies like the pooling's input, dx like its output.
    void (*take_winners)(const PoolingGradient&, bool accumulate);
    // Of every window the weighted mean, or with numbers drawn from 0 to 1 (which lie like the winners) one entry.
    void (*stochastic_pool)(const Pooling&, const float* drawn);
    // y = log(1 + gain·(re² + im²)), and the derivatives with respect to re and im for dy
    void (*log_power)(const float* real, const float* imaginary, float gain, float* y, Index count);
    void (*log_power_gradient)(const float* real, const float* imaginary, float gain, const float* dy, float* dreal,
                               float* dimaginary, Index count, bool accumulate);
};

}  // namespace tatami
