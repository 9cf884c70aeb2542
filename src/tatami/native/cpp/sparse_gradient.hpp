// Gradients of a convolution that is followed by ReLU and 2×2 max pooling, from the winners alone.
//
// Of the four positions under a pooled value at most one, the winner, gets a gradient, and only where ReLU was active: about one
// in six entries of the convolution's dy differs from zero. The codes that fused_pooling.hpp left say which, so both
// gradients walk over these entries and skip the rest, instead of multiplying zeros.
//
// Weight gradient. For each filter k its entries are listed: where the window starts in the input, and g = dy. Then the
// window of the filter stays in registers, up to 3 rows × 6 (AVX-512) or 4 vectors, while the list is walked:
//     window(row, :) += g · input(offset + row, :)
// Rows of a window are contiguous, taps and channels together. Result: filters × rows × padded row, transposed afterwards.
// A multiplication needs a load, and processors that multiply whole vectors once per clock load no faster: every other load
// costs time. So an entry comes as one word, offset and g, and is taken apart in registers. The lists grow pixel by pixel, a
// vector of filters side by side: only putting an entry at its list's end is done one by one.
//
// Windows of few floats would fill vectors of the input badly: chosen_gradient.hpp.
//
// Input gradient of a 3×3 window. For each pooled value the filters that won are the bits of a mask, one mask for each of
// the four positions. The union of the four windows is 4×4 pixels: with one vector of input channels it fits into 16
// registers. Two columns of it are complete when the next pooled pixel begins, and are added to dx; the other two are that
// pixel's first ones and stay. Where there are only 16 registers, each position's 3×3 window is added by itself. What lies
// beyond dx's edges is dropped. The weights lie as (vector of input channels, filter, tap): one vector's share of 32 filters
// fits the first-level cache; their gradients lie in two vectors (AVX-512), out of which each is spread without a load.
#pragma once

#include "fused_pooling.hpp"

namespace {

using tatami::Index;
using tatami::SparseInputGradient;
using tatami::SparseWeightGradient;

constexpr int window_vectors = registers == 32 ? 6 : 4;

// An entry holds the offset of its window in the lower half and g's bits in the upper one.
TATAMI_INLINE float entry_value(std::uint64_t entry) {
    const std::uint32_t bits = static_cast<std::uint32_t>(entry >> 32);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// The vectors of a row come in pairs: two side by side, the next two `apart` floats further on.
template <int rows, int vectors>
void walk_entries(const SparseWeightGradient& job, Index k, Index first_row, Index first_float, Index apart) {
    const Index pixels = job.pooled_height * job.pooled_width;
    const std::uint64_t* const entries = job.entries + k * pixels;
    const Index count = job.counts[k];
    float* const to = job.dweight + (k * job.segment_count + first_row) * job.padded_run + first_float;
    const float* input[rows];
    for (int r = 0; r < rows; ++r) input[r] = job.input + job.segments[first_row + r].offset + first_float;
    Vector sum[rows][vectors];
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
        for (int v = 0; v < vectors; ++v)
            sum[r][v] = job.accumulate ? load(to + r * job.padded_run + v / 2 * apart + v % 2 * lanes) : zero();
    for (Index i = 0; i < count; ++i) {
        std::uint64_t entry = entries[i];
        __asm__("" : "+r"(entry));  // loaded once: compilers would load the halves one by one
        const Vector g = broadcast(entry_value(entry));
        const Index offset = static_cast<Index>(entry & 0xFFFFFFFFu);
#pragma GCC unroll 3
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
            for (int v = 0; v < vectors; ++v)
                sum[r][v] = multiply_add(g, load(input[r] + offset + v / 2 * apart + v % 2 * lanes), sum[r][v]);
    }
#pragma GCC unroll 3
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 6
        for (int v = 0; v < vectors; ++v) store(to + r * job.padded_run + v / 2 * apart + v % 2 * lanes, sum[r][v]);
}

struct Filters {
    Index first, end;
};

template <int rows>
void walk_filters(const SparseWeightGradient& job, Filters filters, Index first_row, Index at, Index vectors, Index apart) {
    for (Index k = filters.first; k < filters.end; ++k)
        switch (vectors) {
            case 1: walk_entries<rows, 1>(job, k, first_row, at, apart); break;
            case 2: walk_entries<rows, 2>(job, k, first_row, at, apart); break;
            case 3: walk_entries<rows, 3>(job, k, first_row, at, apart); break;
            case 4: walk_entries<rows, 4>(job, k, first_row, at, apart); break;
#if defined(__AVX512F__) || defined(__ARM_NEON)
            case 5: walk_entries<rows, 5>(job, k, first_row, at, apart); break;
            case 6: walk_entries<rows, 6>(job, k, first_row, at, apart); break;
#endif
            default: break;
        }
}

// One part of every row of the window.
void walk_part(const SparseWeightGradient& job, Filters filters, Index at, Index vectors, Index apart) {
    Index row = 0;
    for (; row + 3 <= job.segment_count; row += 3) walk_filters<3>(job, filters, row, at, vectors, apart);
    for (; row + 2 <= job.segment_count; row += 2) walk_filters<2>(job, filters, row, at, vectors, apart);
    for (; row < job.segment_count; ++row) walk_filters<1>(job, filters, row, at, vectors, apart);
}

// Lists the entries of one vector of filters and sums their gradients for the bias.
void list_filters(const SparseWeightGradient& job, Index first) {
    const Index pixels = job.pooled_height * job.pooled_width;
    const std::int32_t stride = static_cast<std::int32_t>(job.input_stride), line = static_cast<std::int32_t>(job.input_line);
    const Integers starts = lane_numbers() * static_cast<std::int32_t>(pixels);
    std::uint64_t* const entries = job.entries + first * pixels;
    alignas(64) std::uint64_t made[lanes];
    alignas(64) std::int32_t place[lanes];
    Integers ends = starts;
    Vector sum = job.dbias && job.accumulate ? load(job.dbias + first) : zero();
    const std::uint8_t* code = job.code + first;
    const Index code_stride = job.code_stride, dy_stride = job.dy_stride, width = job.pooled_width;
    for (Index h = 0; h < job.pooled_height; ++h) {
        const float* dy = job.dy + h * job.dy_line + first;
        std::int32_t corner = static_cast<std::int32_t>(2 * h) * line;
        for (Index w = 0; w < width; ++w, code += code_stride, dy += dy_stride, corner += 2 * stride) {
            const Vector g = load(dy);
            const Integers position = load_bytes(code);
            const Integers active = position != Integers{} + inactive;  // -1 where it is
            store_words(made, (-(position & 1) & stride) + (-(position >> 1 & 1) & line) + corner, g);
            store_integers(place, ends);
            ends -= active;
            sum += active ? g : zero();
            __asm__ volatile("" ::"r"(made), "r"(place) : "memory");  // loads are faster than taking vectors apart
#pragma GCC unroll 16
            for (int i = 0; i < lanes; ++i)  // always written, counted if active: no branch to mispredict
                entries[static_cast<std::uint32_t>(place[i])] = made[i];
        }
    }
    store_integers(job.counts + first, ends - starts);
    if (job.dbias) store(job.dbias + first, sum);
}

void list_entries(const SparseWeightGradient& job) {
    for (Index first = 0; first < job.channels; first += lanes) list_filters(job, first);
}

void sparse_weight_gradient(const SparseWeightGradient& job) {
    // A window that is one part: a vector of filters at a time, whose lists stay in the first-level cache.
    if (job.padded_run <= window_vectors * lanes) {
        for (Index first = 0; first < job.channels; first += lanes) {
            list_filters(job, first);
            const Filters filters{first, first + lanes < job.channels ? first + lanes : job.channels};
            walk_part(job, filters, 0, job.padded_run / lanes, 2 * lanes);
        }
        return;
    }
    // Else one part at a time for all filters, so that the part of the image it meets stays in the first-level
    // cache: with many input channels a slice of 2 vectors of channels at several taps, else whatever lies side by side.
    list_entries(job);
    const Filters all{0, job.channels};
    const Index slice = 2 * lanes, channels = job.input_channels;
    if (channels > slice && channels % slice == 0) {
        const Index taps = job.padded_run / channels;
        for (Index c = 0; c < channels; c += slice)
            for (Index tap = 0; tap < taps; tap += window_vectors / 2) {
                const Index left = taps - tap, count = left < window_vectors / 2 ? left : window_vectors / 2;
                walk_part(job, all, tap * channels + c, 2 * count, channels);
            }
        return;
    }
    for (Index at = 0; at < job.padded_run; at += window_vectors * lanes) {
        const Index left = (job.padded_run - at) / lanes;
        walk_part(job, all, at, left < window_vectors ? left : window_vectors, slice);
    }
}

constexpr int word_filters = 32;  // filters of one mask

// The filters from `first` on whose winner stands at each of the four positions.
TATAMI_INLINE void winners(const std::uint8_t* code, Index count, std::uint32_t found[4]) {
    const std::uint32_t wanted = count < word_filters ? (1u << count) - 1u : ~0u;
    for (int position = 0; position < 4; ++position)
        found[position] = equal_bytes(code, static_cast<std::uint8_t>(position)) & wanted;
}

// window(row, column) += g · weight for every filter in the mask, the 3×3 taps at (top, left) of a window of `columns`.
template <int top, int left, int columns, int size>
TATAMI_INLINE void add_filters(std::uint32_t mask, const Spreadable& dy, const float* weight, Vector (&window)[size]) {
    while (mask != 0) {
        const int k = __builtin_ctz(mask);
        mask &= mask - 1;
        const Vector g = dy.spread(k);
        const float* const taps = weight + static_cast<std::size_t>(k) * (9 * lanes);
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
            for (int c = 0; c < 3; ++c)
                window[(top + r) * columns + left + c] =
                    multiply_add(g, load(taps + (r * 3 + c) * lanes), window[(top + r) * columns + left + c]);
    }
}

// Bit r: row y + r lies within dx.
TATAMI_INLINE unsigned rows_inside(const SparseInputGradient& job, Index y, int rows) {
    unsigned inside = 0;
    for (int r = 0; r < rows; ++r) inside |= (y + r >= 0 && y + r < job.height ? 1u : 0u) << r;
    return inside;
}

// Adds the first `some` columns of a window at (y, x) to dx, as far as they lie within it.
template <int some, int columns, int size>
TATAMI_INLINE void add_columns(const SparseInputGradient& job, Index vector, Index y, Index x, unsigned inside,
                               const Vector (&window)[size]) {
#pragma GCC unroll 3
    for (int c = 0; c < some; ++c) {
        if (x + c < 0 || x + c >= job.width) continue;
        const Index at = y * job.line + (x + c) * job.pixel + vector * lanes;
#pragma GCC unroll 4
        for (int r = 0; r < size / columns; ++r) {
            if ((inside >> r & 1u) == 0) continue;
            float* const to = job.dx + at + r * job.line;
            store(to, load(to) + window[r * columns + c]);
        }
    }
}

// The last two columns of a window of 4×4 are the first two of the next one.
TATAMI_INLINE void next_columns(Vector (&window)[16]) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
        window[r * 4] = window[r * 4 + 2];
        window[r * 4 + 1] = window[r * 4 + 3];
        window[r * 4 + 2] = window[r * 4 + 3] = zero();
    }
}

template <int top, int left>
TATAMI_INLINE void add_position(const SparseInputGradient& job, Index vector, Index y, Index x, std::uint32_t mask,
                                const Spreadable& dy, const float* weight) {
    if (mask == 0) return;
    Vector window[9] = {};
    add_filters<0, 0, 3>(mask, dy, weight, window);
    add_columns<3, 3>(job, vector, y + top, x + left, rows_inside(job, y + top, 3), window);
}

// One vector of input channels and up to 32 filters over one row of pooled pixels.
void add_row(const SparseInputGradient& job, Index vector, Index first, Index h) {
    const float* const weight = job.weight + (vector * job.channels + first) * 9 * lanes;
    const Index count = job.channels - first < word_filters ? job.channels - first : word_filters;
    const Index y = 2 * h - job.top;
    Index x = -job.left;
    [[maybe_unused]] const unsigned inside = rows_inside(job, y, 4);
    [[maybe_unused]] Vector window[16] = {};
    for (Index w = 0; w < job.pooled_width; ++w, x += 2) {
        const Spreadable dy(job.dy + h * job.dy_line + w * job.dy_stride + first);
        std::uint32_t found[4];
        winners(job.code + (h * job.pooled_width + w) * job.code_stride + first, count, found);
        if constexpr (registers == 32) {
            add_filters<0, 0, 4>(found[0], dy, weight, window);
            add_filters<0, 1, 4>(found[1], dy, weight, window);
            add_filters<1, 0, 4>(found[2], dy, weight, window);
            add_filters<1, 1, 4>(found[3], dy, weight, window);
            add_columns<2, 4>(job, vector, y, x, inside, window);
            next_columns(window);
        } else {
            add_position<0, 0>(job, vector, y, x, found[0], dy, weight);
            add_position<0, 1>(job, vector, y, x, found[1], dy, weight);
            add_position<1, 0>(job, vector, y, x, found[2], dy, weight);
            add_position<1, 1>(job, vector, y, x, found[3], dy, weight);
        }
    }
    if constexpr (registers == 32) add_columns<2, 4>(job, vector, y, x, inside, window);
}

void sparse_input_gradient(const SparseInputGradient& job) {
    for (Index vector = 0; vector < job.input_vectors; ++vector)
        for (Index first = 0; first < job.channels; first += word_filters)
            for (Index h = 0; h < job.pooled_height; ++h) add_row(job, vector, first, h);
}

}  // namespace
