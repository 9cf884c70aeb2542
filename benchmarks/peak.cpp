// What the processor can do at most: loops that only multiply and add in registers, on so many threads at once.
//
//     peak THREADS      prints one line of JSON: units -> multiply-adds per second of all threads together;
//                       memory -> bytes per second
//
// f32: fused multiply-adds of whole vectors; bf16_dot: pairs of bf16 products added in f32 (AVX-512 BF16); bf16_tile: AMX tiles.
// Twelve independent sums hide the latency of an instruction (six for tiles). memory: every thread copies 8 MiB, more than the
// second-level cache and about what a batch's activations take; bytes read and bytes written count.
#include <immintrin.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

using Clock = std::chrono::steady_clock;
constexpr int rounds = 20000;
constexpr double seconds = 0.4;

template <typename Round>
double rate(int threads, double work_of_round, Round round) {
    std::atomic<int> ready{0};
    std::vector<double> rates(static_cast<std::size_t>(threads));
    std::vector<std::thread> team;
    for (int t = 0; t < threads; ++t)
        team.emplace_back([&, t] {
            ++ready;
            while (ready.load() < threads) std::this_thread::yield();
            double best = 0;
            for (const auto end = Clock::now() + std::chrono::duration<double>(seconds); Clock::now() < end;) {
                const auto start = Clock::now();
                round();
                const std::chrono::duration<double> taken = Clock::now() - start;
                best = best > work_of_round / taken.count() ? best : work_of_round / taken.count();
            }
            rates[static_cast<std::size_t>(t)] = best;
        });
    for (std::thread& member : team) member.join();
    double total = 0;
    for (double r : rates) total += r;
    return total;
}

#if defined(__AVX512F__)
using Vector = __m512;
constexpr int lanes = 16;
Vector fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
Vector all(float x) { return _mm512_set1_ps(x); }
#else
using Vector = __m256;
constexpr int lanes = 8;
Vector fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
Vector all(float x) { return _mm256_set1_ps(x); }
#endif

void f32_round() {
    Vector sum[12];
    for (Vector& s : sum) s = all(0.0f);
    Vector a = all(1.0001f), b = all(0.9999f);
    for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (int s = 0; s < 12; ++s) sum[s] = fused(a, b, sum[s]);
        __asm__ volatile("" : "+v"(a), "+v"(b));  // every product is computed again
    }
    for (Vector& s : sum) __asm__ volatile("" ::"v"(s));
}

constexpr std::size_t copied = std::size_t{1} << 21;  // floats

void copy_round() {
    thread_local std::vector<float> from(copied, 1.0f), to(copied);
    for (std::size_t i = 0; i < copied; i += lanes) __builtin_memcpy(&to[i], &from[i], lanes * sizeof(float));
    __asm__ volatile("" ::"r"(to.data()) : "memory");
}

#if defined(__AVX512BF16__)
void bf16_dot_round() {
    __m512 sum[12];
    for (__m512& s : sum) s = _mm512_setzero_ps();
    __m512i a = _mm512_set1_epi16(0x3f80), b = a;
    for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (int s = 0; s < 12; ++s)
            sum[s] = _mm512_dpbf16_ps(sum[s], reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
        __asm__ volatile("" : "+v"(a), "+v"(b));
    }
    for (__m512& s : sum) __asm__ volatile("" ::"v"(s));
}
#endif

#if defined(__AMX_BF16__)
struct alignas(64) TileSettings {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t columns[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void bf16_tile_round() {
    const TileSettings settings;
    _tile_loadconfig(&settings);
    for (int i = 0; i < rounds; ++i) {
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
        _tile_dpbf16ps(4, 6, 7);
        _tile_dpbf16ps(5, 6, 7);
    }
    _tile_release();
}
#endif

}  // namespace

int main(int, char** arguments) {
    const int threads = arguments[1] ? std::atoi(arguments[1]) : 1;
    std::printf("{\"f32\": %.6g", rate(threads, 12.0 * lanes * rounds, f32_round));
    std::printf(", \"memory\": %.6g", rate(threads, 2.0 * copied * sizeof(float), copy_round));
#if defined(__AVX512BF16__)
    std::printf(", \"bf16_dot\": %.6g", rate(threads, 12.0 * 32 * rounds, bf16_dot_round));
#endif
#if defined(__AMX_BF16__)
    constexpr long ask_for_permission = 0x1023, tile_data = 18;
    if (syscall(SYS_arch_prctl, ask_for_permission, tile_data) == 0)
        std::printf(", \"bf16_tile\": %.6g", rate(threads, 6.0 * 16 * 16 * 32 * rounds, bf16_tile_round));
#endif
    std::puts("}");
    return 0;
}
