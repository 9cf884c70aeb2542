// Which instruction sets the processor can execute and the operating system saves the registers of.
#pragma once

namespace tatami {

struct Processor {
    bool avx2 = false;         // with fused multiply-add
    bool avx512 = false;       // F, BW, VL and DQ
    bool avx512_bf16 = false;  // and dot products of bf16 pairs
};

const Processor& processor();

}  // namespace tatami
