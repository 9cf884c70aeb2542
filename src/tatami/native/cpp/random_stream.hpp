// Which words of the counter-based generator a layer draws in a step; see random_mask.hpp.
#pragma once

#include <cstdint>

#include "engine.hpp"

namespace tatami {

struct Stream {
    Stream(const RandomKey& key, std::uint32_t name)
        : words{static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)},
          counter{key.step, key.epoch, name} {}
    std::uint32_t words[2];
    std::uint32_t counter[3];
};

}  // namespace tatami
