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
        TATAMI_NAME,      lanes,      tile_pixels, has_dots, correlate<Floats>, correlate_skipping, weight_gradient<Floats>, depthwise,
        depthwise_weight_gradient, correlate<Pairs>, weight_gradient<Pairs>, sparse_weight_gradient_of_pairs,
        round_floats, narrow, pack_pairs, pack_row_pairs, undo_interleaving, max_pool,  max_pool_gradient,     average_pool, average_pool_gradient,
        lp_pool,          lp_pool_gradient, pool_pair, correlate_and_pool, unpool_pair, sparse_weight_gradient, chosen_weight_gradient, sparse_input_gradient,
        sparse_signal_gradient,
        scatter_gradient, winograd, winograd_exact, winograd_exact_weight, winograd_tiles, winograd_weight_gradient, winograd_weight,
        winograd_of_pairs, winograd_weight_of_pairs, sparse_input_gradient_of_pairs,
        signal_winograd, signal_winograd_weight,
        activate,         activate_gradient, curve, curve_gradient, curve_pixels, activate_pair, activate_pair_gradient,
        add,            multiply, column_sums, centred_sums, normalize, normalize_gradient, local_response, local_response_gradient, update, keep_mask, transpose, &layer_kernels,
        recurrent_step, recurrent_gradient, &plane_kernels,
    };
    return &kernels;
}

}  // namespace tatami
