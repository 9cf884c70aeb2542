// Convolution: the dense weight gradient from Winograd's tiles; see winograd_gradient.hpp.
//
// The way back from 36 sums to nine taps costs as much as some tens of tiles, so that tiles of several images are gathered
// first, of one chunk always: how many depends on the map's size alone, and every sum keeps its order.
#include "convolution.hpp"

namespace tatami {

namespace {

Index tiles_of(Index size) { return (size + 3) / 4; }

}  // namespace

// Behind ReLU and maxima the winners alone (sparse_gradient.hpp) are as fast, until there are many channels; then Winograd's
// transforms weigh less than its products. `x.stride == x.channels` is what the winners' way asks for.
void Convolution::choose_winograd_gradient(const Tensor& x) {
    constexpr Index many = 128;
    const bool by_winners = pool && !average && x.stride == x.channels;
    winograd_gradient = winograd && plan.trains() && !is_small(settings.shape.size[1]) && !is_small(settings.shape.size[2]) &&
                        (!by_winners || group_channels >= many);
}

void Convolution::prepare_winograd_gradient(const Tensor& x) {
    constexpr Index enough = 64;  // tiles
    const Tensor& du = pool ? *full_gradient : plan.gradient(node);
    const Index tiles = tiles_of(settings.shape.size[1]) * tiles_of(settings.shape.size[2]);
    images_together = (enough + tiles - 1) / tiles;
    patches_image = winograd_positions * winograd_step(tiles * x.stride);
    gradients_image = winograd_positions * winograd_step(tiles * du.stride);
    waiting.resize(static_cast<std::size_t>(plan.threads()));
    waiting_patches = plan.reserve(multiply_sizes({images_together, patches_image, plan.threads()}));
    waiting_gradients = plan.reserve(multiply_sizes({images_together, gradients_image, plan.threads()}));
    plan.need_scratch(winograd_positions * winograd_step(plan.kernels.tile_pixels * 2 * lanes));
}

void Convolution::winograd_weight_gradient(Index n, int thread, Index chunk, bool first_image, const Tensor& du, const float* dy) {
    const Size& size = settings.shape.size;
    WaitingTiles& here = waiting[static_cast<std::size_t>(thread)];
    if (first_image) here = {};
    if (settings.bias)
        plan.kernels.column_sums(dy, du.step[2], du.step[1], size[2], size[1], du.stride, plan.partial(chunk) + partial_bias,
                                 !first_image);
    WinogradTiles job{};
    job.map = winograd_of(thread);
    job.map.input = image_values(n, thread, thread) + first_tap;
    job.map.height = size[1];
    job.dy = dy;
    job.dy_line = du.step[1];
    job.dy_pixel = du.step[2];
    const Index place = thread * images_together + here.images;
    job.patches = plan.arena() + waiting_patches + place * patches_image;
    job.gradients = plan.arena() + waiting_gradients + place * gradients_image;
    plan.kernels.winograd_tiles(job);
    if (++here.images == images_together) add_waiting_tiles(thread, chunk);
}

void Convolution::add_waiting_tiles(int thread, Index chunk) {
    WaitingTiles& here = waiting[static_cast<std::size_t>(thread)];
    WinogradGradient job{};
    job.map = winograd_of(thread);
    job.map.height = settings.shape.size[1];
    job.patches = plan.arena() + waiting_patches + thread * images_together * patches_image;
    job.patches_image = patches_image;
    job.gradients_image = gradients_image;
    job.dy_pixel = (pool ? *full_gradient : plan.gradient(node)).step[2];
    job.images = here.images;
    job.accumulate = here.added;
    job.scratch = plan.scratch(thread);
    for (const Panel& panel : plan_panels()) {
        job.gradients = plan.arena() + waiting_gradients + thread * images_together * gradients_image + panel.first;
        job.dweight = plan.partial(chunk) + partial_weight + panel.weight;
        job.vectors = panel.vectors;
        job.columns = static_cast<int>(panel.columns);
        plan.kernels.winograd_weight_gradient(job);
    }
    here = {0, true};
}

void Convolution::end_chunk(int thread, Index chunk) {
    if (winograd_gradient && waiting[static_cast<std::size_t>(thread)].images > 0) add_waiting_tiles(thread, chunk);
}

}  // namespace tatami
