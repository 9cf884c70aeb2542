// Numbers of 16 bits (bf16: the upper half of a float), two of them in a 32-bit word, and products of such pairs.
//
// With precision bf16 the operands of convolutions and dense layers are rounded to bf16, to the nearest and ties to even; sums
// stay floats. The processor's dot product takes two neighbouring terms of a sum at once,
//
//     sum(lane) += x.low · w(lane).low + x.high · w(lane).high
//
// so the kernels of correlate.hpp and weight_gradient.hpp run on words as they run on floats, with half as many rows: one
// source for both, `Floats` and `Pairs` below say how a row is loaded and multiplied. What pairs up:
//
//   forward          neighbouring channels: a pixel of the input against two rows of the weight matrix
//   input gradient   neighbouring filters of dy, against two rows of the transposed weights
//   weight gradient  neighbouring output pixels (dense: images): every word of the input holds a float and the one a step
//                    to the right, every word of dy two pixels
//
// Where there is no such instruction (anything but AVX512_BF16) both halves are widened, which is a shift, and multiplied as
// floats: the rounding of the operands is the same, the sum differs in its last bits. Convolutions then multiply rounded
// floats from the start. Convolutions with few channels are computed in floats everywhere: that takes no longer.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;

typedef std::uint32_t PairVector __attribute__((vector_size(lanes * 4)));
typedef std::uint16_t Halves __attribute__((vector_size(lanes * 2)));        // one for each lane
typedef std::uint16_t DoubleHalves __attribute__((vector_size(lanes * 4)));  // a vector full
constexpr std::uint32_t upper_half = 0xFFFF0000u;

TATAMI_INLINE PairVector words_of(Vector x) {
    PairVector words;
    std::memcpy(&words, &x, sizeof words);
    return words;
}

TATAMI_INLINE Vector floats_of(PairVector words) {
    Vector x;
    std::memcpy(&x, &words, sizeof x);
    return x;
}

TATAMI_INLINE PairVector load_words(const void* from) {
    PairVector words;
    std::memcpy(&words, from, sizeof words);
    return words;
}

TATAMI_INLINE void store_words(void* to, PairVector words) { std::memcpy(to, &words, sizeof words); }

// The bf16 nearest to x in the upper halves, zeros in the lower ones. NaN stays NaN, large numbers become infinity, and
// denormal numbers zero: so the processors' conversion has it, and every instruction set here gives the same bits.
TATAMI_INLINE PairVector round_to_upper(Vector x) {
#if defined(__AVX512BF16__)
    return reinterpret_cast<PairVector>(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x))), 16));
#else
    const PairVector bits = words_of(x);
    const PairVector rounded = bits + ((bits >> 16 & 1u) + 0x7FFFu);
    const PairVector number = (bits & 0x7F800000u) == 0 ? bits & 0x80000000u : rounded;
    return (x != x ? bits | 0x00400000u : number) & upper_half;
#endif
}

// The same as 16-bit numbers.
TATAMI_INLINE Halves round_to_halves(Vector x) {
#if defined(__AVX512BF16__)
    return reinterpret_cast<Halves>(_mm512_cvtneps_pbh(x));
#else
    return __builtin_convertvector(round_to_upper(x) >> 16, Halves);
#endif
}

TATAMI_INLINE PairVector make_pairs(Vector low, Vector high) { return round_to_upper(low) >> 16 | round_to_upper(high); }

#if defined(__AVX512BF16__)
constexpr bool has_dots = true;
#else
constexpr bool has_dots = false;
#endif

TATAMI_INLINE Vector dot_pairs(PairVector x, PairVector w, Vector sum) {
#if defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
#else
    sum = multiply_add(floats_of(x & upper_half), floats_of(w & upper_half), sum);
    return multiply_add(floats_of(x << 16), floats_of(w << 16), sum);
#endif
}

// How a kernel loads and multiplies: rows of floats.
struct Floats {
    using Row = Vector;
    static constexpr int spare_registers = 0;
    TATAMI_INLINE Row load_row(const float* from) { return load(from); }
    TATAMI_INLINE Row repeat(const float* from) { return broadcast(*from); }
    TATAMI_INLINE Vector add_product(Row x, Row w, Vector sum) { return multiply_add(x, w, sum); }
};

// Rows of words, each a pair. Without the instruction the widened halves need registers of their own.
struct Pairs {
    using Row = PairVector;
#if defined(__AVX512BF16__)
    static constexpr int spare_registers = 0;
#else
    static constexpr int spare_registers = 2;
#endif
    TATAMI_INLINE Row load_row(const float* from) { return load_words(from); }
    TATAMI_INLINE Row repeat(const float* from) {
        std::uint32_t word;
        std::memcpy(&word, from, sizeof word);
        return PairVector{} + word;
    }
    TATAMI_INLINE Vector add_product(Row x, Row w, Vector sum) { return dot_pairs(x, w, sum); }
};

void round_floats(float* values, Index count) {
    Index i = 0;
    for (; i + lanes <= count; i += lanes) store(values + i, floats_of(round_to_upper(load(values + i))));
    if (i < count) {
        const int left = static_cast<int>(count - i);
        store_partial(values + i, floats_of(round_to_upper(load_partial(values + i, left))), left);
    }
}

void narrow(const float* from, std::uint16_t* to, Index count) {
    Index i = 0;
    for (; i + lanes <= count; i += lanes) {
        const Halves halves = round_to_halves(load(from + i));
        std::memcpy(to + i, &halves, sizeof halves);
    }
    if (i < count) {
        const int left = static_cast<int>(count - i);
        const Halves halves = round_to_halves(load_partial(from + i, left));
        std::memcpy(to + i, &halves, static_cast<std::size_t>(left) * sizeof(std::uint16_t));
    }
}

void pack_pairs(const float* low, const float* high, float* words, Index count) {
    Index i = 0;
    for (; i + lanes <= count; i += lanes)
        store_words(words + i, make_pairs(load(low + i), high ? load(high + i) : zero()));
    if (i < count) {
        const int left = static_cast<int>(count - i);
        const Vector second = high ? load_partial(high + i, left) : zero();
        store_partial(words + i, floats_of(make_pairs(load_partial(low + i, left), second)), left);
    }
}

void pack_row_pairs(const float* from, Index from_stride, Index rows, float* words, Index words_stride, Index columns) {
    for (Index row = 0; row < rows; row += 2)
        pack_pairs(from + row * from_stride, row + 1 < rows ? from + (row + 1) * from_stride : nullptr,
                   words + row / 2 * words_stride, columns);
}

// Two vectors of bf16 become words, a's number below b's. `low` gets the first four of every eight, `high` the others:
// what processors do fastest. `interleaved_position` says where a number of the 2·lanes ends up.
TATAMI_INLINE void interleave(DoubleHalves a, DoubleHalves b, PairVector& low, PairVector& high) {
#if defined(__AVX512BW__)
    low = reinterpret_cast<PairVector>(_mm512_unpacklo_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
    high = reinterpret_cast<PairVector>(_mm512_unpackhi_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
    low = reinterpret_cast<PairVector>(_mm256_unpacklo_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
    high = reinterpret_cast<PairVector>(_mm256_unpackhi_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
    for (int i = 0; i < lanes; ++i) {
        low[i] = a[i] | static_cast<std::uint32_t>(b[i]) << 16;
        high[i] = a[lanes + i] | static_cast<std::uint32_t>(b[lanes + i]) << 16;
    }
#endif
}

constexpr Index interleaved_position(Index number) {
    const Index block = number / (2 * lanes) * (2 * lanes), within = number % (2 * lanes);
    return block + within % 8 / 4 * lanes + within / 8 * 4 + within % 4;
}

void undo_interleaving(const float* from, float* to, Index count) {
    for (Index i = 0; i < count; ++i) to[i] = from[interleaved_position(i)];
}

}  // namespace
