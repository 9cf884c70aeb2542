// Dropout's factors, and words for other random layers, from the counter-based generator Philox4x32-10 of tatami/random.py, bit for bit.
//
// Word i of a stream is word i % 4 of block i / 4; block b is Philox of the counter (b, step, epoch, stream) under the
// key (low, high word of the seed). Blocks are independent: every lane of a vector computes one.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;

// The words of one block for each lane.
struct Blocks {
    Words at[4];
};

TATAMI_INLINE Blocks philox(const std::uint32_t key[2], const std::uint32_t counter[3], std::uint32_t first_block) {
    Blocks c{{reinterpret_cast<Words>(lane_numbers()) + first_block, Words{} + counter[0], Words{} + counter[1], Words{} + counter[2]}};
    std::uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
        Words high0, low0, high1, low1;
        multiply_wide(c.at[0], 0xD2511F53u, high0, low0);
        multiply_wide(c.at[2], 0xCD9E8D57u, high1, low1);
        c = {{high1 ^ c.at[1] ^ k0, low1, high0 ^ c.at[3] ^ k1, low0}};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// to[i] = made of word first + i, for `count` words of a stream; `make` takes a vector of them.
template <typename Number, typename Make>
TATAMI_INLINE void make_of_words(const std::uint32_t key[2], const std::uint32_t counter[3], Index first, Index count, Number* to,
                                 Make make) {
    Number made[4][lanes];  // of word 0, 1, 2 and 3 of each block
    for (Index done = 0; done < count;) {
        const Index block = (first + done) / 4, skipped = (first + done) % 4, room = 4 * lanes - skipped;
        const Blocks blocks = philox(key, counter, static_cast<std::uint32_t>(block));
#pragma GCC unroll 4
        for (int word = 0; word < 4; ++word) {
            const auto vector = make(blocks.at[word]);
            static_assert(sizeof vector == sizeof made[word]);
            std::memcpy(made[word], &vector, sizeof vector);
        }
        const Index some = count - done < room ? count - done : room;
        for (Index i = 0; i < some; ++i) to[done + i] = made[(skipped + i) % 4][(skipped + i) / 4];
        done += some;
    }
}

void random_words(const std::uint32_t key[2], const std::uint32_t counter[3], Index first, Index count, std::uint32_t* words) {
    make_of_words(key, counter, first, count, words, [](Words word) { return word; });
}

void keep_mask(const std::uint32_t key[2], const std::uint32_t counter[3], Index first, Index count,
               std::uint32_t threshold, float factor, float* scale) {
    const Integers least = Integers{} + static_cast<std::int32_t>(threshold);  // of 24 bits: signed numbers compare alike
    make_of_words(key, counter, first, count, scale, [=](Words word) {
        return reinterpret_cast<Integers>(word >> 8) >= least ? broadcast(factor) : zero();
    });
}

}  // namespace
