// The second half of a transposed convolution: many small maps put together into a few large ones, and the bias.
//
// A transposed convolution with stride s stamps its kernel at every s-th place, y(s·i + μ - p) += F(μ) x(i). Outputs whose
// place u = o + p leaves the same remainder r = u mod s, a phase, see the same taps μ = r, r + s, r + 2s, … : each phase is
// an ordinary convolution of x with those taps, last first. So one convolution computes the maps z of all phases at once
// (as many filters as there are phases and output channels, the kernel a s-th as large), and here they are interleaved:
//
//   y(k, o) = z(phase(u mod s), k, u div s) + b(k)       u = o + p, axis by axis
//
// Channels of z: group by group, within a group phase by phase, so that the channels of a group of y are one run of floats.
// An output beyond the last stamp has no z and is the bias alone. There is nothing to tile: every number is moved once.
#include <algorithm>

#include "plan.hpp"

namespace tatami {

namespace {

class Interleave : public Operation {
public:
    Interleave(Plan& owner, int number)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(number)].inputs[0], number),
          settings(owner.engine.nodes()[static_cast<std::size_t>(number)]) {}

    std::string describe() const override { return "phases side by side"; }

    void prepare() override {
        run = settings.shape.channels / settings.groups;
        const Size& step = settings.window.stride;
        phases = step[0] * step[1] * step[2];
        if (plan.trains() && settings.bias) partial_bias = plan.reserve_partial(plan.parameter(node, 1).padded);
    }

    void forward(Index n, int thread) override {
        const Tensor& z = plan.value(input);
        const Tensor& y = plan.value(node);
        const float* const from = plan.image(z, n, thread);
        float* const to = plan.image(y, n, thread);
        const float* const bias = settings.bias ? plan.weights(node, 0, "bias") : nullptr;
        for_each_pixel(z, y, [&](Index source, Index phase, Index target) {
            if (source < 0)
                std::fill_n(to + target, settings.shape.channels, 0.0f);
            else
                for (Index g = 0; g < settings.groups; ++g)
                    std::copy_n(from + source + (g * phases + phase) * run, run, to + target + g * run);
            if (bias) plan.kernels.add(bias, to + target, settings.shape.channels);
        });
    }

    void backward(Index n, int thread, Index chunk, bool first_image) override {
        const Tensor& dy = plan.gradient(node);
        const float* const from = plan.image(dy, n, thread);
        if (settings.bias) {
            float* const sums = plan.partial(chunk) + partial_bias;
            if (first_image) std::fill_n(sums, plan.parameter(node, 1).padded, 0.0f);
            for (Index d = 0; d < dy.size[0]; ++d)
                plan.kernels.column_sums(from + dy.origin + d * dy.step[0], dy.stride, dy.step[1], dy.size[2], dy.size[1],
                                         dy.stride, sums, true);
        }
        if (!wants_input_gradient) return;
        const Tensor& dz = plan.gradient(input);
        float* const to = plan.image(dz, n, thread);
        if (!accumulate_input)
            for (Index d = 0; d < dz.size[0]; ++d)
                for (Index h = 0; h < dz.size[1]; ++h)
                    std::fill_n(to + dz.origin + d * dz.step[0] + h * dz.step[1], dz.size[2] * dz.stride, 0.0f);
        for_each_pixel(dz, dy, [&](Index target, Index phase, Index source) {
            if (target < 0) return;
            for (Index g = 0; g < settings.groups; ++g)
                plan.kernels.add(from + source + g * run, to + target + (g * phases + phase) * run, run);
        });
    }

    void add_up(Index used_chunks) override {
        if (!settings.bias) return;
        float* const total = plan.weights(node, 1, "bias");
        const Index count = plan.parameter(node, 1).padded;
        std::copy_n(plan.partial(0) + partial_bias, count, total);
        for (Index chunk = 1; chunk < used_chunks; ++chunk) plan.kernels.add(plan.partial(chunk) + partial_bias, total, count);
    }

private:
    // Calls visit(offset of the small maps' pixel or -1, phase, offset of the large map's pixel).
    template <typename Visit>
    void for_each_pixel(const Tensor& small, const Tensor& large, Visit visit) const {
        const Size& step = settings.window.stride;
        const Size& before = settings.window.before;
        for (Index d = 0; d < large.size[0]; ++d)
            for (Index h = 0; h < large.size[1]; ++h)
                for (Index w = 0; w < large.size[2]; ++w) {
                    const Size at{d + before[0], h + before[1], w + before[2]};
                    Index source = small.origin, phase = 0;
                    bool inside = true;
                    for (int axis = 0; axis < 3; ++axis) {
                        const Index position = at[axis] / step[axis];
                        inside = inside && position < small.size[axis];
                        source += position * small.step[axis];
                        phase = phase * step[axis] + at[axis] % step[axis];
                    }
                    visit(inside ? source : -1, phase, large.origin + d * large.step[0] + h * large.step[1] + w * large.step[2]);
                }
    }

    const Node& settings;
    Index run = 0, phases = 0, partial_bias = 0;
};

}  // namespace

std::unique_ptr<Operation> make_interleave(Plan& plan, int node) { return std::make_unique<Interleave>(plan, node); }

}  // namespace tatami
