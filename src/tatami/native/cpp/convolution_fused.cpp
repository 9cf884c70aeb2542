// Convolution: activations other than ReLU, 2×2 maxima behind them, 2×2 averages, and what their gradients need.
//
// A panel's row of sums is activated right after it was made, while it is in the first-level cache; with a pooling two rows
// are made first (activated_pooling.hpp). What a training step keeps of an image:
//
//   no pooling   y, and the sums too where the derivative looks at them (slope_needs_input)
//   maxima       the pooled y, which position won, and the winners' sums where the derivative looks at them
//   averages     the pooled y, and of every pixel y, or its sum where the derivative looks at that
//
// Backward, f' turns the gradient of y, or of the winners, into that of the sums; averages spread dy over the windows on the way.
// Winograd's kernel writes whole maps, which are activated out of the second-level cache.
#include "convolution.hpp"

namespace tatami {

void Convolution::prepare_activation() {
    if (!average) before = reserve_before(curve);
    const bool map_of_winograd = winograd && pool && !relu;
    if ((average && plan.trains()) || map_of_winograd) {
        Tensor full;
        full.channels = settings.shape.channels;
        full.stride = plan.value(node).stride;
        full.size = settings.shape.size;
        full.passing = plan.by_example();
        full_value = &plan.reserve_tensor(full, !(average && plan.trains()));
    }
}

// The pooled row h of the channels from `filter` on, out of two rows of sums (`line` floats apart).
ActivatedPair Convolution::pair_of(Index n, int thread, Index filter, Index h, float* sums, Index pixel, Index line, float* to) const {
    const Tensor& y = plan.value(node);
    ActivatedPair pair{};
    if (curve) pair.curve = *curve;
    pair.upper = sums;
    pair.lower = pair_rows() == 2 ? sums + line : nullptr;
    pair.stride = pixel;
    pair.average = average;
    pair.keep_activated = average && plan.trains() && !slope_needs_input(pair.curve);
    pair.output = to + h * y.step[1];
    pair.output_stride = y.step[2];
    pair.pixels = y.size[2];
    if (average || !plan.trains()) return pair;
    pair.code = plan.codes(code_base, n, code_image) + h * y.size[2] * y.stride + filter;
    pair.code_stride = y.stride;
    if (before) pair.winner = plan.image(*before, n, thread) + h * before->step[1] + filter;
    pair.winner_stride = y.stride;
    return pair;
}

// One panel of filters, two rows of sums at a time: in the map that is kept, or in a strip.
void Convolution::activated_panel(CorrelateRow row, const Operand& source, const float* from, float* to, Index n, int thread,
                                  Index filter, Index begin, Index end) const {
    const Tensor& y = plan.value(node);
    const Index input_line = settings.window.stride[1] * source.tensor->step[1], rows = pair_rows();
    float* const map = full_value ? plan.image(*full_value, n, thread) + filter : nullptr;
    row.pixels = 2 * y.size[2];
    row.output_stride = map ? full_value->step[2] : row.vectors * lanes;
    const Index line = map ? full_value->step[1] : row.pixels * row.output_stride;
    for (Index h = begin; h < end; ++h) {
        float* const sums = map ? map + h * rows * line : plan.scratch(thread);
        for (Index half = 0; half < rows; ++half) {
            row.input = from + (h * rows + half) * input_line;
            row.output = sums + half * line;
            source.correlate(row);
        }
        ActivatedPair pair = pair_of(n, thread, filter, h, sums, row.output_stride, line, to);
        pair.channels = row.vectors * lanes;
        plan.kernels.activate_pair(pair);
    }
}

// Rows of y (pooled rows with pooling), which begin and end where Winograd's tiles do.
void Convolution::winograd_and_activation(const float* from, float* to, Index n, int slot, int thread, Index begin,
                                          Index end) const {
    const Tensor& y = plan.value(node);
    const Tensor& own = pool ? *full_value : before ? *before : y;
    const Index rows = pool ? 2 : 1;
    Winograd job = winograd_of(thread);
    float* const sums = plan.image(own, n, pool ? thread : slot) + own.origin;
    job.input = from + begin * rows * job.line;
    job.height = winograd_rows(begin, end);
    job.output = sums + begin * rows * own.step[1];
    job.output_line = own.step[1];
    job.output_pixel = own.step[2];
    run_winograd(job);
    for (Index h = begin; h < end; ++h) {
        if (!pool) {
            plan.kernels.curve(*curve, sums + h * own.step[1], to + h * y.step[1], y.size[2] * y.stride);
            continue;
        }
        ActivatedPair pair = pair_of(n, thread, 0, h, sums + 2 * h * own.step[1], own.step[2], own.step[1], to);
        pair.channels = y.stride;
        plan.kernels.activate_pair(pair);
    }
}

// The gradient of averages, spread over their windows and taken through the activation. Pixels that no window sees stay zero.
void Convolution::averages_gradient(Index n, int thread, float* full) const {
    const Tensor& dy = plan.gradient(node);
    const Tensor& du = *full_gradient;
    ActivatedPairGradient pair{};
    if (curve) pair.curve = *curve;
    pair.dy_stride = dy.step[2];
    pair.kept_stride = full_value->step[2];
    pair.dx_stride = du.step[2];
    pair.pixels = dy.size[2];
    pair.channels = dy.stride;
    for (Index h = 0; h < dy.size[1]; ++h) {
        pair.dy = plan.image(dy, n, thread) + dy.origin + h * dy.step[1];
        for (Index row = 0; row < pair_rows(); ++row) {
            pair.kept[row] = plan.image(*full_value, n, thread) + (h * pair_rows() + row) * full_value->step[1];
            pair.dx[row] = full + du.origin + (h * pair_rows() + row) * du.step[1];
        }
        plan.kernels.activate_pair_gradient(pair);
    }
}

}  // namespace tatami
