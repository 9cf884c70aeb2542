// Winograd's minimal filtering F(2×2, 3×3) with products of bf16 pairs: 16 products for 2×2 outputs where the definition has 36.
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
// Patches and weights are transformed in floats, from floats, and rounded to bf16 once, when they are stored; products take two
// channels at a time, and their sums and the way back are floats. Operands are rounded as often as in the plain sum, but an
// output is made of nine of the sixteen sums, so its error is larger: 1.4 times behind ReLU, 1.7 times for numbers of both signs
// (tests/native). Larger tiles save more and lose too much: F(4×4) is for floats, in winograd.hpp.
//
// Summed over input channels the ⊙ becomes 16 matrix products, tiles × channels times channels × filters, which run on the
// tile of correlate.hpp. Steps for a block of tiles, as many as fit the second-level cache:
//   1. transform the input patches            -> (16, tiles, channels) of 16-bit numbers, two channels in a word
//   2. for each panel of filters, 16 products -> (16, tiles, panel) of floats
//   3. transform back, add the bias, ReLU, and store 2×2 pixels, or their maximum: tiles and pooling windows coincide.
// A patch that reaches beyond the last row or column touches only outputs that are not stored (Bᵀ's last row alone sees them).
// Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
#pragma once

#include "correlate.hpp"
#include "fused_pooling.hpp"

namespace {

using tatami::WinogradPairs;

// Four values through Bᵀ, in place.
TATAMI_INLINE void transform_line_of_four(Vector& a, Vector& b, Vector& c, Vector& d) {
    const Vector first = a - c, second = b + c, third = c - b, fourth = b - d;
    a = first;
    b = second;
    c = third;
    d = fourth;
}

// One vector of channels of a patch; positions lie `step` numbers apart.
void transform_patch_to_halves(const float* input, Index line, Index pixel, std::uint16_t* to, Index step) {
    Vector d[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) d[i][j] = load(input + i * line + j * pixel);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) transform_line_of_four(d[0][j], d[1][j], d[2][j], d[3][j]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) transform_line_of_four(d[i][0], d[i][1], d[i][2], d[i][3]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
            const Halves halves = round_to_halves(d[i][j]);
            std::memcpy(to + (i * 4 + j) * step, &halves, sizeof halves);
        }
}

// The 2×2 outputs of one tile for one vector of filters.
TATAMI_INLINE void outputs_of_products(const float* product, Index step, Vector bias, bool positive, Vector y[4]) {
    Vector s[2][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
        const Vector a = load(product + j * step), b = load(product + (4 + j) * step);
        const Vector c = load(product + (8 + j) * step), d = load(product + (12 + j) * step);
        s[0][j] = a + b + c;
        s[1][j] = b - c - d;
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        y[2 * i] = s[i][0] + s[i][1] + s[i][2] + bias;
        y[2 * i + 1] = s[i][1] - s[i][2] - s[i][3] + bias;
    }
    if (positive)
        for (int i = 0; i < 4; ++i) y[i] = relu(y[i]);
}

TATAMI_INLINE void store_outputs(const WinogradPairs& job, Index row, Index column, Index filter, const Vector y[4]) {
    if (job.pool) {
        float* const to = job.output + row * job.output_line + column * job.output_pixel + filter;
        if (job.code == nullptr) {
            store(to, larger(larger(larger(y[0], y[1]), y[2]), y[3]));
            return;
        }
        Integers code;
        store(to, maximum_of_four(y[0], y[1], y[2], y[3], code));
        store_bytes(job.code + row * job.code_line + column * job.code_stride + filter, code);
        return;
    }
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            if (2 * row + i >= job.height || 2 * column + j >= job.width) continue;
            float* const to = job.output + (2 * row + i) * job.output_line + (2 * column + j) * job.output_pixel + filter;
            store(to, job.accumulate ? load(to) + y[2 * i + j] : y[2 * i + j]);
        }
}

// Steps 2 and 3 for one panel of filters.
void finish_panel(const WinogradPairs& job, Index panel, Index first, Index tiles, Index columns, float* products) {
    const int vectors = panel + 1 < job.panels ? 2 : job.last_vectors;
    const Index width = vectors * lanes, pixel = job.pixel / 2;
    const Segment channels{0, job.words};
    CorrelateRow product{};
    product.input_stride = pixel;
    product.segments = &channels;
    product.segment_count = 1;
    product.output_stride = width;
    product.pixels = tiles;
    product.vectors = vectors;
    product.columns = static_cast<int>(width);
    for (Index position = 0; position < 16; ++position) {
        product.input = job.scratch + position * tiles * pixel;
        product.weight = job.weight + panel * 16 * job.words * 2 * lanes + position * job.words * width;
        product.output = products + position * tiles * width;
        correlate<Pairs>(product);
    }
    for (Index t = 0; t < tiles; ++t)
        for (int v = 0; v < vectors; ++v) {
            const Index filter = panel * 2 * lanes + v * lanes;
            Vector y[4];
            outputs_of_products(products + (t * vectors + v) * lanes, tiles * width, job.bias ? load(job.bias + filter) : zero(),
                                job.relu, y);
            store_outputs(job, (first + t) / columns, (first + t) % columns, filter, y);
        }
}

void winograd_of_pairs(const WinogradPairs& job) {
    const Index round = job.pool ? 0 : 1;  // pooling drops a last odd row or column
    const Index rows = (job.height + round) / 2, columns = (job.width + round) / 2, all = rows * columns;
    const Index blocks = (all + job.tiles - 1) / job.tiles;
    for (Index block = 0, first = 0; block < blocks; ++block) {
        const Index tiles = (all - first + blocks - block - 1) / (blocks - block);
        std::uint16_t* const patches = reinterpret_cast<std::uint16_t*>(job.scratch);
        for (Index t = 0; t < tiles; ++t) {
            const Index row = (first + t) / columns, column = (first + t) % columns;
            const float* const from = job.input + 2 * row * job.line + 2 * column * job.pixel;
            for (Index c = 0; c < job.pixel; c += lanes)
                transform_patch_to_halves(from + c, job.line, job.pixel, patches + t * job.pixel + c, tiles * job.pixel);
        }
        for (Index panel = 0; panel < job.panels; ++panel)
            finish_panel(job, panel, first, tiles, columns, job.scratch + 16 * tiles * job.pixel / 2);
        first += tiles;
    }
}

// Three taps through G.
TATAMI_INLINE void transform_three_taps(Vector a, Vector b, Vector c, Vector to[4]) {
    const Vector half = broadcast(0.5f), sum = (a + c) * half;
    to[0] = a;
    to[1] = sum + b * half;
    to[2] = sum - b * half;
    to[3] = c;
}

// One vector of filters of one channel, whose taps lie `step` floats apart.
TATAMI_INLINE void transform_nine_taps(const float* weight, Index step, bool reversed, Vector transformed[16]) {
    Vector half_done[3][4];
    for (int row = 0; row < 3; ++row) {
        Vector g[3];
        for (int column = 0; column < 3; ++column) {
            const int tap = row * 3 + column;
            g[column] = load(weight + (reversed ? 8 - tap : tap) * step);
        }
        transform_three_taps(g[0], g[1], g[2], half_done[row]);
    }
    for (int column = 0; column < 4; ++column) {
        Vector done[4];
        transform_three_taps(half_done[0][column], half_done[1][column], half_done[2][column], done);
        for (int row = 0; row < 4; ++row) transformed[row * 4 + column] = done[row];
    }
}

// One panel's weights, (tap, channel) × panel, transformed and two channels in a word.
void winograd_weight_of_pairs(const float* weight, float* transformed, Index input_channels, int vectors, bool reversed) {
    const Index width = vectors * lanes, words = input_channels / 2;
    for (Index word = 0; word < words; ++word)
        for (Index lane = 0; lane < width; lane += lanes) {
            Vector low[16], high[16];
            transform_nine_taps(weight + 2 * word * width + lane, input_channels * width, reversed, low);
            transform_nine_taps(weight + (2 * word + 1) * width + lane, input_channels * width, reversed, high);
            for (int position = 0; position < 16; ++position)
                store_words(transformed + (position * words + word) * width + lane, make_pairs(low[position], high[position]));
        }
}

}  // namespace
