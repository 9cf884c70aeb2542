// Winograd's minimal filtering F(4×4, 3×3): a 3×3 convolution with stride 1 in 36 multiplications per 4×4 outputs, not 144.
//
//   Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//
// for a 6×6 patch d of the input, the 3×3 taps g, and the 4×4 outputs Y. Taps and outputs are polynomials that are evaluated
// at the points 0, ±p, ±q and ∞, multiplied there, and put together again. With s = p² + q², t = p²q²:
//
//        ⎡ t   0   -s    0   1  0 ⎤           ⎡ 1/t              ⎤ ⎡ 1  0  0  ⎤
//        ⎢ 0 -pq²  -q²   p   1  0 ⎥           ⎢   m              ⎥ ⎢ 1  p  p² ⎥           ⎡ 1  1   1   1   1   0 ⎤
//   Bᵀ = ⎢ 0  pq²  -q²  -p   1  0 ⎥  G = diag ⎢     m            ⎥·⎢ 1 -p  p² ⎥      Aᵀ = ⎢ 0  p  -p   q  -q   0 ⎥
//        ⎢ 0 -qp²  -p²   q   1  0 ⎥           ⎢       n          ⎥ ⎢ 1  q  q² ⎥           ⎢ 0  p²  p²  q²  q²  0 ⎥
//        ⎢ 0  qp²  -p²  -q   1  0 ⎥           ⎢         n        ⎥ ⎢ 1 -q  q² ⎥           ⎣ 0  p³ -p³  q³ -q³  1 ⎦
//        ⎣ 0   t    0   -s   0  1 ⎦           ⎣           1      ⎦ ⎣ 0  0  1  ⎦
//
//   m = 1 / (2p² (p² - q²)),  n = 1 / (2q² (q² - p²))
//
// Usual are p = 1, q = 2. Here p = 5/8 and q = 3/2: of the simple fractions they grow rounding least, about two and a half
// times less than 1 and 2, to twice what the plain sum has (measured on products of normal numbers, tests/native). But for G
// all numbers are exact in binary.
//
// Where one or two rows (or columns) are left over, a half tile needs the points 0, ±p and ∞ alone, F(2, 3):
//
//   y0 = m(0) + m(p) + m(-p)       m(0): t d0 - q² d2                m(±p): (p² - q²) (d2 ± p d1)
//   y1 = p m(p) - p m(-p) + m(∞)   m(∞): d3 - p² d1
//
// with the same transformed weights; its other positions are left out of the products. A 14×14 map takes 484 products
// this way instead of 576, with F(2×2, 3×3) 784, by definition 1764.
//
// Summed over input channels the ⊙ becomes 36 matrix products, tiles × channels times channels × filters, which run on the
// tile of correlate.hpp. Steps for a block of tiles, as many as fit the second-level cache:
//   1. transform the input patches            -> (position, tile, channel)
//   2. for each panel of filters, 36 products -> (position, tile, filter)
//   3. transform back, add the bias, ReLU, and store 4×4 pixels, or the maxima of four pooling windows.
// Positions are an odd number of cache lines apart: a transform reads or writes 36 at once, which must not share a set.
// Whole tiles come first, then those of half width, of half height, and of both, so that every position multiplies
// consecutive tiles. A patch that reaches beyond the last row or column touches only outputs that are not stored (the point ∞
// alone sees it). A sum runs over the channels in order: results do not depend on blocks or on how rows are shared out.
//
// Used for predictions and for gradients; the forward pass of training takes winograd_exact.hpp, which says why.
// Sources: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; on points: Barabasz, Anderson,
// Soodhalter and Gregg, "Error analysis and improving the accuracy of Winograd convolution for deep neural networks", 2020.
#pragma once

#include "correlate.hpp"
#include "fused_pooling.hpp"

namespace {

using tatami::Index;
using tatami::Winograd;
using tatami::winograd_step;

// The points, in the order of the rows above: 0, p, -p, q, -q, ∞. All are exact in binary.
constexpr float point_p = 0.625f, point_q = 1.5f;
constexpr float p_squared = point_p * point_p, q_squared = point_q * point_q;
constexpr float p_cubed = p_squared * point_p, q_cubed = q_squared * point_q;
constexpr float points_sum = p_squared + q_squared, points_product = p_squared * q_squared;
constexpr int points = 6;

// A half tile skips ±q.
TATAMI_INLINE constexpr bool skipped(bool whole, int point) { return !whole && (point == 3 || point == 4); }
TATAMI_INLINE constexpr int patch_size(bool whole) { return whole ? 6 : 4; }
TATAMI_INLINE constexpr int tile_size(bool whole) { return whole ? 4 : 2; }

// A line of the patch through Bᵀ.
template <bool whole>
TATAMI_INLINE void transform_patch_line(const Vector (&d)[patch_size(whole)], Vector (&to)[points]) {
    if constexpr (whole) {
        const Vector p = broadcast(point_p), q = broadcast(point_q), s = broadcast(-points_sum), t = broadcast(points_product);
        const Vector p2 = broadcast(-p_squared), q2 = broadcast(-q_squared);
        const Vector even_p = multiply_add(q2, d[2], d[4]), odd_p = multiply_add(q2, d[1], d[3]);
        const Vector even_q = multiply_add(p2, d[2], d[4]), odd_q = multiply_add(p2, d[1], d[3]);
        to[0] = multiply_add(t, d[0], multiply_add(s, d[2], d[4]));
        to[1] = multiply_add(p, odd_p, even_p);
        to[2] = multiply_add(-p, odd_p, even_p);
        to[3] = multiply_add(q, odd_q, even_q);
        to[4] = multiply_add(-q, odd_q, even_q);
        to[5] = multiply_add(t, d[1], multiply_add(s, d[3], d[5]));
    } else {
        const Vector difference = broadcast(p_squared - q_squared);
        const Vector even = difference * d[2], odd = broadcast((p_squared - q_squared) * point_p) * d[1];
        to[0] = multiply_add(broadcast(-q_squared), d[2], broadcast(points_product) * d[0]);
        to[1] = even + odd;
        to[2] = even - odd;
        to[5] = multiply_add(broadcast(-p_squared), d[1], d[3]);
    }
}

// One vector of channels of a patch. `to` is where position 0 lies; `skip` of those that a tile of half height has before it,
// where positions of ±q along a row are concerned.
template <bool whole_height, bool whole_width>
void transform_patch(const float* input, Index line, Index pixel, float* to, Index step, Index skip) {
    constexpr int height = patch_size(whole_height), width = patch_size(whole_width);
    Vector rows[points][width];
#pragma GCC unroll 6
    for (int column = 0; column < width; ++column) {
        Vector d[height], done[points];
#pragma GCC unroll 6
        for (int row = 0; row < height; ++row) d[row] = load(input + row * line + column * pixel);
        transform_patch_line<whole_height>(d, done);
#pragma GCC unroll 6
        for (int point = 0; point < points; ++point)
            if (!skipped(whole_height, point)) rows[point][column] = done[point];
    }
#pragma GCC unroll 6
    for (int row = 0; row < points; ++row) {
        if (skipped(whole_height, row)) continue;
        Vector done[points];
        transform_patch_line<whole_width>(rows[row], done);
#pragma GCC unroll 6
        for (int column = 0; column < points; ++column) {
            if (skipped(whole_width, column)) continue;
            float* const at = to + (row * points + column) * step;
            store(skipped(false, column) && !whole_height ? at - skip : at, done[column]);
        }
    }
}

// A line of products through Aᵀ.
template <bool whole>
TATAMI_INLINE void transform_product_line(const Vector (&m)[points], Vector (&y)[tile_size(whole)]) {
    const Vector even_p = m[1] + m[2], odd_p = m[1] - m[2];
    if constexpr (whole) {
        const Vector even_q = m[3] + m[4], odd_q = m[3] - m[4];
        y[0] = m[0] + even_p + even_q;
        y[1] = multiply_add(broadcast(point_q), odd_q, broadcast(point_p) * odd_p);
        y[2] = multiply_add(broadcast(q_squared), even_q, broadcast(p_squared) * even_p);
        y[3] = multiply_add(broadcast(q_cubed), odd_q, multiply_add(broadcast(p_cubed), odd_p, m[5]));
    } else {
        y[0] = m[0] + even_p;
        y[1] = multiply_add(broadcast(point_p), odd_p, m[5]);
    }
}

// Where a tile's outputs go.
struct TilePlace {
    Index row, column;  // of its first output
    Index filter;
};

// Two rows of outputs become a row of maxima.
template <int width>
TATAMI_INLINE void store_maxima(const Winograd& job, const TilePlace& place, int row, const Vector (&upper)[width],
                                const Vector (&lower)[width]) {
    const Index y = (place.row + row) / 2, x = place.column / 2;
    if (y >= job.height / 2) return;
#pragma GCC unroll 2
    for (int w = 0; w < width / 2; ++w) {
        if (x + w >= job.width / 2) return;
        float* const to = job.output + y * job.output_line + (x + w) * job.output_pixel + place.filter;
        if (job.code == nullptr) {
            store(to, larger(larger(larger(upper[2 * w], upper[2 * w + 1]), lower[2 * w]), lower[2 * w + 1]));
            continue;
        }
        Integers code;
        store(to, maximum_of_four(upper[2 * w], upper[2 * w + 1], lower[2 * w], lower[2 * w + 1], code));
        store_bytes(job.code + y * job.code_line + (x + w) * job.code_stride + place.filter, code);
    }
}

template <int width>
TATAMI_INLINE void store_row(const Winograd& job, const TilePlace& place, int row, const Vector (&y)[width]) {
    if (place.row + row >= job.height) return;
    float* const line = job.output + (place.row + row) * job.output_line + place.column * job.output_pixel + place.filter;
#pragma GCC unroll 4
    for (int w = 0; w < width; ++w) {
        if (place.column + w >= job.width) return;
        float* const to = line + w * job.output_pixel;
        store(to, job.accumulate ? load(to) + y[w] : y[w]);
    }
}

// The outputs of one tile for one vector of filters.
template <bool whole_height, bool whole_width>
void transform_back(const Winograd& job, const TilePlace& place, const float* product, Index step, Index skip) {
    constexpr int height = tile_size(whole_height), width = tile_size(whole_width);
    Vector columns[height][points];
#pragma GCC unroll 6
    for (int column = 0; column < points; ++column) {
        if (skipped(whole_width, column)) continue;
        Vector m[points], done[height];
#pragma GCC unroll 6
        for (int row = 0; row < points; ++row) {
            if (skipped(whole_height, row)) continue;
            const float* const at = product + (row * points + column) * step;
            m[row] = load(skipped(false, column) && !whole_height ? at - skip : at);
        }
        transform_product_line<whole_height>(m, done);
#pragma GCC unroll 4
        for (int row = 0; row < height; ++row) columns[row][column] = done[row];
    }
    const Vector bias = job.bias ? load(job.bias + place.filter) : zero();
#pragma GCC unroll 2
    for (int row = 0; row < height; row += 2) {
        Vector y[2][width];
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
            transform_product_line<whole_width>(columns[row + i], y[i]);
#pragma GCC unroll 4
            for (int w = 0; w < width; ++w) {
                y[i][w] += bias;
                if (job.relu) y[i][w] = relu(y[i][w]);
            }
        }
        if (job.pool) {
            store_maxima(job, place, row, y[0], y[1]);
        } else {
            store_row(job, place, row, y[0]);
            store_row(job, place, row + 1, y[1]);
        }
    }
}

// How an axis is cut: tiles of 4 outputs (the last one may be of 3), and a half one for one or two that are left over. Small
// maps consist of half tiles: reading 36 positions' weights for so few products takes longer than reading 16.
struct TiledAxis {
    Index whole, half;

    // With pooling a half tile of one output would have nothing to store.
    TiledAxis(Index size, bool small, bool pool)
        : whole(small ? 0 : (size + 1) / 4), half(((size - 4 * whole > 0 ? size - 4 * whole : 0) + (pool ? 0 : 1)) / 2) {}
};

// The tiles of an image in order: whole ones, half wide ones, half high ones, and those that are both.
struct Tiles {
    TiledAxis rows, columns;
    Index ends[4];  // where each of the four kinds ends

    explicit Tiles(const Winograd& job)
        : rows(job.height, job.small_height, job.pool), columns(job.width, job.small_width, job.pool) {
        ends[0] = rows.whole * columns.whole;
        ends[1] = ends[0] + rows.whole * columns.half;
        ends[2] = ends[1] + rows.half * columns.whole;
        ends[3] = ends[2] + rows.half * columns.half;
    }
    // Tiles of one kind among [first, end).
    Index within(int kind, Index first, Index end) const {
        const Index from = kind == 0 ? 0 : ends[kind - 1];
        const Index low = first > from ? first : from, high = end < ends[kind] ? end : ends[kind];
        return high > low ? high - low : 0;
    }
    // The first output of a tile of a kind.
    TilePlace place(int kind, Index tile) const {
        const bool half_high = kind >= 2, half_wide = kind % 2 == 1;
        const Index number = kind == 0 ? tile : tile - ends[kind - 1], line = half_wide ? columns.half : columns.whole;
        const Index row = number / line, column = number % line;
        return {half_high ? 4 * rows.whole + 2 * row : 4 * row, half_wide ? 4 * columns.whole + 2 * column : 4 * column, 0};
    }
};

// Consecutive tiles that are worked on together.
struct TileBlock {
    const Tiles& all;
    Index first, count;
    Index of_kind[4];

    TileBlock(const Tiles& tiles, Index from, Index size) : all(tiles), first(from), count(size) {
        for (int kind = 0; kind < 4; ++kind) of_kind[kind] = all.within(kind, first, first + count);
    }
    // Tiles that have a position, and where the first of them stands.
    Index tiles_at(int row, int column) const {
        const bool q_row = skipped(false, row), q_column = skipped(false, column);
        return of_kind[0] + (q_column ? 0 : of_kind[1]) + (q_row ? 0 : of_kind[2]) + (q_row || q_column ? 0 : of_kind[3]);
    }
    template <typename Visit>
    void for_each(Visit visit) const {
        Index index = 0;
        for (int kind = 0; kind < 4; ++kind)
            for (Index i = 0; i < of_kind[kind]; ++i, ++index) visit(kind, index, all.place(kind, first + index));
    }
};

void transform_patches(const Winograd& job, const TileBlock& block, float* patches, Index step) {
    // Tiles of half height follow those of half width, which have no position of ±q along a row.
    const Index skip = block.of_kind[1] * job.pixel;
    block.for_each([&](int kind, Index index, const TilePlace& place) {
        const float* const from = job.input + place.row * job.line + place.column * job.pixel;
        float* const to = patches + index * job.pixel;
        for (Index c = 0; c < job.pixel; c += lanes) switch (kind) {
                case 0: transform_patch<true, true>(from + c, job.line, job.pixel, to + c, step, skip); break;
                case 1: transform_patch<true, false>(from + c, job.line, job.pixel, to + c, step, skip); break;
                case 2: transform_patch<false, true>(from + c, job.line, job.pixel, to + c, step, skip); break;
                default: transform_patch<false, false>(from + c, job.line, job.pixel, to + c, step, skip); break;
            }
    });
}

void multiply_positions(const Winograd& job, const TileBlock& block, const float* patches, Index patch_step,
                        const float* weight, int vectors, float* products, Index product_step) {
    const Segment channels{0, job.input_channels};
    CorrelateRow product{};
    product.input_stride = job.pixel;
    product.segments = &channels;
    product.segment_count = 1;
    product.output_stride = vectors * lanes;
    product.vectors = vectors;
    product.columns = vectors * lanes;
    for (int position = 0; position < points * points; ++position) {
        product.pixels = block.tiles_at(position / points, position % points);
        if (product.pixels == 0) continue;
        product.input = patches + position * patch_step;
        product.weight = weight + position * winograd_step(job.input_channels * vectors * lanes);
        product.output = products + position * product_step;
        correlate<Floats>(product);
    }
}

void transform_products(const Winograd& job, const TileBlock& block, Index filter, int vectors, const float* products,
                        Index step) {
    const Index skip = block.of_kind[1] * vectors * lanes;
    block.for_each([&](int kind, Index index, TilePlace place) {
        for (int v = 0; v < vectors; ++v) {
            const float* const from = products + (index * vectors + v) * lanes;
            place.filter = filter + v * lanes;
            switch (kind) {
                case 0: transform_back<true, true>(job, place, from, step, skip); break;
                case 1: transform_back<true, false>(job, place, from, step, skip); break;
                case 2: transform_back<false, true>(job, place, from, step, skip); break;
                default: transform_back<false, false>(job, place, from, step, skip); break;
            }
        }
    });
}

void winograd(const Winograd& job) {
    const Tiles tiles(job);
    const Index all = tiles.ends[3], blocks = (all + job.tiles - 1) / job.tiles;
    for (Index b = 0, first = 0; b < blocks; ++b) {
        const TileBlock block(tiles, first, (all - first + blocks - b - 1) / (blocks - b));
        const Index patch_step = winograd_step(block.count * job.pixel);
        float* const patches = job.scratch;
        float* const products = patches + points * points * patch_step;
        transform_patches(job, block, patches, patch_step);
        for (Index panel = 0; panel < job.panels; ++panel) {
            const int vectors = panel + 1 < job.panels ? 2 : job.last_vectors;
            const float* const weight = job.weight + panel * points * points * winograd_step(job.input_channels * 2 * lanes);
            const Index product_step = winograd_step(block.count * vectors * lanes);
            multiply_positions(job, block, patches, patch_step, weight, vectors, products, product_step);
            transform_products(job, block, panel * 2 * lanes, vectors, products, product_step);
        }
        first += block.count;
    }
}

// What G's rows are multiplied by: 1/t, m and n.
constexpr double p2 = p_squared, q2 = q_squared;
constexpr float weight_of_zero = static_cast<float>(1 / (p2 * q2));
constexpr float weight_of_p = static_cast<float>(1 / (2 * p2 * (p2 - q2)));
constexpr float weight_of_q = static_cast<float>(1 / (2 * q2 * (q2 - p2)));

// Three taps through G.
TATAMI_INLINE void transform_taps(Vector a, Vector b, Vector c, Vector (&to)[points]) {
    const Vector even_p = multiply_add(broadcast(weight_of_p * p_squared), c, broadcast(weight_of_p) * a);
    const Vector even_q = multiply_add(broadcast(weight_of_q * q_squared), c, broadcast(weight_of_q) * a);
    const Vector odd_p = broadcast(weight_of_p * point_p) * b;
    const Vector odd_q = broadcast(weight_of_q * point_q) * b;
    to[0] = broadcast(weight_of_zero) * a;
    to[1] = even_p + odd_p;
    to[2] = even_p - odd_p;
    to[3] = even_q + odd_q;
    to[4] = even_q - odd_q;
    to[5] = c;
}

void winograd_weight(const float* weight, float* transformed, Index input_channels, int vectors, bool reversed) {
    const Index width = vectors * lanes, step = winograd_step(input_channels * width);
    for (Index c = 0; c < input_channels; ++c)
        for (Index lane = 0; lane < width; lane += lanes) {
            Vector rows[3][points];
#pragma GCC unroll 3
            for (int row = 0; row < 3; ++row) {
                Vector g[3];
#pragma GCC unroll 3
                for (int column = 0; column < 3; ++column) {
                    const int tap = row * 3 + column;
                    g[column] = load(weight + ((reversed ? 8 - tap : tap) * input_channels + c) * width + lane);
                }
                transform_taps(g[0], g[1], g[2], rows[row]);
            }
#pragma GCC unroll 6
            for (int column = 0; column < points; ++column) {
                Vector done[points];
                transform_taps(rows[0][column], rows[1][column], rows[2][column], done);
#pragma GCC unroll 6
                for (int row = 0; row < points; ++row)
                    store(transformed + (row * points + column) * step + c * width + lane, done[row]);
            }
        }
}

}  // namespace
