// May this process use tile registers? Four answers have to be yes, asked for in this order, each safe to ask after the last:
//
//   the build      the tile kernels were compiled (their assembler knew the instructions)
//   the processor  cpuid: tiles, bf16 products, and palette 1 with 8 registers of 16 rows of 64 bytes
//   the system     xgetbv: it saves the registers; and Linux hands them out only to processes that ask (arch_prctl)
//   arithmetic     known products come out as the emulation says
//
// The check multiplies small whole numbers, where every order of adding gives the same bits, with all the shapes that tails
// need; and drawn numbers, which may differ from the emulation by rounding: the manual gives the order of the sums, but a
// processor that adds in another order computes no worse.
#include "processor.hpp"
#include "tile_support.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>
#include <vector>

#if defined(TATAMI_X86)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tatami {

namespace {

std::atomic<int> misuses{0};
std::mutex misuse_lock;
std::string first_misuse;

#if defined(TATAMI_X86) && defined(TATAMI_AMX)

struct Registers {
    unsigned int a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned int leaf, unsigned int subleaf) {
    Registers r;
    if (__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) == 0) return {};
    return r;
}

std::string ask_processor() {
    const Registers features = cpuid(7, 0);
    constexpr unsigned int bf16_products = 1u << 22, tiles = 1u << 24;
    if ((features.d & tiles) == 0) return "the processor has none";
    if ((features.d & bf16_products) == 0) return "the processor's tiles do not multiply bf16";
    const Registers palette = cpuid(0x1D, 1);  // a: bytes of a tile above, b: bytes of a row and registers, c: rows
    if (palette.a >> 16 != 1024 || (palette.b & 0xFFFFu) != 64 || palette.b >> 16 < 8 || (palette.c & 0xFFFFu) != 16)
        return "the processor's tiles have other sizes than 16 rows of 64 bytes";
    if ((cpuid(1, 0).c & (1u << 27)) == 0) return "the operating system does not save extended registers";
    unsigned int low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned int tile_state = 3u << 17;
    if ((low & tile_state) != tile_state) return "the operating system does not save tile registers";
    return "";
}

std::string ask_system() {
#if defined(__linux__) && defined(SYS_arch_prctl)
    constexpr int request_permission = 0x1023, tile_data = 18;
    if (syscall(SYS_arch_prctl, request_permission, tile_data) != 0)
        return "the operating system does not permit them to this process";
    return "";
#else
    return "they are used on Linux only";
#endif
}

std::string ask_arithmetic(std::string& checked) {
    const TileKernels* const emulation = emulated_tiles();
    if (emulation == nullptr) return "there is no emulation to check them against";
    bool exact = false;
    const std::string difference = compare_tiles(*amx_tiles(), *emulation, exact);
    if (difference.empty())
        checked = exact ? "checked at load: the same bits as the emulation" : "checked at load: the emulation's products but for rounding";
    return difference;
}

#endif

struct Support {
    std::string missing, checked;
    Support() {
#if defined(TATAMI_X86) && defined(TATAMI_AMX)
        missing = ask_processor();
        if (missing.empty() && !processor().avx512_bf16) missing = "the processor has no AVX-512 with bf16 beside them";
        if (missing.empty()) missing = ask_system();
        if (missing.empty()) missing = ask_arithmetic(checked);
#else
        missing = "this build has no kernels for them";
#endif
    }
};

const Support& support() {
    static const Support found;
    return found;
}

// Whole numbers from -4 to 4, or numbers from -1 to 1 with all bits of bf16 in use.
class Draws {
public:
    explicit Draws(bool whole_numbers) : whole(whole_numbers) {}
    float next() {
        state = state * 1664525u + 1013904223u;
        const int drawn = static_cast<int>(state >> 16 & 0xFFFFu);
        return whole ? static_cast<float>(drawn % 9 - 4) : static_cast<float>(drawn - 32768) / 32768.0f;
    }
    std::uint16_t number() {
        const float x = next();
        std::uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        return static_cast<std::uint16_t>(bits >> 16);  // cut off, not rounded: a bf16 either way
    }

private:
    std::uint32_t state = 20240607u;
    bool whole;
};

struct Sample {
    std::vector<std::uint16_t> left, right;
    std::vector<float> start;
};

// Two sets of results and the most that rounding can make of their difference.
std::string judge(const std::vector<float>& came, const std::vector<float>& expected, bool whole, float bound, bool& exact) {
    for (std::size_t i = 0; i < came.size(); ++i) {
        if (std::memcmp(&came[i], &expected[i], sizeof(float)) == 0) continue;
        exact = false;
        if (whole || !(std::fabs(came[i] - expected[i]) <= bound))
            return "they compute wrong products: " + std::to_string(came[i]) + " instead of " + std::to_string(expected[i]);
    }
    return "";
}

std::vector<float> correlate_sample(const TileKernels& kernels, const Sample& sample, Index windows, Index words, Index steps,
                                    Index columns) {
    std::vector<float> output = sample.start, strip(static_cast<std::size_t>(strip_floats(windows)));
    const Index offset = 0;
    TileCorrelation job{};
    job.input = sample.left.data();
    job.pixel = 2 * words * steps;
    job.line = job.pixel * windows;
    job.offsets = &offset;
    job.segments = 1;
    job.steps = steps;
    job.words = words;
    job.weight = reinterpret_cast<const float*>(sample.right.data());
    job.columns = columns;
    job.height = 1;
    job.width = windows;
    job.lines = 1;
    job.output = output.data();
    job.output_pixel = 32;
    job.accumulate = true;
    job.strip = strip.data();
    kernels.correlate(job);
    return output;
}

std::vector<float> weight_gradient_sample(const TileKernels& kernels, const Sample& sample) {
    std::vector<float> sums(sample.start.begin(), sample.start.begin() + 4 * 256);
    const Index shift = 1;
    TileWeightGradient job{};
    job.factors = 1;
    job.input[0] = sample.left.data();
    job.dy[0] = reinterpret_cast<const float*>(sample.right.data());
    job.row = 66;
    job.shifts = &shift;
    job.taps = 1;
    job.rows = 32;
    job.steps = 2;
    job.dy_block = 2 * 256;
    job.column_blocks = 2;
    job.dweight = sums.data();
    job.row_stride = 16;
    job.column_block = 256;
    job.row_block = 512;
    job.tap = 1024;
    job.accumulate = true;
    kernels.weight_gradient(job);
    return sums;
}

}  // namespace

std::string compare_tiles(const TileKernels& tiles, const TileKernels& emulation, bool& exact) {
    exact = true;
    constexpr Index most_windows = 48, most_words = 48;
    for (const bool whole : {true, false}) {
        Draws draws(whole);
        Sample sample;
        for (Index i = 0; i < 2 * most_words * (most_windows + 16); ++i) sample.left.push_back(draws.number());
        for (Index i = 0; i < 2 * most_words * 32; ++i) sample.right.push_back(draws.number());
        for (Index i = 0; i < 32 * most_windows; ++i) sample.start.push_back(draws.next());
        // At most 97 terms of at most 16 and 96 roundings of sums of at most that size, on both sides.
        const float bound = whole ? 0.0f : 97.0f * 97.0f * 0x1p-22f;
        for (const Index words : {1, 5, 12, 16})
            for (const Index windows : {1, 7, 16, 33, 48}) {
                const Index steps = words == 16 ? 3 : 1, columns = windows == 7 ? 16 : windows == 33 ? 21 : 32;
                const std::string difference = judge(correlate_sample(tiles, sample, windows, words, steps, columns),
                                                     correlate_sample(emulation, sample, windows, words, steps, columns), whole,
                                                     bound, exact);
                if (!difference.empty()) return difference;
            }
        const std::string difference =
            judge(weight_gradient_sample(tiles, sample), weight_gradient_sample(emulation, sample), whole, bound, exact);
        if (!difference.empty()) return difference;
    }
    return "";
}

const TileKernels* emulated_tiles() {
#if defined(TATAMI_X86)
    if (processor().avx512_bf16)
        return emulated_tiles_avx512();
#endif
    return emulated_tiles_baseline();
}

const std::string& tiles_missing() { return support().missing; }
const std::string& tiles_checked() { return support().checked; }

void report_tile_misuse(const char* what) {
    if (misuses.fetch_add(1) != 0) return;
    const std::lock_guard guard(misuse_lock);
    first_misuse = what;
}

int tile_misuses() { return misuses.load(); }

std::string first_tile_misuse() {
    const std::lock_guard guard(misuse_lock);
    return first_misuse;
}

}  // namespace tatami
