// The kernels of layer_table.hpp for the instruction set that this is compiled for.
#pragma once

#include "example_normalization.hpp"
#include "exponentials.hpp"
#include "log_power.hpp"
#include "maxima.hpp"
#include "random_mask.hpp"
#include "rare_pooling.hpp"
#include "resample.hpp"
#include "slopes.hpp"

namespace {

constexpr tatami::LayerKernels layer_kernels = {
    slopes,
    slopes_gradient,
    maxima_of_pieces,
    maxima_of_pieces_gradient,
    larger,
    larger_gradient,
    normalize_pixels,
    normalize_pixels_gradient,
    normalize_values,
    normalize_values_gradient,
    normalize_set_gradient,
    random_words,
    exponentials,
    resample,
    resample_gradient,
    take_winners,
    stochastic_pool,
    log_power,
    log_power_gradient,
};

}  // namespace
