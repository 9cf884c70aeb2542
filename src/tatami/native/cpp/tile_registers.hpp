// The processor's eight tile registers (AMX), behind six operations with two implementations.
//
// A tile register is a matrix of up to 16 rows of up to 64 bytes. One instruction multiplies two of them: with A of
// rows × (pairs of bf16) and B of (pairs) × 16 columns,
//
//     C(m, n) += sum over k of A(m, k).low · B(k, n).low + A(m, k).high · B(k, n).high
//
// which are up to 16 · 16 · 32 multiply-adds. How many rows and columns a register has is set for all of them by
// `configure_tiles`, before any other operation; `release_tiles` gives the registers back, so that the operating system need
// not carry 8 KB from one thread's time slice to the next and nobody else on this thread meets our configuration.
//
// Register 0 … 3 hold sums, 4 and 5 the left factors, 6 and 7 the right ones: the same in both implementations.
//
//   the processor   inline assembly. The statements are volatile and claim to touch memory: the compiler knows nothing about
//                   these registers, so it must neither reorder nor drop them. (gcc 12's own intrinsics declare no effect
//                   on memory, and what a store left behind may never be read.)
//   emulation       TATAMI_TILES_EMULATED: the same steps on arrays, rounded where the processor's definition rounds (see
//                   `multiply_tiles`), for tests on machines without tiles and for the check at load. It also watches the
//                   rules whose violation would end a process on the real thing: use without configuration, shapes that do
//                   not fit, work that ends without releasing.
#pragma once

#include "kernel_table.hpp"
#include "pairs.hpp"
#include "tile_support.hpp"

namespace {

struct alignas(64) TileConfiguration {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfiguration) == 64);

constexpr int left_tile = 4, right_tile = 6;

// Sums of rows × 16 floats, left factors of rows × words, right factors of words × 16.
TATAMI_INLINE TileConfiguration tile_shapes(Index rows, Index words) {
    TileConfiguration shapes;
    for (int tile = 0; tile < 8; ++tile) {
        const bool left = tile == left_tile || tile == left_tile + 1, right = tile >= right_tile;
        shapes.row_bytes[tile] = static_cast<std::uint16_t>(left ? 4 * words : 64);
        shapes.rows[tile] = static_cast<std::uint8_t>(right ? words : rows);
    }
    return shapes;
}

#if !defined(TATAMI_TILES_EMULATED)

TATAMI_INLINE void configure_tiles(const TileConfiguration& shapes) {
    asm volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
}

TATAMI_INLINE void release_tiles() { asm volatile("tilerelease" : : : "memory"); }

template <int tile>
TATAMI_INLINE void clear_tile() {
    asm volatile("tilezero %%tmm%c0" : : "i"(tile) : "memory");
}

// Rows lie `stride` bytes apart.
template <int tile>
TATAMI_INLINE void load_tile(const void* from, Index stride) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(tile), "r"(from), "r"(stride) : "memory");
}

template <int tile>
TATAMI_INLINE void store_tile(void* to, Index stride) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(tile), "r"(to), "r"(stride) : "memory");
}

template <int sum, int left, int right>
TATAMI_INLINE void multiply_tiles() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(left), "i"(right) : "memory");
}

#else

constexpr int tile_row = 16;  // words

struct EmulatedTiles {
    TileConfiguration shapes;
    bool configured = false;
    alignas(64) std::uint32_t words[8][16][tile_row];
};

EmulatedTiles& emulated_tiles() {
    static thread_local EmulatedTiles tiles;
    return tiles;
}

// Violations are counted, not thrown: threads of the pool have nobody to catch them, and the tests ask afterwards.
TATAMI_INLINE bool usable(const EmulatedTiles& tiles, int tile) {
    const bool fine = tiles.configured && tiles.shapes.rows[tile] > 0 && tiles.shapes.row_bytes[tile] > 0;
    if (!fine) tatami::report_tile_misuse("a tile is used that is not configured");
    return fine;
}

void configure_tiles(const TileConfiguration& shapes) {
    EmulatedTiles& tiles = emulated_tiles();
    if (tiles.configured) tatami::report_tile_misuse("tiles are configured that were not released");
    for (int tile = 0; tile < 8; ++tile) {
        if (shapes.rows[tile] < 1 || shapes.rows[tile] > 16)
            tatami::report_tile_misuse("a tile has from 1 to 16 rows");
        if (shapes.row_bytes[tile] < 4 || shapes.row_bytes[tile] > 64 || shapes.row_bytes[tile] % 4 != 0)
            tatami::report_tile_misuse("a tile's row has from 1 to 16 words");
    }
    tiles.shapes = shapes;
    tiles.configured = true;
    std::memset(tiles.words, 0, sizeof tiles.words);
}

void release_tiles() {
    EmulatedTiles& tiles = emulated_tiles();
    if (!tiles.configured) tatami::report_tile_misuse("tiles are released that were not configured");
    tiles.configured = false;
}

template <int tile>
void clear_tile() {
    EmulatedTiles& tiles = emulated_tiles();
    if (usable(tiles, tile)) std::memset(tiles.words[tile], 0, sizeof tiles.words[tile]);
}

template <int tile>
void load_tile(const void* from, Index stride) {
    EmulatedTiles& tiles = emulated_tiles();
    if (!usable(tiles, tile)) return;
    std::memset(tiles.words[tile], 0, sizeof tiles.words[tile]);
    for (int row = 0; row < tiles.shapes.rows[tile]; ++row)
        std::memcpy(tiles.words[tile][row], static_cast<const char*>(from) + row * stride, tiles.shapes.row_bytes[tile]);
}

template <int tile>
void store_tile(void* to, Index stride) {
    EmulatedTiles& tiles = emulated_tiles();
    if (!usable(tiles, tile)) return;
    for (int row = 0; row < tiles.shapes.rows[tile]; ++row)
        std::memcpy(static_cast<char*>(to) + row * stride, tiles.words[tile][row], tiles.shapes.row_bytes[tile]);
}

// Numbers below the smallest normal one count as zero, keeping their sign.
TATAMI_INLINE PairVector flush(PairVector bits) {
    return (bits & 0x7F800000u) == 0 ? bits & 0x80000000u : bits;
}

// x · y + sum for factors of 8 significant bits, rounded once.
TATAMI_INLINE Vector fused(Vector x, Vector y, Vector sum) {
#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_NEON)
    return multiply_add(x, y, sum);
#else
    // The product has at most 16 significant bits: a float holds it exactly, unless it is very large or very small.
    const Vector product = x * y;
    const PairVector exponent = words_of(product) & 0x7F800000u;
    const Integers plain = ((exponent > 0x00800000u) & (exponent < 0x7F000000u)) | (x == zero()) | (y == zero());
    Vector result = product + sum;
    if (bits_of(plain) != (1u << lanes) - 1u)
        for (int lane = 0; lane < lanes; ++lane) result[lane] = __builtin_fmaf(x[lane], y[lane], sum[lane]);
    return result;
#endif
}

// The definition of TDPBF16PS in Intel's manual: for each row and column the low products are summed in the order of k, starting
// from zero, with one rounding each; so are the high ones; the two sums are added, and the result is added to C. All
// roundings to the nearest, ties to even; denormal operands and results are zero; no exceptions.
template <int sum, int left, int right>
void multiply_tiles() {
    EmulatedTiles& tiles = emulated_tiles();
    if (!usable(tiles, sum) || !usable(tiles, left) || !usable(tiles, right)) return;
    const TileConfiguration& shapes = tiles.shapes;
    if (shapes.rows[sum] != shapes.rows[left] || shapes.row_bytes[sum] != shapes.row_bytes[right] ||
        shapes.row_bytes[left] != 4 * shapes.rows[right])
        tatami::report_tile_misuse("the shapes of a tile product do not fit");
    for (int m = 0; m < shapes.rows[sum]; ++m)
        for (int n = 0; n < tile_row; n += lanes) {
            Vector low = zero(), high = zero();
            for (int k = 0; k < shapes.rows[right]; ++k) {
                const PairVector x = PairVector{} + tiles.words[left][m][k], y = load_words(&tiles.words[right][k][n]);
                low = floats_of(flush(words_of(fused(floats_of(flush(x << 16)), floats_of(flush(y << 16)), low))));
                high = floats_of(flush(
                    words_of(fused(floats_of(flush(x & upper_half)), floats_of(flush(y & upper_half)), high))));
            }
            const Vector both = floats_of(flush(words_of(low + high)));
            const Vector before = floats_of(flush(load_words(&tiles.words[sum][m][n])));
            store_words(&tiles.words[sum][m][n], flush(words_of(before + both)));
        }
}

#endif

}  // namespace
