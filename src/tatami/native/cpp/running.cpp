// Running a plan: the stages forward, the loss, the stages backward, and what callers read and write in between.
//
// Forward, an image passes through all operations of its stage while its numbers are in the cache, four images at a time.
// A training step of convolutions with at most small dense layers behind them goes further: every image passes through the
// whole network, the loss, and back again before the next one. Its activations stand in one place for each thread, which
// stays in the second-level cache; a batch's activations do not, and the way back would wait for memory.
// Backward, sums over images are made in sixteen groups of images, whatever the number of threads, and added in order.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "plan.hpp"

namespace tatami {

namespace {

// Images that a thread takes at a time in the forward pass.
constexpr Index forward_grain = 4;

}  // namespace

int Plan::external_node(int stage) const {
    if (stage < 0 || stage >= stage_count()) throw DescriptionError("no such stage");
    return stages_[static_cast<std::size_t>(stage)].external;
}

void Plan::start(const float* x, Index batch, const RandomKey& key, bool training) {
    batch_ = batch;
    stepping_ = false;
    input_ = x;
    key_ = key;
    training_ = training;
    if (packed_version_ != engine.version_) {
        // Batch operations share their packing out themselves; the others are packed side by side.
        const Index count = static_cast<Index>(operations_.size());
        parallel_for(threads_, count, 1, [&](Index i, int) {
            if (operations_[static_cast<std::size_t>(i)]->by_image()) operations_[static_cast<std::size_t>(i)]->pack();
        });
        for (const auto& operation : operations_)
            if (!operation->by_image()) operation->pack();
        packed_version_ = engine.version_;
    }
}

void Plan::forward(int first, int last) {
    if (first < 0 || last > stage_count()) throw DescriptionError("no such stage");
    if ((first == 0 || values_[0].in_place) && input_ == nullptr) throw DescriptionError("nothing was started");
    for (int s = first; s < last; ++s) {
        const Stage& stage = stages_[static_cast<std::size_t>(s)];
        if (!stage.by_image) {
            stage.operations[0]->forward_batch();
            continue;
        }
        if (batch_ == 1 && threads_ > 1) {
            for (Operation* operation : stage.operations) {
                const Index parts = operation->parts(threads_);
                if (parts == 1)
                    operation->forward(0, 0);
                else
                    parallel_for(threads_, parts, 1,
                                 [&](Index part, int thread) { operation->forward_part(0, 0, thread, part, parts); });
            }
            continue;
        }
        parallel_for(threads_, batch_, forward_grain, [&](Index n, int thread) {
            for (Operation* operation : stage.operations) operation->forward(n, thread);
        });
    }
}

// Asks for one image's values to come to the second-level cache while another one is worked on: a batch's values are larger
// than that cache, and a gradient that meets them first would wait for memory line by line.
void Plan::fetch_ahead(const Tensor& tensor, Index n) const {
#if defined(__GNUC__)
    if (!tensor.used || tensor.per_thread) return;
    constexpr Index line = 16;             // floats
    constexpr Index most = 65536;          // floats of an image that leave room for the one at hand
    if (tensor.image > most) return;
    const float* const from = image(tensor, n, 0);
    for (Index i = 0; i < tensor.image; i += line) __builtin_prefetch(from + i, 0, 2);
#endif
}

void Plan::backward(int first, int last) {
    if (first < 0 || last > stage_count()) throw DescriptionError("no such stage");
    if (values_[0].in_place && input_ == nullptr) throw DescriptionError("nothing was started");
    for (int s = last - 1; s >= first; --s) {
        const Stage& stage = stages_[static_cast<std::size_t>(s)];
        if (!stage.by_image) {
            if (is_live(stage.operations[0]->node)) stage.operations[0]->backward_batch();
            continue;
        }
        const Index sums = engine.arrival_grain() > 0 && threads_ <= chunks ? backward_by_arrival(stage.operations)
                                                                           : backward_by_chunks(stage.operations);
        for (Operation* operation : stage.operations)
            if (is_live(operation->node)) operation->add_up(sums);
    }
}

// Images in fixed groups, each summed in order: the same bits whichever thread takes a group.
Index Plan::backward_by_chunks(const std::vector<Operation*>& operations) {
    const Index used_chunks = std::min(chunks, batch_);
    parallel_for(threads_, used_chunks, 1, [&](Index chunk, int thread) {
        const Index begin = batch_ * chunk / used_chunks, end = batch_ * (chunk + 1) / used_chunks;
        for (Index n = end - 1; n >= begin; --n)  // the last one forward is still in the cache
            for (std::size_t i = operations.size(); i-- > 0;) {
                if (!is_live(operations[i]->node)) continue;
                if (n > begin) fetch_ahead(value(operations[i]->input), n - 1);
                operations[i]->backward(n, thread, chunk, n == end - 1);
            }
        for (Operation* operation : operations)
            if (is_live(operation->node)) operation->end_chunk(thread, chunk);
    });
    return used_chunks;
}

LossResult Plan::step(const std::int64_t* labels, const float* targets, float weight) {
    if (!by_example_) {
        forward(0, stage_count());
        const LossResult result = loss(labels, targets, weight);
        backward(0, stage_count());
        return result;
    }
    if (input_ == nullptr) throw DescriptionError("nothing was started");
    stepping_ = true;
    const Index used_chunks = std::min(chunks, batch_);
    std::vector<ExampleLoss> losses(static_cast<std::size_t>(batch_));
    parallel_for(threads_, used_chunks, 1, [&](Index chunk, int thread) {
        const Index begin = batch_ * chunk / used_chunks, end = batch_ * (chunk + 1) / used_chunks;
        for (Index n = end - 1; n >= begin; --n) {  // the order of backward_by_chunks: the same sums
            for (const auto& operation : operations_) operation->forward(n, thread);
            losses[static_cast<std::size_t>(n)] = loss_of(n, labels, targets, weight);
            for (std::size_t i = operations_.size(); i-- > 0;)
                if (is_live(operations_[i]->node)) operations_[i]->backward(n, thread, chunk, n == end - 1);
        }
        for (const auto& operation : operations_)
            if (is_live(operation->node)) operation->end_chunk(thread, chunk);
    });
    for (std::size_t i = operations_.size(); i-- > 0;) {
        Operation& operation = *operations_[i];
        if (!is_live(operation.node)) continue;
        operation.by_image() ? operation.add_up(used_chunks) : operation.finish_batch();
    }
    return total(losses, weight);
}

// One sum for every thread, of the images that it happens to get.
Index Plan::backward_by_arrival(const std::vector<Operation*>& operations) {
    std::vector<Index> sum_of(static_cast<std::size_t>(threads_), -1);
    std::atomic<Index> sums{0};
    parallel_for(threads_, batch_, engine.arrival_grain(), [&](Index i, int thread) {
        Index& sum = sum_of[static_cast<std::size_t>(thread)];
        const bool first = sum < 0;
        if (first) sum = sums.fetch_add(1);
        for (std::size_t at = operations.size(); at-- > 0;)
            if (is_live(operations[at]->node)) operations[at]->backward(batch_ - 1 - i, thread, sum, first);
    });
    for (std::size_t thread = 0; thread < sum_of.size(); ++thread)
        for (Operation* operation : operations)
            if (sum_of[thread] >= 0 && is_live(operation->node)) operation->end_chunk(static_cast<int>(thread), sum_of[thread]);
    return sums.load();
}

LossResult Plan::loss(const std::int64_t* labels, const float* targets, float weight) {
    std::vector<ExampleLoss> losses(static_cast<std::size_t>(batch_));
    parallel_for(threads_, batch_, 8, [&](Index n, int) {
        losses[static_cast<std::size_t>(n)] = loss_of(n, labels, targets, weight);
    });
    return total(losses, weight);
}

// One image's loss, and its gradient into that of the last node's output.
Plan::ExampleLoss Plan::loss_of(Index n, const std::int64_t* labels, const float* targets, float weight) const {
    const int node = static_cast<int>(engine.nodes().size()) - 1;
    const Tensor& y = value(node);
    const Tensor& dy = gradient(node);
    const Index positions = y.size[0] * y.size[1] * y.size[2];
    ExampleLoss result;
    for (Index p = 0; p < positions; ++p) {
        const Index w = p % y.size[2], h = p / y.size[2] % y.size[1], d = p / (y.size[2] * y.size[1]);
        const float* const z = image(y, n, 0) + y.origin + d * y.step[0] + h * y.step[1] + w * y.step[2];
        float* const dz = dy.used ? image(dy, n, 0) + dy.origin + d * dy.step[0] + h * dy.step[1] + w * dy.step[2] : nullptr;
        Index best = 0;
        for (Index k = 1; k < y.channels; ++k)
            if (z[k] > z[best]) best = k;
        if (labels) {
            const Index right = labels[n * positions + p];
            float total = 0;
            for (Index k = 0; k < y.channels; ++k) {
                const float power = std::exp(z[k] - z[best]);
                total += power;
                if (dz) dz[k] = power;
            }
            result.loss += std::log(static_cast<double>(total)) - static_cast<double>(z[right] - z[best]);
            if (dz)
                for (Index k = 0; k < y.channels; ++k)
                    dz[k] = (dz[k] / total - (k == right ? 1.0f : 0.0f)) * weight;
            result.correct += best == right;
        } else {
            Index wanted = 0;
            const float* const target = targets + n * y.channels * positions + p;
            for (Index k = 0; k < y.channels; ++k) {
                const float difference = z[k] - target[k * positions];
                if (target[k * positions] > target[wanted * positions]) wanted = k;
                result.loss += 0.5 * static_cast<double>(difference) * static_cast<double>(difference);
                if (dz) dz[k] = difference * weight;
            }
            result.correct += best == wanted;
        }
    }
    return result;
}

LossResult Plan::total(const std::vector<ExampleLoss>& losses, float weight) {
    LossResult result;
    for (const ExampleLoss& example : losses) {
        result.loss += example.loss;
        result.correct += example.correct;
    }
    result.loss *= static_cast<double>(weight);
    return result;
}

bool Plan::is_materialised(int node) const {
    const std::size_t tensor = static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(node)]);
    if (values_[tensor].in_place && input_ == nullptr) return false;  // the caller's array is gone
    return materialised_[tensor] && !values_[tensor].per_thread && !(values_[tensor].passing && stepping_);
}

bool Plan::has_gradient(int node) const {
    const std::size_t tensor = static_cast<std::size_t>(tensor_of_[static_cast<std::size_t>(node)]);
    return gradients_[tensor].used && !gradients_[tensor].per_thread && live_[static_cast<std::size_t>(node)];
}

bool Plan::accumulates(int consumer, int node) const {
    const auto& inputs = engine.nodes()[static_cast<std::size_t>(consumer)].inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i] == node && i < accumulate_[static_cast<std::size_t>(consumer)].size())
            return accumulate_[static_cast<std::size_t>(consumer)][i];
    throw DescriptionError("the node is no input of that consumer");
}

void Plan::read_value(int node, float* to) const {
    if (!is_materialised(node)) throw DescriptionError("the value of this node is not kept");
    const Tensor& tensor = value(node);
    const Index count = engine.nodes()[static_cast<std::size_t>(node)].shape.count();
    for (Index n = 0; n < batch_; ++n) copy_from_pixels(image(tensor, n, 0), tensor, to + n * count);
}

void Plan::write_value(int node, const float* from) {
    const Tensor& tensor = value(node);
    if (!is_materialised(node) || tensor.in_place) throw DescriptionError("the value of this node is not kept");
    const Index count = engine.nodes()[static_cast<std::size_t>(node)].shape.count();
    for (Index n = 0; n < batch_; ++n) copy_to_pixels(from + n * count, tensor, image(tensor, n, 0));
}

void Plan::read_gradient(int node, float* to) const {
    if (!has_gradient(node)) throw DescriptionError("the gradient of this node is not kept");
    const Tensor& tensor = gradient(node);
    const Index count = engine.nodes()[static_cast<std::size_t>(node)].shape.count();
    for (Index n = 0; n < batch_; ++n) copy_from_pixels(image(tensor, n, 0), tensor, to + n * count);
}

void Plan::write_gradient(int node, const float* from, bool accumulate) {
    const Tensor& tensor = gradient(node);
    if (!tensor.used || tensor.per_thread) throw DescriptionError("the gradient of this node is not kept");
    const Index count = engine.nodes()[static_cast<std::size_t>(node)].shape.count();
    for (Index n = 0; n < batch_; ++n)
        (accumulate ? add_to_pixels : copy_to_pixels)(from + n * count, tensor, image(tensor, n, 0));
}

}  // namespace tatami
