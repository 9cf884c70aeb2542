// What arrays held when they were last looked at.
//
// A program is handed all parameters in every call, and their owner may have written to them by any route: through a view, a
// buffer, another library. So all of them are compared, bit by bit, with what they were, by several threads at the speed of
// memory; a comparison ends at the first difference.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "kernel_table.hpp"

namespace tatami {

class Remembered {
public:
    // Arrays of so many floats each; threads: 0 as many as OpenMP would use. Throws DescriptionError on a negative size.
    Remembered(const std::vector<Index>& sizes, int threads);

    std::size_t count() const { return sizes_.size(); }
    Index size(std::size_t array) const { return sizes_[array]; }
    // Numbers of the arrays that hold other bits than those remembered, or of which none are, or whose pointer is null.
    std::vector<int> changed(std::span<const float* const> arrays) const;
    void remember(std::size_t array, std::span<const float> values);

private:
    struct Piece {
        std::size_t array;
        Index first, count;  // floats
    };

    std::vector<Index> sizes_, offsets_;
    std::vector<Piece> pieces_;
    std::vector<float> copies_;
    std::vector<bool> known_;
    int threads_;
};

}  // namespace tatami
