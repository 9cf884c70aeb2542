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
#include "fused_pooling.hpp"

namespace {

using tatami::Index;
using tatami::Winograd;

// Four values through Bᵀ, in place.
TATAMI_INLINE void transform_pair_line(Vector& a, Vector& b, Vector& c, Vector& d) {
    const Vector first = a - c, second = b + c, third = c - b, fourth = b - d;
    a = first;
    b = second;
    c = third;
    d = fourth;
}

void transform_pair_patch(const float* input, Index line, Index pixel, float* to, Index position_stride) {
    Vector d[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) d[i][j] = load(input + i * line + j * pixel);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) transform_pair_line(d[0][j], d[1][j], d[2][j], d[3][j]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) transform_pair_line(d[i][0], d[i][1], d[i][2], d[i][3]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) store(to + (i * 4 + j) * position_stride, d[i][j]);
}

// The 2×2 outputs of one tile for one vector of filters.
TATAMI_INLINE void transform_pair_back(const float* product, Index position_stride, Vector bias, Vector y[4]) {
    Vector s[2][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
        const Vector a = load(product + j * position_stride), b = load(product + (4 + j) * position_stride);
        const Vector c = load(product + (8 + j) * position_stride), d = load(product + (12 + j) * position_stride);
        s[0][j] = a + b + c;
        s[1][j] = b - c - d;
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        y[2 * i] = s[i][0] + s[i][1] + s[i][2] + bias;
        y[2 * i + 1] = s[i][1] - s[i][2] - s[i][3] + bias;
    }
}

void store_pair_tile(const Winograd& job, Index row, Index column, Index filter, Vector y[4]) {
    if (job.relu)
        for (int i = 0; i < 4; ++i) y[i] = relu(y[i]);
    if (job.pool) {
        Integers code;
        const Vector best = maximum_of_four(y[0], y[1], y[2], y[3], code);
        store(job.output + row * job.output_line + column * job.output_pixel + filter, best);
        if (job.code) store_bytes(job.code + row * job.code_line + column * job.code_stride + filter, code);
        return;
    }
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            if (2 * row + i >= job.height || 2 * column + j >= job.width) continue;
            float* const to = job.output + (2 * row + i) * job.output_line + (2 * column + j) * job.output_pixel + filter;
            store(to, job.accumulate ? load(to) + y[2 * i + j] : y[2 * i + j]);
        }
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
                transform_pair_patch(from + c, job.line, job.pixel, patches + t * job.pixel + c, tiles * job.pixel);
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

// Three taps through G.
TATAMI_INLINE void transform_pair_taps(Vector a, Vector b, Vector c, Vector to[4]) {
    const Vector half = broadcast(0.5f), sum = (a + c) * half;
    to[0] = a;
    to[1] = multiply_add(b, half, sum);
    to[2] = sum - b * half;
    to[3] = c;
}

void winograd_exact_weight(const float* weight, float* transformed, Index input_channels, int vectors, bool reversed) {
    const Index width = vectors * lanes;
    for (Index c = 0; c < input_channels; ++c)
        for (Index lane = 0; lane < width; lane += lanes) {
            Vector g[9];
            for (int tap = 0; tap < 9; ++tap)
                g[tap] = load(weight + ((reversed ? 8 - tap : tap) * input_channels + c) * width + lane);
            Vector half_done[3][4];
            for (int row = 0; row < 3; ++row) transform_pair_taps(g[row * 3], g[row * 3 + 1], g[row * 3 + 2], half_done[row]);
            for (int column = 0; column < 4; ++column) {
                Vector done[4];
                transform_pair_taps(half_done[0][column], half_done[1][column], half_done[2][column], done);
                for (int row = 0; row < 4; ++row)
                    store(transformed + ((row * 4 + column) * input_channels + c) * width + lane, done[row]);
            }
        }
}

}  // namespace
