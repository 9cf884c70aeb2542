// Layers that read tokens, in a plan: rows of a table in their place, and the mask of where a sequence has steps.
//
// Forward, an image copies its rows. The gradient of a row is the sum over all places of its token, in the order of the
// examples and of the places within them: they are sorted by token first (counting sort, which keeps that order), and every
// row is then summed by one thread. That is a batch stage; partial sums for groups of images would need the whole table as
// many times as there are groups. Tokens that are no whole number within the vocabulary are refused before a batch gets
// here; called with them all the same, their vectors are NaN and they have no gradient.
#include <cmath>
#include <limits>
#include <vector>

#include "simple.hpp"

namespace tatami {

namespace {

class Embedding : public Simple {
public:
    using Simple::Simple;
    bool by_image() const override { return plan.mode == Mode::predict; }
    std::string describe() const override { return "embedding"; }

    void prepare() override {
        features = settings.shape.channels;
        places = positions_of(settings.shape.size);
        plan.need_scratch(places);
    }

    void forward(Index n, int thread) override {
        const Tensor& y = plan.value(node);
        const float* const table = plan.weights(node, 0, "weight");
        float* const tokens = plan.scratch(thread);
        copy_from_pixels(input_image(n, thread), plan.value(input), tokens);
        Index place = 0;
        for_each_line(y, [&](Index d, Index h) {
            for (Index w = 0; w < y.size[2]; ++w, ++place) {
                float* const to = output_image(n, thread) + line_offset(y, d, h) + w * y.step[2];
                const Index row = row_of(tokens[place]);
                if (plan.trains()) rows[static_cast<std::size_t>(n * places + place)] = row;
                if (row < 0)
                    std::fill_n(to, features, std::numeric_limits<float>::quiet_NaN());
                else
                    std::copy_n(table + row * features, features, to);
            }
        });
    }

    void forward_batch() override {
        rows.resize(static_cast<std::size_t>(plan.batch() * places));
        parallel_for(plan.running_threads(), plan.batch(), 1, [&](Index n, int thread) { forward(n, thread); });
    }

    void backward_batch() override {
        sort_places();
        const Tensor& dy = plan.gradient(node);
        float* const gradient = plan.weights(node, 1, "weight");
        parallel_for(plan.running_threads(), settings.vocabulary, 16, [&](Index row, int) {
            float* const sum = gradient + row * features;
            std::fill_n(sum, features, 0.0f);
            for (Index i = starts[static_cast<std::size_t>(row)]; i < starts[static_cast<std::size_t>(row + 1)]; ++i) {
                const Index at = sorted[static_cast<std::size_t>(i)], n = at / places, place = at % places;
                const Index w = place % dy.size[2], h = place / dy.size[2] % dy.size[1], d = place / (dy.size[2] * dy.size[1]);
                plan.kernels.add(plan.image(dy, n, 0) + line_offset(dy, d, h) + w * dy.step[2], sum, features);
            }
        });
        if (!wants_input_gradient) return;
        for (Index n = 0; n < plan.batch(); ++n) clear_input_gradient(n, 0);  // tokens are no quantities
    }

private:
    Index row_of(float token) const {
        const bool known = token >= 0.0f && token < static_cast<float>(settings.vocabulary) && token == std::floor(token);
        return known ? static_cast<Index>(token) : -1;
    }

    void sort_places() {
        starts.assign(static_cast<std::size_t>(settings.vocabulary + 1), 0);
        for (Index row : rows)
            if (row >= 0) ++starts[static_cast<std::size_t>(row + 1)];
        for (std::size_t row = 1; row < starts.size(); ++row) starts[row] += starts[row - 1];
        sorted.resize(rows.size());
        next.assign(starts.begin(), starts.end());
        for (std::size_t i = 0; i < rows.size(); ++i)
            if (rows[i] >= 0) sorted[static_cast<std::size_t>(next[static_cast<std::size_t>(rows[i])]++)] = static_cast<Index>(i);
    }

    Index features = 0, places = 0;
    std::vector<Index> rows, starts, next, sorted;
};

// 1 where an entry (or any feature of a step) differs from what sequences are padded with, else 0.
class PaddingMask : public Simple {
public:
    using Simple::Simple;
    std::string describe() const override { return "padding mask"; }

    void forward(Index n, int thread) override {
        const Tensor& x = plan.value(input);
        const float* const from = input_image(n, thread) + x.origin;
        float* const to = output_image(n, thread) + plan.value(node).origin;
        const bool tokens = node_of(plan, input).shape.flat;
        for (Index t = 0; t < settings.shape.channels; ++t) {
            bool present = false;
            for (Index c = 0; c < (tokens ? 1 : x.channels); ++c)
                present = present || from[tokens ? t : t * x.step[2] + c] != settings.constant;
            to[t] = present ? 1.0f : 0.0f;
        }
    }

    void backward(Index n, int thread, Index, bool) override {
        if (wants_input_gradient) clear_input_gradient(n, thread);
    }
};

}  // namespace

std::unique_ptr<Operation> make_embedding(Plan& plan, int node) { return std::make_unique<Embedding>(plan, node); }
std::unique_ptr<Operation> make_padding_mask(Plan& plan, int node) { return std::make_unique<PaddingMask>(plan, node); }

}  // namespace tatami
