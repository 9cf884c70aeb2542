// Dense layers in a plan: matrix products over the whole batch, cut into tiles that one thread computes each.
//
// A dense layer reads the map in front of it where it lies: the features of an image are the segments of one "pixel" whose
// neighbours are the other images, and the weights are kept in that order. Flatten costs nothing.
//
//   forward          y(n, u)  = bias(u) + sum over features f of x(n, f) · weight(f, u)        tiles: images × panel of units
//   weight gradient  dw(f, u) = sum over images n of x(n, f) · dy(n, u)                        tiles: features × panel of units
//   input gradient   dx(n, f) = sum over units u of dy(n, u) · weight(f, u)                    tiles: images × panel of features
//
// A convolution whose only window is the whole input is the same thing and runs here, too. A fused activation is applied to a
// tile of outputs while it is in the first-level cache; where its derivative looks at what went in, that is kept beside it.
//
// The last one needs the weights with features side by side: a transposed copy, renewed after every update. Both gradients
// are independent of each other and shared out together. A training step without a limit on the gradients' norm moves a tile
// of weights as soon as its gradient is complete, while both are still in the first-level cache; nothing reads the weights
// themselves any more in that step.
//
// With bf16 (`pairs`) the operands are copied into the words that pairs.hpp describes: images with their features, or units,
// in pairs; weights with their rows in pairs; and for the weight gradient two images in each word.
#include <algorithm>

#include "plan.hpp"

namespace tatami {

namespace {

class Dense : public Operation {
public:
    Dense(Plan& owner, const Fused& with)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(with.first)].inputs[0], with.output),
          fused(with),
          dense(with.first),
          units(owner.engine.nodes()[static_cast<std::size_t>(dense)].shape.channels),
          bias(owner.engine.nodes()[static_cast<std::size_t>(dense)].bias),
          curve(fused_curve(owner.engine, with)),
          pairs(uses_pairs(owner.engine, dense)),
          lanes(owner.kernels.lanes) {}

    bool by_image() const override { return false; }
    std::string describe() const override {
        return std::string("dense") + (bias ? " + bias" : "") + describe_fused(plan.engine, fused) + (pairs ? ", bf16" : "") +
               (plan.by_example() ? ", image by image" : "");
    }
    // Weights that every image can read again from the first-level cache without being noticed.
    bool by_example() const override { return !pairs && plan.parameter(dense, 0).padded <= 8192; }

    void prepare() override {
        const Tensor& x = plan.value(input);
        for (Index d = 0; d < x.size[0]; ++d)
            for (Index h = 0; h < x.size[1]; ++h)
                for (Index w = 0; w < x.size[2]; ++w) {
                    const Index offset = x.origin + d * x.step[0] + h * x.step[1] + w * x.step[2];
                    if (!segments.empty() && segments.back().offset + segments.back().length == offset)
                        segments.back().length += x.channels;
                    else
                        segments.push_back({offset, x.channels});
                }
        Index row = 0;
        for (const Segment& segment : segments) {
            for (Index at = 0; at < segment.length; at += block_rows)
                blocks.push_back({segment.offset + at, row + at, std::min(block_rows, segment.length - at)});
            row += segment.length;
        }
        features = row;
        before = reserve_before(curve);
        if (pairs) prepare_pairs();
        if (plan.trains()) plan.need_scratch(block_rows * 2 * lanes);
        if (!plan.trains() || !wants_input_gradient) return;
        // Runs of dx without a gap: one per line, or a single one where no border separates the lines.
        const Tensor& dx = plan.gradient(input);
        for (Index d = 0; d < dx.size[0]; ++d)
            for (Index h = 0; h < dx.size[1]; ++h) {
                const Index offset = dx.origin + d * dx.step[0] + h * dx.step[1];
                const Index length = dx.size[2] * dx.stride;
                if (!runs.empty() && runs.back().offset + runs.back().length == offset)
                    runs.back().length += length;
                else
                    runs.push_back({offset, length});
            }
        const Index width = 2 * lanes;
        Index floats = 0, words = 0;
        for (const Segment& run : runs)
            for (Index at = 0; at < run.length; at += width) {
                const Index columns = std::min(width, run.length - at);
                const int vectors = columns > lanes ? 2 : 1;
                columns_of_dx.push_back({run.offset + at, floats, words, vectors});
                floats += units * vectors * lanes;
                words += (units + 1) / 2 * vectors * lanes;
            }
        if (pairs) transposed_pairs = plan.reserve(words);
        transposed = plan.reserve(floats);
        // Which rows of the weight matrix stand at which columns.
        for (Index d = 0, tap = 0; d < dx.size[0]; ++d)
            for (Index h = 0; h < dx.size[1]; ++h)
                for (Index w = 0; w < dx.size[2]; ++w, ++tap) {
                    const Index offset = dx.origin + d * dx.step[0] + h * dx.step[1] + w * dx.step[2];
                    add_piece(tap * dx.channels, offset, dx.channels);
                }
    }

    void pack() override {
        if (pairs) pack_weight_pairs();
        if (!plan.trains() || !wants_input_gradient) return;
        const float* const weight = plan.weights(dense, 0, "weight");
        const Index count = static_cast<Index>(pieces.size());
        parallel_for(plan.running_threads(), count, 1, [&](Index i, int) {
            const Piece& piece = pieces[static_cast<std::size_t>(i)];
            const Column& column = columns_of_dx[static_cast<std::size_t>(piece.column)];
            const Index to_width = column.vectors * lanes;
            for (const Panel& panel : plan.panels(dense))
                plan.kernels.transpose(weight + panel.weight + piece.row * panel.vectors * lanes, panel.vectors * lanes,
                                       plan.arena() + transposed + column.weight + panel.first * to_width + piece.lane,
                                       to_width, piece.count, panel.columns);
        });
        if (!pairs) return;
        parallel_for(plan.running_threads(), static_cast<Index>(columns_of_dx.size()), 1, [&](Index i, int) {
            const Column& column = columns_of_dx[static_cast<std::size_t>(i)];
            const Index width = column.vectors * lanes;
            plan.kernels.pack_row_pairs(plan.arena() + transposed + column.weight, width, units,
                                        plan.arena() + transposed_pairs + column.words, width, width);
        });
    }

    void forward_batch() override {
        const auto& panels = plan.panels(dense);
        const Index row_blocks = (plan.batch() + images - 1) / images;
        if (pairs) pack_features();
        const Index count = row_blocks * static_cast<Index>(panels.size());
        parallel_for(plan.running_threads(), count, 1, [&](Index i, int) {
            forward_tile(panels[static_cast<std::size_t>(i / row_blocks)], i % row_blocks * images, images);
        });
    }

    void backward_batch() override {
        const Tensor& dy = plan.gradient(node);
        if (curve)
            parallel_for(plan.running_threads(), plan.batch(), 16,
                         [&](Index n, int) { through_activation(*curve, before, n, 0, plan.image(dy, n, 0)); });
        if (pairs) pack_gradients(dy);
        const Index image_blocks = (plan.batch() + images - 1) / images;
        gradients(dy, wants_input_gradient ? image_blocks * static_cast<Index>(columns_of_dx.size()) : 0);
    }

    // One image; its share of the weight gradient waits for the others.
    void forward(Index n, int) override {
        for (const Panel& panel : plan.panels(dense)) forward_tile(panel, n, 1);
    }
    void backward(Index n, int, Index, bool) override {
        const Tensor& dy = plan.gradient(node);
        if (curve) through_activation(*curve, before, n, 0, plan.image(dy, n, 0));
        if (!wants_input_gradient) return;
        for (const Column& column : columns_of_dx) input_gradient(dy, column, n, 1);
    }
    void finish_batch() override { gradients(plan.gradient(node), 0); }

private:
    // Images n, n + 1, …, at most so many, × one panel of units.
    void forward_tile(const Panel& panel, Index n, Index most) {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        const Segment all_features{0, feature_words};
        CorrelateRow row{};
        if (pairs) {
            row.input = plan.arena() + feature_pairs + n * feature_stride;
            row.input_stride = feature_stride;
            row.segments = &all_features;
            row.segment_count = 1;
            row.weight = plan.arena() + weight_pairs + panel.first * feature_words;
        } else {
            row.input = plan.image(x, n, 0);
            row.input_stride = x.image;
            row.segments = segments.data();
            row.segment_count = static_cast<Index>(segments.size());
            row.weight = plan.weights(dense, 0, "weight") + panel.weight;
        }
        row.bias = plan.weights(dense, 0, "bias") + panel.first;
        const Tensor& sums = before ? *before : y;
        row.output = plan.image(sums, n, 0) + sums.origin + panel.first;
        row.output_stride = sums.image;
        row.pixels = std::min(most, plan.batch() - n);
        row.vectors = panel.vectors;
        row.columns = panel.vectors * lanes;
        row.relu = is_relu(curve);
        (pairs ? plan.kernels.correlate_pairs : plan.kernels.correlate)(row);
        if (curve == nullptr || row.relu) return;
        plan.kernels.curve_pixels({*curve, row.output, row.output_stride, plan.image(y, n, 0) + y.origin + panel.first, y.image,
                                   row.pixels, row.columns});
    }

    // What remains of the backward pass once dy has gone through the activation; `inputs`: tiles of the input gradient.
    void gradients(const Tensor& dy, Index inputs) {
        const Index image_blocks = (plan.batch() + images - 1) / images;
        const Index tiles = static_cast<Index>(blocks.size() * plan.panels(dense).size());
        const Index both = inputs + tiles;
        parallel_for(plan.running_threads(), both + (bias ? 1 : 0), 1, [&](Index i, int thread) {
            if (i == both) return bias_gradient(dy);
            // Evenly mixed, so that the threads' shares are alike.
            const Index tile = i * tiles / both, next = (i + 1) * tiles / both;
            if (tile < next) return weight_gradient(dy, tile, thread);
            const Index piece = i - tile;
            input_gradient(dy, columns_of_dx[static_cast<std::size_t>(piece / image_blocks)], piece % image_blocks * images, images);
        });
        if (plan.update()) plan.mark_updated(dense);
    }

    struct Block {
        Index offset, row, rows;
    };
    struct Column {  // one panel of dx
        Index offset, weight, words;
        int vectors;
    };
    struct Piece {  // consecutive rows of the weight matrix that stand side by side in one panel of dx
        Index row, lane, count;
        Index column;
    };

    void add_piece(Index row, Index offset, Index count) {
        std::size_t column = pieces.empty() ? 0 : static_cast<std::size_t>(pieces.back().column);
        while (count > 0) {
            while (columns_of_dx[column].offset + columns_of_dx[column].vectors * lanes <= offset) ++column;
            const Index lane = offset - columns_of_dx[column].offset;
            const Index some = std::min(count, columns_of_dx[column].vectors * lanes - lane);
            Piece* const last = pieces.empty() ? nullptr : &pieces.back();
            if (last && last->column == static_cast<Index>(column) && last->row + last->count == row &&
                last->lane + last->count == lane)
                last->count += some;
            else
                pieces.push_back({row, lane, some, static_cast<Index>(column)});
            row += some;
            offset += some;
            count -= some;
        }
    }

    void prepare_pairs() {
        const Tensor& x = plan.value(input);
        const Tensor& dy = plan.gradient(node);
        const Index image_count = plan.capacity(), pair_count = (plan.capacity() + 1) / 2;
        feature_words = (features + 1) / 2;
        feature_stride = round_up(feature_words, 16);
        feature_pairs = plan.reserve(multiply_sizes({feature_stride, image_count}));
        weight_pairs = plan.reserve(multiply_sizes({feature_words, round_up(units, lanes)}));
        if (!plan.trains()) return;
        image_pairs = plan.reserve(multiply_sizes({x.image, pair_count}));
        gradient_pairs = plan.reserve(multiply_sizes({dy.image, pair_count}));
        if (!wants_input_gradient) return;
        unit_words = (units + 1) / 2;
        unit_stride = round_up(unit_words, 16);
        unit_pairs = plan.reserve(multiply_sizes({unit_stride, image_count}));
    }

    void pack_weight_pairs() {
        const float* const weight = plan.weights(dense, 0, "weight");
        const auto& panels = plan.panels(dense);
        const Index some = (features + block_rows - 1) / block_rows;
        parallel_for(plan.running_threads(), some * static_cast<Index>(panels.size()), 1, [&](Index i, int) {
            const Panel& panel = panels[static_cast<std::size_t>(i / some)];
            const Index row = i % some * block_rows, width = panel.vectors * lanes;  // block_rows is even
            plan.kernels.pack_row_pairs(weight + panel.weight + row * width, width, std::min(block_rows, features - row),
                                        plan.arena() + weight_pairs + panel.first * feature_words + row / 2 * width, width,
                                        width);
        });
    }

    void pack_features() {
        const Tensor& x = plan.value(input);
        parallel_for(plan.running_threads(), plan.batch(), 4, [&](Index n, int) {
            std::uint16_t* const to = reinterpret_cast<std::uint16_t*>(plan.arena() + feature_pairs + n * feature_stride);
            Index at = 0;
            for (const Segment& segment : segments) {
                plan.kernels.narrow(plan.image(x, n, 0) + segment.offset, to + at, segment.length);
                at += segment.length;
            }
            if (at % 2 != 0) to[at] = 0;
        });
    }

    // dy rounded in place, for the bias; its units in pairs; and two images of x and of dy in each word.
    void pack_gradients(const Tensor& dy) {
        const Tensor& x = plan.value(input);
        parallel_for(plan.running_threads(), (plan.batch() + 1) / 2, 2, [&](Index pair, int) {
            const Index first = 2 * pair, second = first + 1;
            const bool both = second < plan.batch();
            for (Index n = first; n <= (both ? second : first); ++n) {
                float* const gradient = plan.image(dy, n, 0);
                plan.kernels.round_floats(gradient, dy.image);
                if (!wants_input_gradient) continue;
                auto* const to = reinterpret_cast<std::uint16_t*>(plan.arena() + unit_pairs + n * unit_stride);
                plan.kernels.narrow(gradient + dy.origin, to, units);
                if (units % 2 != 0) to[units] = 0;
            }
            plan.kernels.pack_pairs(plan.image(x, first, 0), both ? plan.image(x, second, 0) : nullptr,
                                    plan.arena() + image_pairs + pair * x.image, x.image);
            plan.kernels.pack_pairs(plan.image(dy, first, 0), both ? plan.image(dy, second, 0) : nullptr,
                                    plan.arena() + gradient_pairs + pair * dy.image, dy.image);
        });
    }

    // One block of features × one panel of units, and their step. The tiles stand panel by panel, as in the forward pass: the
    // processor that moves a weight is the one that reads it next.
    void weight_gradient(const Tensor& dy, Index tile, int thread) {
        const Tensor& x = plan.value(input);
        const auto& panels = plan.panels(dense);
        const Block& block = blocks[static_cast<std::size_t>(tile) % blocks.size()];
        const Panel& panel = panels[static_cast<std::size_t>(tile) / blocks.size()];
        const Index width = panel.vectors * lanes, at = panel.weight + block.row * width;
        WeightGradient job{};
        job.input = (pairs ? plan.arena() + image_pairs : plan.image(x, 0, 0)) + block.offset;
        job.input_stride = x.image;
        job.dy = (pairs ? plan.arena() + gradient_pairs : plan.image(dy, 0, 0)) + dy.origin + panel.first;
        job.dy_stride = dy.image;
        job.pixels = pairs ? (plan.batch() + 1) / 2 : plan.batch();
        job.lines = 1;
        job.rows = block.rows;
        job.vectors = panel.vectors;
        job.columns = static_cast<int>(panel.columns);
        // Weights that move at once are all that needs their gradient: it stays in the first-level cache.
        job.dweight = plan.update() ? plan.scratch(thread) : plan.weights(dense, 1, "weight") + at;
        (pairs ? plan.kernels.weight_gradient_of_pairs : plan.kernels.weight_gradient)(job);
        if (plan.update())
            plan.engine.update_piece(*plan.update(), plan.parameter(dense, 0), at, block.rows * width, job.dweight);
    }

    void bias_gradient(const Tensor& dy) {
        plan.kernels.column_sums(plan.image(dy, 0, 0) + dy.origin, dy.image, 0, plan.batch(), 1, dy.stride,
                                 plan.weights(dense, 1, "bias"), false);
        const Parameter& parameter = plan.parameter(dense, 1);
        if (plan.update())
            plan.engine.update_piece(*plan.update(), parameter, 0, parameter.padded, plan.weights(dense, 1, "bias"));
    }

    // Images n, n + 1, …, at most so many, × one panel of features.
    void input_gradient(const Tensor& dy, const Column& column, Index n, Index most) {
        const Tensor& dx = plan.gradient(input);
        const Segment all_units{0, pairs ? unit_words : units};
        CorrelateRow row{};
        row.input = pairs ? plan.arena() + unit_pairs + n * unit_stride : plan.image(dy, n, 0) + dy.origin;
        row.input_stride = pairs ? unit_stride : dy.image;
        row.segments = &all_units;
        row.segment_count = 1;
        row.weight = plan.arena() + (pairs ? transposed_pairs + column.words : transposed + column.weight);
        row.output = plan.image(dx, n, 0) + column.offset;
        row.output_stride = dx.image;
        row.pixels = std::min(most, plan.batch() - n);
        row.vectors = column.vectors;
        row.columns = column.vectors * lanes;
        row.accumulate = accumulate_input;
        (pairs ? plan.kernels.correlate_pairs : plan.kernels.correlate)(row);
    }

    static constexpr Index images = 28;       // of one tile of work: two register tiles
    static constexpr Index block_rows = 112;  // features of one tile of the weight gradient
    const Fused fused;
    const int dense;
    const Index units;
    const bool bias;
    const Curve* const curve;  // of the fused activation
    const Tensor* before = nullptr;
    const bool pairs;
    const int lanes;
    std::vector<Segment> segments, runs;
    std::vector<Block> blocks;
    std::vector<Column> columns_of_dx;
    std::vector<Piece> pieces;
    Index transposed = 0;
    Index features = 0, feature_words = 0, feature_stride = 0, unit_words = 0, unit_stride = 0;
    Index feature_pairs = 0, unit_pairs = 0, weight_pairs = 0, transposed_pairs = 0;  // places in the arena
    Index image_pairs = 0, gradient_pairs = 0;
};

}  // namespace

std::unique_ptr<Operation> make_dense(Plan& plan, const Fused& fused) {
    return std::make_unique<Dense>(plan, fused);
}

}  // namespace tatami
