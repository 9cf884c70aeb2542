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
    .slopes = slopes,
    .slopes_gradient = slopes_gradient,
    .maxima_of_pieces = maxima_of_pieces,
    .maxima_of_pieces_gradient = maxima_of_pieces_gradient,
    .larger = larger,
    .larger_gradient = larger_gradient,
    .normalize_pixels = normalize_pixels,
    .normalize_pixels_gradient = normalize_pixels_gradient,
    .normalize_values = normalize_values,
    .normalize_values_gradient = normalize_values_gradient,
    .normalize_set_gradient = normalize_set_gradient,
    .random_words = random_words,
    .exponentials = exponentials,
    .resample = resample,
    .resample_gradient = resample_gradient,
    .take_winners = take_winners,
    .stochastic_pool = stochastic_pool,
    .log_power = log_power,
    .log_power_gradient = log_power_gradient,
};

}  // namespace
