// All kernels for one instruction set. The build compiles this file once for each, with TATAMI_KERNELS naming the function
// that hands out the table; the compiler's target options decide the width in vector.hpp.
#include "activated_pooling.hpp"
#include "activations.hpp"
#include "chosen_gradient.hpp"
#include "correlate.hpp"
#include "depthwise.hpp"
#include "elementwise.hpp"
#include "fused_pooling.hpp"
#include "layer_kernels.hpp"
#include "local_response.hpp"
#include "normalization.hpp"
#include "planes.hpp"
#include "pooled_correlation.hpp"
#include "pooling.hpp"
#include "random_mask.hpp"
#include "recurrent.hpp"
#include "scatter_gradient.hpp"
#include "sparse_gradient.hpp"
#include "sparse_input_pairs.hpp"
#include "skipping.hpp"
#include "sparse_pairs.hpp"
#include "sparse_signal.hpp"
#include "update.hpp"
#include "weight_gradient.hpp"
#include "winograd.hpp"
#include "winograd_exact.hpp"
#include "winograd_gradient.hpp"
#include "winograd_pairs.hpp"
#include "winograd_signal.hpp"

namespace tatami {

const Kernels* TATAMI_KERNELS() {
    static constexpr Kernels kernels = {
        .name = TATAMI_NAME,
        .lanes = lanes,
        .tile_pixels = tile_pixels,
        .dots = has_dots,
        .correlate = correlate<Floats>,
        .correlate_skipping = correlate_skipping,
        .weight_gradient = weight_gradient<Floats>,
        .depthwise = depthwise,
        .depthwise_weight_gradient = depthwise_weight_gradient,
        .correlate_pairs = correlate<Pairs>,
        .weight_gradient_of_pairs = weight_gradient<Pairs>,
        .sparse_weight_gradient_of_pairs = sparse_weight_gradient_of_pairs,
        .round_floats = round_floats,
        .narrow = narrow,
        .pack_pairs = pack_pairs,
        .pack_row_pairs = pack_row_pairs,
        .undo_interleaving = undo_interleaving,
        .max_pool = max_pool,
        .max_pool_gradient = max_pool_gradient,
        .average_pool = average_pool,
        .average_pool_gradient = average_pool_gradient,
        .lp_pool = lp_pool,
        .lp_pool_gradient = lp_pool_gradient,
        .pool_pair = pool_pair,
        .correlate_and_pool = correlate_and_pool,
        .unpool_pair = unpool_pair,
        .sparse_weight_gradient = sparse_weight_gradient,
        .chosen_weight_gradient = chosen_weight_gradient,
        .sparse_input_gradient = sparse_input_gradient,
        .sparse_signal_gradient = sparse_signal_gradient,
        .scatter_gradient = scatter_gradient,
        .winograd = winograd,
        .winograd_exact = winograd_exact,
        .winograd_exact_weight = winograd_exact_weight,
        .winograd_tiles = winograd_tiles,
        .winograd_weight_gradient = winograd_weight_gradient,
        .winograd_weight = winograd_weight,
        .winograd_of_pairs = winograd_of_pairs,
        .winograd_weight_of_pairs = winograd_weight_of_pairs,
        .sparse_input_gradient_of_pairs = sparse_input_gradient_of_pairs,
        .signal_winograd = signal_winograd,
        .signal_winograd_weight = signal_winograd_weight,
        .activate = activate,
        .activate_gradient = activate_gradient,
        .curve = curve,
        .curve_gradient = curve_gradient,
        .curve_pixels = curve_pixels,
        .activate_pair = activate_pair,
        .activate_pair_gradient = activate_pair_gradient,
        .add = add,
        .multiply = multiply,
        .column_sums = column_sums,
        .centred_sums = centred_sums,
        .normalize = normalize,
        .normalize_gradient = normalize_gradient,
        .local_response = local_response,
        .local_response_gradient = local_response_gradient,
        .update = update,
        .keep_mask = keep_mask,
        .transpose = transpose,
        .layers = &layer_kernels,
        .recurrent_step = recurrent_step,
        .recurrent_gradient = recurrent_gradient,
        .planes = &plane_kernels,
    };
    return &kernels;
}

}  // namespace tatami
