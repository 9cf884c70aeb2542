// y = e^(factor·x), entry by entry, a vector at a time, the last one partial.
#pragma once

#include "elementwise.hpp"
#include "vector.hpp"

namespace {

void exponentials(const float* x, float factor, float* y, Index count) {
    const Vector f = broadcast(factor);
    for_each_vector(count, [&](Index i, int n) { store_some(y + i, exponential(f * load_some(x + i, n)), n); });
}

}  // namespace
