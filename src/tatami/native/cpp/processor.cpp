// Asked with the instructions themselves: cpuid for the processor, xgetbv for the registers that the system saves when it
// switches threads (bits 1 and 2: those of AVX; 5 to 7: those that AVX-512 adds). A compiler's __builtin_cpu_supports
// would say the same, but needs a run-time library that Clang does not link on Windows.
#include "processor.hpp"

#if defined(TATAMI_X86)
#include <cpuid.h>
#endif

namespace tatami {

#if defined(TATAMI_X86)

namespace {

bool bit(unsigned int word, int number) { return ((word >> number) & 1u) != 0; }

Processor ask() {
    Processor found;
    unsigned int a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(1, 0, &a, &b, &c, &d) == 0) return found;
    const bool fused = bit(c, 12), saves_more = bit(c, 27);
    if (!saves_more || !fused) return found;
    unsigned int low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const bool saves_avx = (low & 0x06u) == 0x06u, saves_avx512 = (low & 0xE6u) == 0xE6u;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
    const unsigned int subleaves = a;
    found.avx2 = saves_avx && bit(b, 5);
    found.avx512 = found.avx2 && saves_avx512 && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
    if (found.avx512 && subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) found.avx512_bf16 = bit(a, 5);
    return found;
}

}  // namespace

const Processor& processor() {
    static const Processor found = ask();
    return found;
}

#else

const Processor& processor() {
    static const Processor found;
    return found;
}

#endif

}  // namespace tatami
