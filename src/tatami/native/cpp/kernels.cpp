// All kernels for one instruction set. The build compiles this file once for each, with TATAMI_KERNELS naming the function
// that hands out the table; the compiler's target options decide the width in vector.hpp.
#include "correlate.hpp"
#include "depthwise.hpp"
#include "elementwise.hpp"
#include "fused_pooling.hpp"
#include "normalization.hpp"
#include "pooling.hpp"
#include "random_mask.hpp"
#include "scatter_gradient.hpp"
#include "sparse_gradient.hpp"
#include "update.hpp"
#include "weight_gradient.hpp"
#include "winograd.hpp"

namespace tatami {

const Kernels* TATAMI_KERNELS() {
    static constexpr Kernels kernels = {
        TATAMI_NAME,      lanes,      tile_pixels,           correlate, weight_gradient, depthwise,
        depthwise_weight_gradient,   max_pool,  max_pool_gradient,     average_pool, average_pool_gradient,
        lp_pool,          lp_pool_gradient, pool_pair, unpool_pair, sparse_weight_gradient, masked_weight_gradient, sparse_input_gradient, scatter_gradient, winograd, winograd_weight,
        activate,         activate_gradient, add,            multiply, column_sums, centred_sums, normalize, normalize_gradient, update, keep_mask, transpose,
    };
    return &kernels;
}

}  // namespace tatami
