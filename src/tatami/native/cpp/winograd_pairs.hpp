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
#include "winograd_two.hpp"

namespace {

using tatami::WinogradPairs;

// One vector of channels of a patch; positions lie `step` numbers apart.
void transform_patch_to_halves(const float* input, Index line, Index pixel, std::uint16_t* to, Index step) {
    Vector d[4][4];
    transform_pair_patch(input, line, pixel, d);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
            const Halves halves = round_to_halves(d[i][j]);
            std::memcpy(to + (i * 4 + j) * step, &halves, sizeof halves);
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
            transform_pair_back(products + (t * vectors + v) * lanes, tiles * width, job.bias ? load(job.bias + filter) : zero(), y);
            store_pair_tile(job, (first + t) / columns, (first + t) % columns, filter, y);
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
