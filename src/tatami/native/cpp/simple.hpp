// What the operations on single nodes share: where an image's numbers lie, and lines of pixels one after the other.
#pragma once

#include <algorithm>

#include "plan.hpp"

namespace tatami {

inline const Node& node_of(const Plan& plan, int node) { return plan.engine.nodes()[static_cast<std::size_t>(node)]; }

inline Index line_offset(const Tensor& tensor, Index d, Index h) {
    return tensor.origin + d * tensor.step[0] + h * tensor.step[1];
}

inline Index positions_of(const Size& size) { return size[0] * size[1] * size[2]; }

// Calls visit(depth, row) for every line of pixels.
template <typename Visit>
void for_each_line(const Tensor& tensor, Visit visit) {
    for (Index d = 0; d < tensor.size[0]; ++d)
        for (Index h = 0; h < tensor.size[1]; ++h) visit(d, h);
}

// Calls visit(offset in a, offset in b, count) for stretches that hold the same entries in both tensors.
template <typename Visit>
void for_each_stretch(const Tensor& a, const Tensor& b, Visit visit) {
    const bool alike = a.stride == b.stride;
    for (Index d = 0; d < a.size[0]; ++d)
        for (Index h = 0; h < a.size[1]; ++h)
            if (alike)
                visit(line_offset(a, d, h), line_offset(b, d, h), a.size[2] * a.stride);
            else
                for (Index w = 0; w < a.size[2]; ++w)
                    visit(line_offset(a, d, h) + w * a.step[2], line_offset(b, d, h) + w * b.step[2], a.channels);
}

class Simple : public Operation {
public:
    Simple(Plan& owner, int number) : Operation(owner, node_of(owner, number).inputs[0], number), settings(node_of(owner, number)) {}

protected:
    const float* input_image(Index n, int thread) const { return plan.image(plan.value(input), n, thread); }
    float* output_image(Index n, int thread) const { return plan.image(plan.value(node), n, thread); }
    const float* dy_image(Index n, int thread) const { return plan.image(plan.gradient(node), n, thread); }
    float* dx_image(Index n, int thread) const { return plan.image(plan.gradient(input), n, thread); }

    // Sets the interior of dx to zero, unless another consumer has written to it.
    void clear_input_gradient(Index n, int thread) const {
        if (accumulate_input) return;
        const Tensor& dx = plan.gradient(input);
        for_each_line(dx, [&](Index d, Index h) {
            std::fill_n(dx_image(n, thread) + line_offset(dx, d, h), dx.size[2] * dx.stride, 0.0f);
        });
    }

    const Node& settings;
};

}  // namespace tatami
