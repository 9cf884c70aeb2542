// Weight gradient of a 3×3 convolution with stride 1 the way of winograd.hpp, turned round: 36 products where the sum over a
// 4×4 tile of dy has 144.
//
//   dg = Gᵀ ( Σ over tiles (Bᵀ d B) ⊙ (A dy Aᵀ) ) G
//
// with the same matrices, points and tiles, for it is the gradient of Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. The sum is a matrix product
// for each of the 36 positions, channels × tiles times tiles × filters, and linear: tiles of several images are added up
// before Gᵀ takes them back to nine taps. Steps:
//   1. winograd_tiles, for each image: both transforms        -> (position, tile, channel) and (position, tile, filter)
//   2. winograd_weight_gradient, once for several images: for a panel of filters and as many input channels as the tile of
//      weight_gradient.hpp has rows, 36 products into a block that stays in the second-level cache, then Gᵀ · G, and add.
// Half tiles have fewer positions; a tile that reaches beyond the last row or column takes zeros there. Every sum runs over
// images and tiles in order.
#pragma once

#include "weight_gradient.hpp"
#include "winograd.hpp"

namespace {

using tatami::WinogradGradient;
using tatami::WinogradTiles;

// A line of dy through A.
template <bool whole>
TATAMI_INLINE void transform_gradient_line(const Vector (&y)[tile_size(whole)], Vector (&to)[points]) {
    to[0] = y[0];
    if constexpr (whole) {
        const Vector even_p = multiply_add(broadcast(p_squared), y[2], y[0]);
        const Vector odd_p = multiply_add(broadcast(p_cubed), y[3], broadcast(point_p) * y[1]);
        const Vector even_q = multiply_add(broadcast(q_squared), y[2], y[0]);
        const Vector odd_q = multiply_add(broadcast(q_cubed), y[3], broadcast(point_q) * y[1]);
        to[1] = even_p + odd_p;
        to[2] = even_p - odd_p;
        to[3] = even_q + odd_q;
        to[4] = even_q - odd_q;
        to[5] = y[3];
    } else {
        to[1] = multiply_add(broadcast(point_p), y[1], y[0]);
        to[2] = multiply_add(broadcast(-point_p), y[1], y[0]);
        to[5] = y[1];
    }
}

// One vector of filters of a tile of dy; `height` and `width` of what lies within the map.
template <bool whole_height, bool whole_width>
void transform_gradient(const float* dy, Index line, Index pixel, Index height, Index width, float* to, Index step, Index skip) {
    constexpr int rows = tile_size(whole_height), columns = tile_size(whole_width);
    Vector half_done[points][columns];
#pragma GCC unroll 4
    for (int column = 0; column < columns; ++column) {
        Vector y[rows], done[points];
#pragma GCC unroll 4
        for (int row = 0; row < rows; ++row)
            y[row] = row < height && column < width ? load(dy + row * line + column * pixel) : zero();
        transform_gradient_line<whole_height>(y, done);
#pragma GCC unroll 6
        for (int point = 0; point < points; ++point)
            if (!skipped(whole_height, point)) half_done[point][column] = done[point];
    }
#pragma GCC unroll 6
    for (int row = 0; row < points; ++row) {
        if (skipped(whole_height, row)) continue;
        Vector done[points];
        transform_gradient_line<whole_width>(half_done[row], done);
#pragma GCC unroll 6
        for (int column = 0; column < points; ++column) {
            if (skipped(whole_width, column)) continue;
            float* const at = to + (row * points + column) * step;
            store(skipped(false, column) && !whole_height ? at - skip : at, done[column]);
        }
    }
}

void transform_gradients(const WinogradTiles& job, const TileBlock& block) {
    const Index step = winograd_step(block.count * job.dy_pixel), skip = block.of_kind[1] * job.dy_pixel;
    block.for_each([&](int kind, Index index, const TilePlace& place) {
        const float* const from = job.dy + place.row * job.dy_line + place.column * job.dy_pixel;
        float* const to = job.gradients + index * job.dy_pixel;
        const Index height = job.map.height - place.row, width = job.map.width - place.column;
        for (Index k = 0; k < job.dy_pixel; k += lanes) switch (kind) {
                case 0: transform_gradient<true, true>(from + k, job.dy_line, job.dy_pixel, height, width, to + k, step, skip); break;
                case 1: transform_gradient<true, false>(from + k, job.dy_line, job.dy_pixel, height, width, to + k, step, skip); break;
                case 2: transform_gradient<false, true>(from + k, job.dy_line, job.dy_pixel, height, width, to + k, step, skip); break;
                default: transform_gradient<false, false>(from + k, job.dy_line, job.dy_pixel, height, width, to + k, step, skip); break;
            }
    });
}

void winograd_tiles(const WinogradTiles& job) {
    const Tiles tiles(job.map);
    const TileBlock block(tiles, 0, tiles.ends[3]);
    transform_patches(job.map, block, job.patches, winograd_step(block.count * job.map.pixel));
    transform_gradients(job, block);
}

// A line of six sums through Gᵀ.
TATAMI_INLINE void transform_sums_line(const Vector (&s)[points], Vector (&taps)[3]) {
    const Vector even_p = s[1] + s[2], odd_p = s[1] - s[2], even_q = s[3] + s[4], odd_q = s[3] - s[4];
    const auto sum_of = [](float a, Vector x, float b, Vector y) { return multiply_add(broadcast(a), x, broadcast(b) * y); };
    taps[0] = multiply_add(broadcast(weight_of_zero), s[0], sum_of(weight_of_p, even_p, weight_of_q, even_q));
    taps[1] = sum_of(weight_of_p * point_p, odd_p, weight_of_q * point_q, odd_q);
    taps[2] = s[5] + sum_of(weight_of_p * p_squared, even_p, weight_of_q * q_squared, even_q);
}

// One input channel and vector of filters: 36 sums, `step` apart, to nine taps, `tap_step` apart.
TATAMI_INLINE void transform_sums(const float* sums, Index step, float* dweight, Index tap_step, bool accumulate, int columns) {
    Vector half_done[3][points];
#pragma GCC unroll 6
    for (int column = 0; column < points; ++column) {
        Vector s[points], taps[3];
#pragma GCC unroll 6
        for (int row = 0; row < points; ++row) s[row] = load(sums + (row * points + column) * step);
        transform_sums_line(s, taps);
#pragma GCC unroll 3
        for (int row = 0; row < 3; ++row) half_done[row][column] = taps[row];
    }
#pragma GCC unroll 3
    for (int row = 0; row < 3; ++row) {
        Vector taps[3];
        transform_sums_line(half_done[row], taps);
#pragma GCC unroll 3
        for (int column = 0; column < 3; ++column) {
            float* const to = dweight + (row * 3 + column) * tap_step;
            const Vector value = first_lanes(taps[column], columns);
            store(to, accumulate ? load(to) + value : value);
        }
    }
}

void winograd_weight_gradient(const WinogradGradient& job) {
    const Tiles tiles(job.map);
    const TileBlock tile_block(tiles, 0, tiles.ends[3]);
    const Index patch_step = winograd_step(tile_block.count * job.map.pixel);
    const Index gradient_step = winograd_step(tile_block.count * job.dy_pixel);
    const Index channels = job.map.input_channels, width = job.vectors * lanes;
    const Index blocks = (channels + tile_pixels - 1) / tile_pixels;
    for (Index b = 0, first = 0; b < blocks; ++b) {
        const Index rows = (channels - first + blocks - b - 1) / (blocks - b), step = winograd_step(rows * width);
        WeightGradient product{};
        product.input_stride = job.map.pixel;
        product.input_line = job.patches_image;
        product.dy_stride = job.dy_pixel;
        product.dy_line = job.gradients_image;
        product.lines = job.images;
        product.rows = rows;
        product.vectors = job.vectors;
        product.columns = static_cast<int>(width);
        for (int position = 0; position < points * points; ++position) {
            product.pixels = tile_block.tiles_at(position / points, position % points);
            product.input = job.patches + position * patch_step + first;
            product.dy = job.gradients + position * gradient_step;
            product.dweight = job.scratch + position * step;
            weight_gradient<Floats>(product);
        }
        for (Index row = 0; row < rows; ++row)
            for (int v = 0; v < job.vectors; ++v) {
                const int left = job.columns - v * lanes;
                transform_sums(job.scratch + row * width + v * lanes, step, job.dweight + (first + row) * width + v * lanes,
                               channels * width, job.accumulate, left < lanes ? left : lanes);
            }
        first += rows;
    }
}

}  // namespace
