// What the engine asks of kernels whose vectors run over the pixels of a row; see planes.hpp.
#pragma once

#include "kernel_table.hpp"

namespace tatami {

struct PlaneCorrelation {
    const float* input;
    const Index* offsets;  // of every row of the weights
    Index taps;
    const float* weight;  // taps × weight_stride, the filters side by side
    Index weight_stride;
    const float* bias;
    Index filters;
    const Index *from, *to;  // where every vector of pixels begins in the input and in a plane of the output
    Index vectors;
    float* output;
    Index plane;  // floats between the filters' planes
};

struct PlaneWeightGradient {
    const float* input;
    const Index* offsets;
    Index taps;
    const float* dy;
    Index plane, filters;
    const Index *from, *to;
    Index vectors;
    float* dweight;  // taps × filters × lanes: a sum for every lane
    float* dbias;    // filters × lanes
    bool accumulate;
};

// Two rows of one plane, or one of a signal, and a pooled row.
struct PlanePair {
    Curve curve;
    float* row[2];      // of sums (backward: of what is kept of averages); row[1] is null with windows of one row
    float* gradient[2];  // backward
    Index vectors;       // of a row
    bool average;
    bool keep_activated;  // the activation's y takes the place of its x
    float* pooled;        // backward: its gradient
    std::uint8_t* code;   // of maxima: which won
    float* winner;        // of maxima: the winners' x, or null
};

struct PlaneKernels {
    void (*correlate)(const PlaneCorrelation&);
    void (*weight_gradient)(const PlaneWeightGradient&);
    void (*pool)(const PlanePair&);
    void (*pool_gradient)(const PlanePair&);
};

}  // namespace tatami
