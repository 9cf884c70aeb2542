// The tile kernels, compiled once for the processor's tiles and once for each emulation; TATAMI_TILES names the function.
#include "tile_packing.hpp"
#include "tile_products.hpp"

namespace tatami {

const TileKernels* TATAMI_TILES() {
    static constexpr TileKernels kernels = {TATAMI_NAME,       tile_correlate,  tile_weight_gradient,
                                            numbers_of_pixels, numbers_of_rows, pairs_of_rows,
                                            factors_of_winners};
    return &kernels;
}

}  // namespace tatami
