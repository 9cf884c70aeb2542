// What the engine asks of tile kernels: sums of products of bf16 numbers, sixteen by sixteen by thirty-two at a time.
//
// Factors are bf16 numbers (16 bits); a word is two of them. Three kinds of matrices of factors occur:
//
//   pixels    rows of numbers, neighbouring channels side by side: an image as it is, rounded
//   pairs     words × 16 columns: word (p, k) holds the numbers p · 2 and p · 2 + 1 of column k; columns in blocks of 16
//   rows      one row of numbers for each channel, neighbouring pixels side by side: an image transposed
//
// Calls touch nothing but what their arguments describe, and configure and release the tile registers themselves.
#pragma once

#include "kernel_table.hpp"

namespace tatami {

// output(line, pixel, k) = bias(k) + sum over segments s, numbers i of input(window + offset(s) + i) · weight(s · length + i, k)
struct TileCorrelation {
    const std::uint16_t* input;  // `pixels`, at the window of output pixel (0, 0)
    Index pixel, line;           // numbers from one window to the next, and to the next line's
    const Index* offsets;        // of every segment, in numbers
    Index segments;
    Index steps, words;   // a segment is cut into so many tile products of so many words (1 … 16)
    const float* weight;  // `pairs`: blocks of 16 columns × segments · steps · words rows × 16 words
    Index columns;        // that are written
    Index height, width;  // of the output (before pooling)
    Index lines;          // computed at a time: even with pooling in two lines
    const float* bias;    // or null
    float* output;
    Index output_line, output_pixel;
    bool relu, accumulate;
    Index pool_lines;  // 0: no pooling, else the lines of a window that is two pixels wide
    std::uint8_t* code;  // which of the window's pixels won, see fused_pooling.hpp; or null
    Index code_line, code_pixel;
    float* strip;  // scratch: as many floats as strip_floats says
};

// dweight(tap, r, k) (+)= sum over factors f, pixels p of input(f)(r, shift(tap) + p) · dy(f)(p, k)
struct TileWeightGradient {
    const std::uint16_t* input[3];  // `rows`, for each of the factors
    const float* dy[3];             // `pairs`
    Index factors;
    Index row;  // numbers from row to row
    const Index* shifts;
    Index taps, rows;     // the last block of 16 rows may reach beyond: so much memory there is
    Index steps;          // of 32 pixels
    Index dy_block;       // floats from one block of 16 columns to the next
    Index column_blocks;  // of 16
    float* dweight;       // blocks of 16 × 16 floats
    Index row_stride, column_block, row_block, tap;  // floats from row to row within a block, and from block to block
    bool accumulate;
};

// Pixels into numbers, group by group.
struct NumbersOfPixels {
    const float* from;
    Index from_stride;
    Index pixels, groups, channels;  // channels of a group
    std::uint16_t* to;
    Index to_group;  // numbers of a group, even; those beyond the channels are not touched
    bool rest;       // write not bf16(x) but bf16(x - bf16(x))
};

// A pooled gradient straight into the factors of both gradients of the convolution in front, zero but for the winners.
struct FactorsOfWinners {
    const float* dy;  // pooled
    Index dy_stride, dy_line;
    const std::uint8_t* code;  // see fused_pooling.hpp
    Index code_stride;
    Index height, width;  // pooled
    Index channels;
    Index lines;   // of a window: 1 or 2
    float* pairs;  // pixels in pairs: blocks of 16 channels
    Index pairs_block, pairs_line;  // floats from block to block, pairs from line to line
    std::uint16_t* numbers;         // `pixels`; or null
    Index pixel, numbers_line;
    float* sums;  // over all winners, one for each channel; or null
    bool round_sums, accumulate, rest;
};

struct TileKernels {
    const char* name;
    void (*correlate)(const TileCorrelation&);
    void (*weight_gradient)(const TileWeightGradient&);
    void (*numbers_of_pixels)(const NumbersOfPixels&);
    // to(c, p) = from(p, c): numbers of `columns` rows, `to_row` apart
    void (*numbers_of_rows)(const float* from, Index from_stride, Index pixels, Index columns, std::uint16_t* to, Index to_row,
                            bool rest);
    // words(p, k) = (from(2p, k), from(2p + 1, k)), rows of 16 words; a last row alone is paired with zeros
    void (*pairs_of_rows)(const float* from, Index from_stride, Index rows, float* words, Index columns, bool rest);
    void (*factors_of_winners)(const FactorsOfWinners&);
};

// Floats of scratch for `lines` lines of `width` windows, `line_pixels` windows apart.
constexpr Index strip_pixels(Index lines, Index width, Index line_pixels) { return (lines - 1) * line_pixels + width; }
constexpr Index strip_floats(Index pixels) { return (pixels + 15) / 16 * 16 * 32; }

const TileKernels* amx_tiles();
const TileKernels* emulated_tiles_baseline();
const TileKernels* emulated_tiles_avx512();

}  // namespace tatami
