// How sums of products are cut into tile products: what convolutions and dense layers on tiles share.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "plan.hpp"
#include "tile_table.hpp"

namespace tatami {

constexpr Index tile_side = 16;    // rows, and columns of sums
constexpr Index tile_numbers = 32;  // of a row of factors
constexpr Index tile_square = tile_side * tile_side;

inline Index round_to(Index value, Index unit) { return (value + unit - 1) / unit * unit; }
inline Index blocks_of(Index value) { return (value + tile_side - 1) / tile_side; }

// Rows this long do not all fall into the same few sets of the first-level cache.
inline Index row_numbers(Index numbers) {
    const Index row = round_to(numbers, tile_numbers);
    return row / tile_numbers % 2 == 0 ? row + tile_numbers : row;
}

// Words of one product: the most that a tile's row takes, up to 16, of those that divide the run.
inline Index product_words(Index run) {
    Index words = std::min<Index>(tile_side, run);
    while (run % words != 0) --words;
    return words;
}

// Words for so many channels, such that `taps` pixels side by side are cut into few products.
inline Index channel_words(Index channels, Index taps) {
    const Index least = (channels + 1) / 2;
    Index best = least, fewest = 0;
    for (Index words = least; words < least + tile_side; ++words) {
        const Index products = taps * words / product_words(taps * words);
        if (fewest == 0 || products < fewest) {
            best = words;
            fewest = products;
        }
    }
    return best;
}

// With precision bf16x3 a product of floats is three products of bf16: the rest of one factor with the upper part of the
// other, both ways, and the upper parts; the smallest are added first. These say which factor is a rest.
inline bool left_is_rest(Index factor, Index factors) { return factors == 3 && factor == 0; }
inline bool right_is_rest(Index factor, Index factors) { return factors == 3 && factor == 1; }

// The window of a correlation as tile products see it.
struct TileWindow {
    std::vector<Index> taps;     // tap numbers, in the order of the packed weights
    std::vector<Index> offsets;  // of the segments, for all factors
    Index steps = 0, words = 1;
    Index depth = 0;   // words of all taps, for one factor
    Index weight = 0;  // place of the packed weights in the arena
};

// Taps with their offsets in numbers; `joined`: taps whose offsets differ by a pixel are read as one run.
inline TileWindow tile_window(std::vector<std::pair<Index, Index>> taps, Index words, bool joined, Index factors, Index rest) {
    TileWindow window;
    std::sort(taps.begin(), taps.end());
    Index run = 1;
    if (joined)
        while (run < static_cast<Index>(taps.size()) &&
               taps[static_cast<std::size_t>(run)].first - taps[static_cast<std::size_t>(run - 1)].first == 2 * words)
            ++run;
    // Lines of a window have equally many taps: what joins on the first line joins on all of them.
    for (Index factor = 0; factor < factors; ++factor)
        for (std::size_t t = 0; t < taps.size(); t += static_cast<std::size_t>(run))
            window.offsets.push_back(taps[t].first + (left_is_rest(factor, factors) ? rest : 0));
    for (const auto& [offset, tap] : taps) window.taps.push_back(tap);
    window.words = product_words(run * words);
    window.steps = run * words / window.words;
    window.depth = static_cast<Index>(taps.size()) * words;
    return window;
}

// Lines of a correlation's output to compute at a time, such that few rows of tiles are wasted.
inline Index lines_at_once(Index height, Index width, Index line_pixels, Index unit) {
    constexpr Index most_pixels = 128;
    const auto cost = [&](Index lines) {
        const Index tiles = blocks_of(strip_pixels(lines, width, line_pixels));
        return 4 * (tiles / 2) + 3 * (tiles % 2);  // two at a time share what they load
    };
    Index best = std::min(unit, height), least = 0;
    for (Index lines = best; lines <= height; lines += unit) {
        if (lines > unit && strip_pixels(lines, width, line_pixels) > most_pixels) break;
        const Index total = height / lines * cost(lines) + (height % lines > 0 ? cost(height % lines) : 0);
        if (least == 0 || total < least) {
            best = lines;
            least = total;
        }
    }
    return best;
}

// Memory of its own for every thread.
struct ThreadMemory {
    Index base = 0, floats = 0;
    void reserve(Plan& plan, Index wanted) {
        floats = round_to(wanted, tile_side);
        base = plan.reserve(multiply_sizes({floats, plan.threads()}));
    }
    float* of(const Plan& plan, int thread) const { return plan.arena() + base + thread * floats; }
    std::uint16_t* numbers(const Plan& plan, int thread) const { return reinterpret_cast<std::uint16_t*>(of(plan, thread)); }
};

}  // namespace tatami
