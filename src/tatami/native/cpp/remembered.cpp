// The copies stand one after the other; they are compared in pieces of 64 KiB, of which every thread mostly gets the same ones
// in every call, so that they can stay in its second-level cache.
#include "remembered.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine.hpp"
#include "threads.hpp"

namespace tatami {

namespace {

constexpr Index piece_floats = Index{1} << 14;

}  // namespace

Remembered::Remembered(const std::vector<Index>& sizes, int threads) : sizes_(sizes), threads_(threads) {
    if (threads < 0 || threads > 256) throw DescriptionError("threads must be from 0 (automatic) to 256");
    Index total = 0;
    for (std::size_t array = 0; array < sizes.size(); ++array) {
        const Index size = multiply_sizes({sizes[array]});
        offsets_.push_back(total);
        total += size;
        multiply_sizes({total});
        for (Index at = 0; at < size; at += piece_floats) pieces_.push_back({array, at, std::min(piece_floats, size - at)});
    }
    copies_.resize(static_cast<std::size_t>(total));
    known_.resize(sizes.size(), false);
}

std::vector<int> Remembered::changed(std::span<const float* const> arrays) const {
    if (arrays.size() != count()) throw DescriptionError("there are other arrays than those remembered");
    const auto differs = std::make_unique<std::atomic<bool>[]>(count());
    for (std::size_t array = 0; array < count(); ++array) differs[array] = !known_[array] || arrays[array] == nullptr;
    parallel_for(threads_to_use(threads_), static_cast<Index>(pieces_.size()), 1, [&](Index i, int) {
        const Piece& piece = pieces_[static_cast<std::size_t>(i)];
        if (differs[piece.array].load(std::memory_order_relaxed)) return;
        const float* const copy = copies_.data() + offsets_[piece.array] + piece.first;
        if (std::memcmp(arrays[piece.array] + piece.first, copy, static_cast<std::size_t>(piece.count) * sizeof(float)) != 0)
            differs[piece.array].store(true, std::memory_order_relaxed);
    });
    std::vector<int> found;
    for (std::size_t array = 0; array < count(); ++array)
        if (differs[array]) found.push_back(static_cast<int>(array));
    return found;
}

void Remembered::remember(std::size_t array, std::span<const float> values) {
    if (array >= count() || static_cast<Index>(values.size()) != sizes_[array])
        throw DescriptionError("the array has another size than the one remembered");
    std::copy(values.begin(), values.end(), copies_.begin() + static_cast<std::ptrdiff_t>(offsets_[array]));
    known_[array] = true;
}

}  // namespace tatami
