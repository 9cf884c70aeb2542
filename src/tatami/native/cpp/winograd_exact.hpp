// Winograd's minimal filtering F(2×2, 3×3): a 3×3 convolution with stride 1 in 16 multiplications per 2×2 outputs, not 36.
//
//   Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//
// for a 4×4 patch d of the input, the 3×3 taps g, and the 2×2 outputs Y, with
//
//        ⎡ 1  0 -1  0 ⎤        ⎡  1   0   0 ⎤
//   Bᵀ = ⎢ 0  1  1  0 ⎥   G =  ⎢  ½   ½   ½ ⎥   Aᵀ = ⎡ 1  1  1  0 ⎤
//        ⎢ 0 -1  1  0 ⎥        ⎢  ½  -½   ½ ⎥        ⎣ 0  1 -1 -1 ⎦
//        ⎣ 0  1  0 -1 ⎦        ⎣  0   0   1 ⎦
//
// Summed over input channels the ⊙ becomes 16 matrix products, tiles × channels times channels × filters, which run on the
// tile of correlate.hpp. Steps for a block of tiles, as many as fit the second-level cache:
//   1. transform the input patches           -> (16, tiles, channels)
//   2. for each panel of filters, 16 products -> (16, tiles, panel)
//   3. transform back, add the bias, ReLU, and store 2×2 pixels, or their maximum: tiles and pooling windows coincide.
// A patch that reaches beyond the last row or column touches only outputs that are not stored (Bᵀ's last row alone sees them).
//
// For the forward pass of training, though winograd.hpp multiplies less: its outputs carry a rounding of the whole patch. Here a
// window of zeros gives exactly its bias, and windows over a constant exactly the same number, because differences of equal
// numbers and sums with zero are exact. On images with an empty background many sums stand on ReLU's kink or are equal under a
// maximum, so that a rounding, whatever its size, would send their gradients another way than the definition.
// Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016. Rounding grows by a small factor.
#pragma once

#include "correlate.hpp"
#include "winograd_two.hpp"

namespace {

using tatami::Winograd;

void transform_patch_exactly(const float* input, Index line, Index pixel, float* to, Index position_stride) {
    Vector d[4][4];
    transform_pair_patch(input, line, pixel, d);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) store(to + (i * 4 + j) * position_stride, d[i][j]);
}

void winograd_exact(const Winograd& job) {
    const Index round = job.pool ? 0 : 1;  // pooling drops a last odd row or column
    const Index rows = (job.height + round) / 2, columns = (job.width + round) / 2, all = rows * columns;
    const Index blocks = (all + job.tiles - 1) / job.tiles;
    for (Index block = 0, first = 0; block < blocks; ++block) {
        const Index tiles = (all - first + blocks - block - 1) / (blocks - block);
        float* const patches = job.scratch;
        float* const products = patches + 16 * tiles * job.pixel;
        for (Index t = 0; t < tiles; ++t) {
            const Index row = (first + t) / columns, column = (first + t) % columns;
            const float* const from = job.input + 2 * row * job.line + 2 * column * job.pixel;
            for (Index c = 0; c < job.pixel; c += lanes)
                transform_patch_exactly(from + c, job.line, job.pixel, patches + t * job.pixel + c, tiles * job.pixel);
        }
        const Segment channels{0, job.input_channels};
        for (Index panel = 0; panel < job.panels; ++panel) {
            const int vectors = panel + 1 < job.panels ? 2 : job.last_vectors;
            const float* const weight = job.weight + panel * 16 * job.input_channels * 2 * lanes;
            CorrelateRow product{};
            product.input_stride = job.pixel;
            product.segments = &channels;
            product.segment_count = 1;
            product.output_stride = vectors * lanes;
            product.pixels = tiles;
            product.vectors = vectors;
            product.columns = vectors * lanes;
            for (Index position = 0; position < 16; ++position) {
                product.input = patches + position * tiles * job.pixel;
                product.weight = weight + position * job.input_channels * vectors * lanes;
                product.output = products + position * tiles * vectors * lanes;
                correlate<Floats>(product);
            }
            for (Index t = 0; t < tiles; ++t)
                for (int v = 0; v < vectors; ++v) {
                    const Index filter = panel * 2 * lanes + v * lanes;
                    Vector y[4];
                    transform_pair_back(products + (t * vectors + v) * lanes, tiles * vectors * lanes,
                                   job.bias ? load(job.bias + filter) : zero(), y);
                    store_pair_tile(job, (first + t) / columns, (first + t) % columns, filter, y);
                }
        }
        first += tiles;
    }
}

void winograd_exact_weight(const float* weight, float* transformed, Index input_channels, int vectors, bool reversed) {
    const Index width = vectors * lanes;
    for (Index c = 0; c < input_channels; ++c)
        for (Index lane = 0; lane < width; lane += lanes) {
            Vector done[16];
            transform_nine_taps(weight + c * width + lane, input_channels * width, reversed, done);
            for (int position = 0; position < 16; ++position)
                store(transformed + (position * input_channels + c) * width + lane, done[position]);
        }
}

}  // namespace
