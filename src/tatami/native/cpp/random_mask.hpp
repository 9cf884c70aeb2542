// Dropout's factors, and words for other random layers, from the counter-based generator Philox4x32-10 of tatami/random.py, bit for bit.
//
// Word i of a stream is word i % 4 of block i / 4; block b is Philox of the counter (b, step, epoch, stream) under the
// key (low, high word of the seed). Blocks are independent, so `group` of them are computed side by side.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;

constexpr int group = 16;

struct Words {
    std::uint32_t at[4][group];
};

TATAMI_INLINE Words philox(const std::uint32_t key[2], const std::uint32_t counter[3], std::uint32_t first_block) {
    std::uint32_t c0[group], c1[group], c2[group], c3[group];
    for (int i = 0; i < group; ++i) {
        c0[i] = first_block + static_cast<std::uint32_t>(i);
        c1[i] = counter[0];
        c2[i] = counter[1];
        c3[i] = counter[2];
    }
    std::uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < group; ++i) {
            const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * c0[i];
            const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * c2[i];
            const std::uint32_t n0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1[i] ^ k0;
            const std::uint32_t n2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3[i] ^ k1;
            c0[i] = n0;
            c1[i] = static_cast<std::uint32_t>(product1);
            c2[i] = n2;
            c3[i] = static_cast<std::uint32_t>(product0);
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    Words words;
    for (int i = 0; i < group; ++i) {
        words.at[0][i] = c0[i];
        words.at[1][i] = c1[i];
        words.at[2][i] = c2[i];
        words.at[3][i] = c3[i];
    }
    return words;
}

// Calls visit(number, word) for `count` words of a stream from word `first` on.
template <typename Visit>
TATAMI_INLINE void for_each_word(const std::uint32_t key[2], const std::uint32_t counter[3], Index first, Index count, Visit visit) {
    Index done = 0;
    while (done < count) {
        const Index block = (first + done) / 4, skip = (first + done) % 4;
        const Words words = philox(key, counter, static_cast<std::uint32_t>(block));
        std::uint32_t in_order[4 * group];
        for (int i = 0; i < group; ++i)
            for (int word = 0; word < 4; ++word) in_order[4 * i + word] = words.at[word][i];
        const Index some = count - done < 4 * group - skip ? count - done : 4 * group - skip;
        for (Index i = 0; i < some; ++i) visit(done + i, in_order[skip + i]);
        done += some;
    }
}

void random_words(const std::uint32_t key[2], const std::uint32_t counter[3], Index first, Index count, std::uint32_t* words) {
    for_each_word(key, counter, first, count, [&](Index i, std::uint32_t word) { words[i] = word; });
}

void keep_mask(const std::uint32_t key[2], const std::uint32_t counter[3], Index first, Index count,
               std::uint32_t threshold, float factor, float* scale) {
    for_each_word(key, counter, first, count,
                  [&](Index i, std::uint32_t word) { scale[i] = (word >> 8) >= threshold ? factor : 0.0f; });
}

}  // namespace
