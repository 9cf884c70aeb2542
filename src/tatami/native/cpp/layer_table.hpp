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
};

}  // namespace tatami
