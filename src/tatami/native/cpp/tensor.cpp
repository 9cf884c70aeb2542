// Tensors: where an image's numbers lie in the arena, and the way between there and (C, D, H, W) arrays.
#include "plan.hpp"

#include <cstring>

namespace tatami {

namespace {

template <typename Visit>
void for_each_pixel(const Tensor& tensor, Visit visit) {
    Index position = 0;
    for (Index d = 0; d < tensor.size[0]; ++d)
        for (Index h = 0; h < tensor.size[1]; ++h)
            for (Index w = 0; w < tensor.size[2]; ++w, ++position)
                visit(position, tensor.origin + d * tensor.step[0] + h * tensor.step[1] + w * tensor.step[2]);
}

}  // namespace

void Tensor::arrange() {
    step[2] = stride;
    step[1] = multiply_sizes({before[2] + size[2] + after[2], step[2]});
    step[0] = multiply_sizes({before[1] + size[1] + after[1], step[1]});
    image = round_up(multiply_sizes({before[0] + size[0] + after[0], step[0]}), 16);  // whole cache lines
    origin = before[0] * step[0] + before[1] * step[1] + before[2] * step[2];
}

void copy_to_pixels(const float* from, const Tensor& tensor, float* image) {
    const Index positions = tensor.size[0] * tensor.size[1] * tensor.size[2];
    if (positions == 1) {
        std::memcpy(image + tensor.origin, from, static_cast<std::size_t>(tensor.channels) * sizeof(float));
    } else if (tensor.stride == 1) {
        for (Index d = 0; d < tensor.size[0]; ++d)
            for (Index h = 0; h < tensor.size[1]; ++h)
                std::memcpy(image + tensor.origin + d * tensor.step[0] + h * tensor.step[1],
                            from + (d * tensor.size[1] + h) * tensor.size[2],
                            static_cast<std::size_t>(tensor.size[2]) * sizeof(float));
    } else {
        for_each_pixel(tensor, [&](Index position, Index at) {
            for (Index c = 0; c < tensor.channels; ++c) image[at + c] = from[c * positions + position];
        });
    }
}

void add_to_pixels(const float* from, const Tensor& tensor, float* image) {
    const Index positions = tensor.size[0] * tensor.size[1] * tensor.size[2];
    for_each_pixel(tensor, [&](Index position, Index at) {
        for (Index c = 0; c < tensor.channels; ++c) image[at + c] += from[c * positions + position];
    });
}

void copy_from_pixels(const float* image, const Tensor& tensor, float* to) {
    const Index positions = tensor.size[0] * tensor.size[1] * tensor.size[2];
    for_each_pixel(tensor, [&](Index position, Index at) {
        for (Index c = 0; c < tensor.channels; ++c) to[c * positions + position] = image[at + c];
    });
}

}  // namespace tatami
