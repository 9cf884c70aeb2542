// Correlation and weight gradient on tiles: the same sums as in correlate.hpp and weight_gradient.hpp.
//
// Correlation. The left factors are the image itself: sixteen windows that lie evenly apart are sixteen rows of a tile, loaded
// straight from the image; the right factors are weights, packed such that a tile is one kilobyte in a row. A product of 2 × 2
// blocks (32 windows × 32 filters) loads four tiles for four multiplications. The windows of several lines are taken as one
// long row, gaps between the lines included: on small images that wastes fewer rows of tiles than a rest on every line.
// The sums go through a strip of scratch that stays in the first-level cache, and from there, as vectors, through bias, ReLU
// and pooling to the output; what the gaps produced is left behind.
//
// Weight gradient. The left factors are the image transposed, so that the taps of a window are shifts along its rows; the
// right ones are dy, pixels in pairs. Sums stay in the tiles for all pixels of an image.
//
// The words of a product divide the segment's length: no tile ever multiplies what does not belong to its sum, so nothing
// has to be masked, and a NaN beside a window does not get in. Rows of a tile are independent: surplus ones may hold anything.
#pragma once

#include "fused_pooling.hpp"
#include "tile_registers.hpp"
#include "tile_table.hpp"

namespace {

using tatami::TileCorrelation;
using tatami::TileWeightGradient;

constexpr Index tile_floats = 256;

template <int rows, int columns>
TATAMI_INLINE void clear_sums() {
    clear_tile<0>();
    if constexpr (columns == 2) clear_tile<1>();
    if constexpr (rows == 2) clear_tile<2>();
    if constexpr (rows == 2 && columns == 2) clear_tile<3>();
}

template <int rows, int columns>
TATAMI_INLINE void load_sums(const float* from, Index row_block, Index column_block, Index stride) {
    load_tile<0>(from, stride);
    if constexpr (columns == 2) load_tile<1>(from + column_block, stride);
    if constexpr (rows == 2) load_tile<2>(from + row_block, stride);
    if constexpr (rows == 2 && columns == 2) load_tile<3>(from + row_block + column_block, stride);
}

template <int rows, int columns>
TATAMI_INLINE void store_sums(float* to, Index row_block, Index column_block, Index stride) {
    store_tile<0>(to, stride);
    if constexpr (columns == 2) store_tile<1>(to + column_block, stride);
    if constexpr (rows == 2) store_tile<2>(to + row_block, stride);
    if constexpr (rows == 2 && columns == 2) store_tile<3>(to + row_block + column_block, stride);
}

// One product of each pair of blocks; strides and blocks in bytes, the rows of right factors are 64 bytes.
template <int rows, int columns>
TATAMI_INLINE void add_products(const char* left, Index left_block, Index left_stride, const char* right, Index right_block) {
    load_tile<right_tile>(right, 64);
    load_tile<left_tile>(left, left_stride);
    multiply_tiles<0, left_tile, right_tile>();
    if constexpr (columns == 2) {
        load_tile<right_tile + 1>(right + right_block, 64);
        multiply_tiles<1, left_tile, right_tile + 1>();
    }
    if constexpr (rows == 2) {
        load_tile<left_tile + 1>(left + left_block, left_stride);
        multiply_tiles<2, left_tile + 1, right_tile>();
    }
    if constexpr (rows == 2 && columns == 2) multiply_tiles<3, left_tile + 1, right_tile + 1>();
}

template <int rows, int columns>
void correlate_block(const TileCorrelation& job, const std::uint16_t* input, const float* weight, Index column_block,
                     float* sums) {
    const Index stride = job.pixel * 2;
    const char* right = reinterpret_cast<const char*>(weight);
    clear_sums<rows, columns>();
    for (Index s = 0; s < job.segments; ++s) {
        const char* left = reinterpret_cast<const char*>(input + job.offsets[s]);
        for (Index step = 0; step < job.steps; ++step) {
            add_products<rows, columns>(left, 16 * stride, stride, right, column_block);
            left += 4 * job.words;
            right += 64 * job.words;
        }
    }
    store_sums<rows, columns>(sums, 16 * 16 * columns, 16, 64 * columns);
}

// The sums of `pixels` windows and one or two blocks of filters into the strip, a window's filters side by side.
template <int columns>
void correlate_strip(const TileCorrelation& job, const std::uint16_t* input, Index pixels, Index block) {
    const Index depth = job.segments * job.steps * job.words;
    const float* const weight = job.weight + block * depth * 16;
    const Index blocks = (pixels + 15) / 16;
    Index i = 0;
    for (; i + 2 <= blocks; i += 2)
        correlate_block<2, columns>(job, input + i * 16 * job.pixel, weight, depth * 64, job.strip + i * tile_floats * columns);
    if (i < blocks)
        correlate_block<1, columns>(job, input + i * 16 * job.pixel, weight, depth * 64, job.strip + i * tile_floats * columns);
}

TATAMI_INLINE int lanes_left(Index columns, Index at) {
    return static_cast<int>(columns - at < lanes ? columns - at : lanes);
}

TATAMI_INLINE Vector load_up_to(const float* from, int count) {
    return count == lanes ? load(from) : load_partial(from, count);
}

TATAMI_INLINE void store_up_to(float* to, Vector value, int count) {
    if (count == lanes)
        store(to, value);
    else
        store_partial(to, value, count);
}

// One line of the strip to the output.
void finish_line(const TileCorrelation& job, const float* sums, Index stride, const float* bias, Index columns, float* output) {
    for (Index p = 0; p < job.width; ++p)
        for (Index c = 0; c < columns; c += lanes) {
            const int count = lanes_left(columns, c);
            float* const to = output + p * job.output_pixel + c;
            Vector y = load(sums + p * stride + c);
            if (bias) y += load_up_to(bias + c, count);
            if (job.relu) y = relu(y);
            if (job.accumulate) y += load_up_to(to, count);
            store_up_to(to, y, count);
        }
}

// One line, or two, of the strip to a line of maxima.
void finish_pooled_line(const TileCorrelation& job, const float* upper, const float* lower, Index stride, const float* bias,
                        Index columns, float* output, std::uint8_t* code) {
    for (Index p = 0; p < job.width / 2; ++p)
        for (Index c = 0; c < columns; c += lanes) {
            const int count = lanes_left(columns, c);
            const Vector b = bias ? load_up_to(bias + c, count) : zero();
            const float* const above = upper + 2 * p * stride + c;
            const float* const below = lower + 2 * p * stride + c;
            Integers won;
            // ReLU after the maximum: it changes neither that nor, where anything is active, who won.
            const Vector best = maximum_of_four(load(above) + b, load(above + stride) + b, load(below) + b,
                                                load(below + stride) + b, won);
            store_up_to(output + p * job.output_pixel + c, relu(best), count);
            if (code == nullptr) continue;
            std::uint8_t* const to = code + p * job.code_pixel + c;
            if (count == lanes) {
                store_bytes(to, won);
                continue;
            }
            std::uint8_t bytes[lanes];
            store_bytes(bytes, won);
            std::memcpy(to, bytes, static_cast<std::size_t>(count));
        }
}

// All lines for one or two blocks of filters.
template <int columns>
void correlate_columns(const TileCorrelation& job, Index block) {
    const Index line_pixels = job.pixel > 0 ? job.line / job.pixel : 0;
    const Index stride = 16 * columns, first = 16 * block;
    const Index written = job.columns - first < stride ? job.columns - first : stride;
    const float* const bias = job.bias ? job.bias + first : nullptr;
    for (Index h = 0; h < job.height; h += job.lines) {
        const Index lines = job.height - h < job.lines ? job.height - h : job.lines;
        correlate_strip<columns>(job, job.input + h * job.line, tatami::strip_pixels(lines, job.width, line_pixels), block);
        const Index rest = job.pool_lines > 0 ? job.pool_lines : 1;
        for (Index i = 0; i + rest <= lines; i += rest) {
            const float* const sums = job.strip + i * line_pixels * stride;
            const Index to = (h + i) / rest;
            float* const output = job.output + to * job.output_line + first;
            if (job.pool_lines == 0)
                finish_line(job, sums, stride, bias, written, output);
            else
                finish_pooled_line(job, sums, sums + (job.pool_lines - 1) * line_pixels * stride, stride, bias, written, output,
                                   job.code ? job.code + to * job.code_line + first : nullptr);
        }
    }
}

void tile_correlate(const TileCorrelation& job) {
    const Index line_pixels = job.pixel > 0 ? job.line / job.pixel : 0;
    const Index lines = job.height < job.lines ? job.height : job.lines;
    const Index pixels = tatami::strip_pixels(lines, job.width, line_pixels);
    configure_tiles(tile_shapes(pixels < 16 ? pixels : 16, job.words));
    const Index blocks = (job.columns + 15) / 16;
    Index block = 0;
    for (; block + 2 <= blocks; block += 2) correlate_columns<2>(job, block);
    if (block < blocks) correlate_columns<1>(job, block);
    release_tiles();
}

template <int rows, int columns>
void weight_gradient_block(const TileWeightGradient& job, Index shift, Index row, Index block, float* to) {
    const Index stride = job.row_stride * 4;
    if (job.accumulate)
        load_sums<rows, columns>(to, job.row_block, job.column_block, stride);
    else
        clear_sums<rows, columns>();
    for (Index factor = 0; factor < job.factors; ++factor) {
        const char* left = reinterpret_cast<const char*>(job.input[factor] + row * job.row + shift);
        const char* right = reinterpret_cast<const char*>(job.dy[factor] + block * job.dy_block);
        for (Index step = 0; step < job.steps; ++step) {
            add_products<rows, columns>(left, 16 * job.row * 2, job.row * 2, right, job.dy_block * 4);
            left += 64;
            right += 1024;
        }
    }
    store_sums<rows, columns>(to, job.row_block, job.column_block, stride);
}

template <int columns>
void weight_gradient_columns(const TileWeightGradient& job, Index block) {
    const Index row_blocks = (job.rows + 15) / 16;
    for (Index tap = 0; tap < job.taps; ++tap) {
        float* const to = job.dweight + tap * job.tap + block * job.column_block;
        Index i = 0;
        for (; i + 2 <= row_blocks; i += 2)
            weight_gradient_block<2, columns>(job, job.shifts[tap], 16 * i, block, to + i * job.row_block);
        if (i < row_blocks)
            weight_gradient_block<1, columns>(job, job.shifts[tap], 16 * i, block, to + i * job.row_block);
    }
}

void tile_weight_gradient(const TileWeightGradient& job) {
    configure_tiles(tile_shapes(16, 16));
    Index block = 0;
    for (; block + 2 <= job.column_blocks; block += 2) weight_gradient_columns<2>(job, block);
    if (block < job.column_blocks) weight_gradient_columns<1>(job, block);
    release_tiles();
}

}  // namespace
