// Checks of a network's description: what every add_… of the engine refuses before anything depends on a number.
#pragma once

#include <string>

#include "engine.hpp"

namespace tatami {

constexpr Index largest_size = Index{1} << 20;   // of one axis, as in tatami/geometry.py
constexpr Index largest_count = Index{1} << 40;  // floats of anything

inline void require(bool condition, const std::string& message) {
    if (!condition) throw DescriptionError(message);
}

inline void check_axis(Index value, const char* what) {
    require(value >= 1 && value <= largest_size,
            std::string(what) + " must be from 1 to 1048576, got " + std::to_string(value));
}

inline void check_shape(const Shape& shape) {
    check_axis(shape.channels, "channels");
    for (Index size : shape.size) check_axis(size, "size");
    multiply_sizes({shape.channels, shape.size[0], shape.size[1], shape.size[2]});
    require(!shape.flat || shape.size == Size{1, 1, 1}, "a flat shape has no positions");
}

}  // namespace tatami
