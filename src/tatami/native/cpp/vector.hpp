// A vector of floats whose width is fixed by the instruction set this file is compiled for.
//
// Every kernel is written once, on `Vector` and the few functions below; kernels.cpp is compiled once for each
// instruction set, and only this file knows what the processor calls the operations. Everything lives in an anonymous
// namespace: were it shared between the compilations, the linker would keep one copy, perhaps the one that the
// processor at hand cannot execute.
//
//   set        lanes  registers  fused multiply-add
//   baseline       4         16  no (x86-64) / yes (NEON, 32 registers)
//   avx2           8         16  yes
//   avx512        16         32  yes
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int lanes = 16;
constexpr int registers = 32;
#elif defined(__AVX2__)
constexpr int lanes = 8;
constexpr int registers = 16;
#elif defined(__ARM_NEON)
constexpr int lanes = 4;
constexpr int registers = 32;
#else
constexpr int lanes = 4;
constexpr int registers = 16;
#endif

typedef float Vector __attribute__((vector_size(lanes * 4)));
typedef std::int32_t Integers __attribute__((vector_size(lanes * 4)));
typedef float UnalignedVector __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
typedef std::int32_t UnalignedIntegers __attribute__((vector_size(lanes * 4), aligned(4), may_alias));

#define TATAMI_INLINE static inline __attribute__((always_inline))
#define TATAMI_MEMBER inline __attribute__((always_inline))

TATAMI_INLINE Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
TATAMI_INLINE void store(float* to, Vector value) { *reinterpret_cast<UnalignedVector*>(to) = value; }
TATAMI_INLINE Integers load_integers(const std::int32_t* from) {
    return *reinterpret_cast<const UnalignedIntegers*>(from);
}
TATAMI_INLINE void store_integers(std::int32_t* to, Integers value) {
    *reinterpret_cast<UnalignedIntegers*>(to) = value;
}
// The same vector, in a register: where several products share a vector, gcc would load it from memory for each of them.
TATAMI_INLINE Vector in_register(Vector value) {
#if defined(__AVX512F__)
    asm("" : "+v"(value));
#elif defined(__SSE2__)
    asm("" : "+x"(value));
#elif defined(__ARM_NEON)
    asm("" : "+w"(value));
#endif
    return value;
}

TATAMI_INLINE Vector broadcast(float value) { return value - Vector{}; }
TATAMI_INLINE Vector zero() { return Vector{}; }

// a·b + c, rounded once where the processor can.
TATAMI_INLINE Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__ARM_NEON)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

TATAMI_INLINE Vector square_root(Vector x) {
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(x);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(x);
#elif defined(__ARM_NEON)
    return vsqrtq_f32(x);
#else
    return _mm_sqrt_ps(x);
#endif
}

// max(0, x); NaN stays NaN, as in the reference.
TATAMI_INLINE Vector relu(Vector x) {
#if defined(__AVX512F__)
    return _mm512_max_ps(zero(), x);
#elif defined(__AVX2__)
    return _mm256_max_ps(zero(), x);
#elif defined(__ARM_NEON)
    return vmaxq_f32(zero(), x);
#else
    return _mm_max_ps(zero(), x);
#endif
}

TATAMI_INLINE Integers lane_numbers() {
    Integers numbers{};
    for (int lane = 0; lane < lanes; ++lane) numbers[lane] = lane;
    return numbers;
}

// The first `count` lanes of a vector, the others zero. 0 <= count <= lanes.
TATAMI_INLINE Vector first_lanes(Vector value, int count) {
    return lane_numbers() < (Integers{} + count) ? value : zero();
}

TATAMI_INLINE void store_partial(float* to, Vector value, int count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1u), value);
#else
    std::memcpy(to, &value, static_cast<std::size_t>(count) * sizeof(float));
#endif
}

TATAMI_INLINE Vector load_partial(const float* from, int count) {
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1u), from);
#else
    Vector value{};
    std::memcpy(&value, from, static_cast<std::size_t>(count) * sizeof(float));
    return value;
#endif
}

// One bit for each lane of a comparison's result.
TATAMI_INLINE std::uint32_t bits_of(Integers mask) {
#if defined(__AVX512DQ__)
    return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#elif defined(__AVX2__)
    return static_cast<std::uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#elif defined(__SSE2__)
    return static_cast<std::uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(mask)));
#else
    std::uint32_t bits = 0;
    for (int lane = 0; lane < lanes; ++lane) bits |= (mask[lane] != 0 ? 1u : 0u) << lane;
    return bits;
#endif
}

// Bytes to integers and back, one for each lane, and where 32 bytes equal a number: bit i for byte i. Compilers take a
// generic conversion of bytes apart into single ones, so the processor's own is named.
typedef std::uint8_t Bytes __attribute__((vector_size(lanes)));

TATAMI_INLINE Integers load_bytes(const std::uint8_t* from) {
#if defined(__AVX512F__)
    return reinterpret_cast<Integers>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif defined(__AVX2__)
    return reinterpret_cast<Integers>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#else
    Bytes bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    return __builtin_convertvector(bytes, Integers);
#endif
}

TATAMI_INLINE void store_bytes(std::uint8_t* to, Integers values) {
#if defined(__AVX512F__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(values)));
#elif defined(__AVX2__)
    const __m256i all = reinterpret_cast<__m256i>(values);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
#else
    const Bytes bytes = __builtin_convertvector(values, Bytes);
    std::memcpy(to, &bytes, sizeof bytes);
#endif
}

TATAMI_INLINE std::uint32_t equal_bytes(const std::uint8_t* from, std::uint8_t value) {
#if defined(__AVX2__)
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(static_cast<char>(value)))));
#elif defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi8(static_cast<char>(value));
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 16));
    return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(low, wanted))) |
           static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(high, wanted))) << 16;
#else
    std::uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= (from[i] == value ? 1u : 0u) << i;
    return bits;
#endif
}

// Unsigned words, and both halves of each one's product with a factor.
typedef std::uint32_t Words __attribute__((vector_size(lanes * 4)));

TATAMI_INLINE void multiply_wide(Words a, std::uint32_t factor, Words& high, Words& low) {
#if defined(__AVX512F__)
    const __m512i x = reinterpret_cast<__m512i>(a), f = _mm512_set1_epi32(static_cast<int>(factor));
    const __m512i even = _mm512_mul_epu32(x, f), odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), f);
    low = reinterpret_cast<Words>(_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32)));
    high = reinterpret_cast<Words>(_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd));
#elif defined(__AVX2__)
    const __m256i x = reinterpret_cast<__m256i>(a), f = _mm256_set1_epi32(static_cast<int>(factor));
    const __m256i even = _mm256_mul_epu32(x, f), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), f);
    low = reinterpret_cast<Words>(_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA));
    high = reinterpret_cast<Words>(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA));
#elif defined(__SSE2__)
    const __m128i x = reinterpret_cast<__m128i>(a), f = _mm_set1_epi32(static_cast<int>(factor));
    const __m128i even = _mm_mul_epu32(x, f), odd = _mm_mul_epu32(_mm_srli_epi64(x, 32), f);
    const __m128i lower = _mm_set_epi32(0, -1, 0, -1);
    low = reinterpret_cast<Words>(_mm_or_si128(_mm_and_si128(even, lower), _mm_slli_epi64(odd, 32)));
    high = reinterpret_cast<Words>(_mm_or_si128(_mm_srli_epi64(even, 32), _mm_andnot_si128(lower, odd)));
#else
    for (int lane = 0; lane < lanes; ++lane) {
        const std::uint64_t product = std::uint64_t{factor} * a[lane];
        low[lane] = static_cast<std::uint32_t>(product);
        high[lane] = static_cast<std::uint32_t>(product >> 32);
    }
#endif
}

// One word for each lane: low's bits below high's.
TATAMI_INLINE void store_words(std::uint64_t* to, Integers low, Vector high) {
#if defined(__AVX512F__)
    const __m512i even = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(8));
    const __m512i a = reinterpret_cast<__m512i>(low), b = reinterpret_cast<__m512i>(high);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi32(a, even, b));
    _mm512_storeu_si512(to + 8, _mm512_permutex2var_epi32(a, odd, b));
#elif defined(__AVX2__)
    const __m256i a = reinterpret_cast<__m256i>(low), b = reinterpret_cast<__m256i>(high);
    const __m256i even = _mm256_unpacklo_epi32(a, b), odd = _mm256_unpackhi_epi32(a, b);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 4), _mm256_permute2x128_si256(even, odd, 0x31));
#elif defined(__SSE2__)
    const __m128i a = reinterpret_cast<__m128i>(low), b = reinterpret_cast<__m128i>(high);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi32(a, b));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2), _mm_unpackhi_epi32(a, b));
#else
    Integers bits;
    std::memcpy(&bits, &high, sizeof bits);
    for (int i = 0; i < lanes; ++i)
        to[i] = std::uint64_t{static_cast<std::uint32_t>(bits[i])} << 32 | static_cast<std::uint32_t>(low[i]);
#endif
}

// 32 floats that lie side by side, any of which can be spread over a vector: out of registers where they fit into two.
struct Spreadable {
#if defined(__AVX512F__)
    Vector low, high;
    TATAMI_MEMBER explicit Spreadable(const float* from) : low(load(from)), high(load(from + lanes)) {}
    TATAMI_MEMBER Vector spread(int i) const { return _mm512_permutex2var_ps(low, _mm512_set1_epi32(i), high); }
#else
    const float* from;
    TATAMI_MEMBER explicit Spreadable(const float* floats) : from(floats) {}
    TATAMI_MEMBER Vector spread(int i) const { return broadcast(from[i]); }
#endif
};

// e^x to about 1e-7 relative: x = n·ln 2 + r with |r| <= ln 2 / 2, a polynomial in r (Cephes, Moshier 1989), times 2^n.
TATAMI_INLINE Vector exponential(Vector x) {
    const Vector highest = broadcast(88.37f), lowest = broadcast(-87.33f);
    Vector bounded = x > highest ? highest : x;
    bounded = bounded < lowest ? lowest : bounded;
    const Vector magic = broadcast(12582912.0f);  // adding 1.5·2^23 rounds to a whole number
    const Vector shifted = multiply_add(bounded, broadcast(1.44269504f), magic);
    const Vector n = shifted - magic;
    Vector r = multiply_add(n, broadcast(-0.693359375f), bounded);
    r = multiply_add(n, broadcast(2.12194440e-4f), r);
    Vector p = broadcast(1.9875691500e-4f);
    p = multiply_add(p, r, broadcast(1.3981999507e-3f));
    p = multiply_add(p, r, broadcast(8.3334519073e-3f));
    p = multiply_add(p, r, broadcast(4.1665795894e-2f));
    p = multiply_add(p, r, broadcast(1.6666665459e-1f));
    p = multiply_add(p, r, broadcast(5.0000001201e-1f));
    p = multiply_add(p, r * r, r) + broadcast(1.0f);
    Integers bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    const Integers exponent = (bits + (127 - 0x4B400000)) << 23;
    Vector scale;
    std::memcpy(&scale, &exponent, sizeof scale);
    const Vector result = p * scale;
    return x != x ? x : result;  // NaN stays NaN
}

// What log(1 + r) has beyond r - r²/2, divided by r³, for 1 + r between 1/√2 and √2 (Cephes, Moshier 1989).
TATAMI_INLINE Vector logarithm_polynomial(Vector r) {
    Vector p = broadcast(7.0376836292e-2f);
    p = multiply_add(p, r, broadcast(-1.1514610310e-1f));
    p = multiply_add(p, r, broadcast(1.1676998740e-1f));
    p = multiply_add(p, r, broadcast(-1.2420140846e-1f));
    p = multiply_add(p, r, broadcast(1.4249322787e-1f));
    p = multiply_add(p, r, broadcast(-1.6668057665e-1f));
    p = multiply_add(p, r, broadcast(2.0000714765e-1f));
    p = multiply_add(p, r, broadcast(-2.4999993993e-1f));
    return multiply_add(p, r, broadcast(3.3333331174e-1f));
}

}  // namespace
