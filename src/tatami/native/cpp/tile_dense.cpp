// Dense layers with bf16 operands on tile registers: the products of dense.cpp, over the whole batch.
//
//   forward          images × features, features in pairs × units       one piece of work: 32 images × 32 units
//   input gradient   images × units, units in pairs × features          32 images × up to 32 features that lie side by side
//   weight gradient  features × images, images in pairs × units         128 features × all units
//
// Images and dy are copied into numbers once for each pass. The weight gradient's left factors are the batch transposed: every
// feature a row of images.
#include <cstring>

#include "tile_plan.hpp"

namespace tatami {

namespace {

class TileDense : public Operation {
public:
    TileDense(Plan& owner, const Fused& with)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(with.first)].inputs[0], with.output),
          fused(with),
          dense(with.first),
          units(owner.engine.nodes()[static_cast<std::size_t>(dense)].shape.channels),
          bias(owner.engine.nodes()[static_cast<std::size_t>(dense)].bias),
          curve(fused_curve(owner.engine, with)),
          tiles(*owner.kernels.tiles),
          factors(owner.engine.products()),
          lanes(owner.kernels.lanes) {}

    bool by_image() const override { return false; }
    std::string describe() const override {
        return std::string("dense") + (bias ? " + bias" : "") + describe_fused(plan.engine, fused) +
               (factors == 3 ? ", bf16 × 3, tiles" : ", bf16, tiles");
    }

    void prepare() override {
        const Tensor& x = plan.value(input);
        Index feature = 0;
        for (Index d = 0; d < x.size[0]; ++d)
            for (Index h = 0; h < x.size[1]; ++h)
                for (Index w = 0; w < x.size[2]; ++w) {
                    const Index offset = x.origin + d * x.step[0] + h * x.step[1] + w * x.step[2];
                    add_run(x_runs, feature, offset, x.channels);
                    if (plan.trains() && wants_input_gradient) {
                        const Tensor& dx = plan.gradient(input);
                        add_run(dx_runs, feature, dx.origin + d * dx.step[0] + h * dx.step[1] + w * dx.step[2], dx.channels);
                    }
                    feature += x.channels;
                }
        features = feature;
        before = reserve_before(curve);
        most_images = round_to(plan.capacity(), 2 * tile_side);
        feature_numbers = numbers_of(features);
        feature_memory = plan.reserve(multiply_sizes({most_images, feature_numbers, part_count()}) / 2);
        forward_window = window_of(feature_numbers, most_images * feature_numbers);
        forward_window.weight = plan.reserve(multiply_sizes({blocks_of(units), factors, forward_window.depth, tile_side}));
        plan.need_scratch(std::max(strip_floats(image_block), feature_block / tile_side * 2 * tile_square));
        if (!plan.trains()) return;
        unit_numbers = numbers_of(units);
        image_row = row_numbers(most_images);
        rows_floats = multiply_sizes({round_to(features, tile_side), image_row}) / 2;
        rows_memory = plan.reserve(multiply_sizes({rows_floats, part_count()}));
        pairs_floats = multiply_sizes({blocks_of(units), most_images / tile_numbers, tile_square});
        pairs_memory = plan.reserve(multiply_sizes({pairs_floats, part_count()}));
        if (!wants_input_gradient) return;
        unit_memory = plan.reserve(multiply_sizes({most_images, unit_numbers, part_count()}) / 2);
        backward_window = window_of(unit_numbers, most_images * unit_numbers);
        for (const Run& run : dx_runs)
            for (Index at = 0; at < run.length; at += tile_side)
                columns.push_back({run.feature + at, run.offset + at, std::min(tile_side, run.length - at)});
        backward_window.weight = plan.reserve(multiply_sizes(
            {static_cast<Index>(columns.size()), factors, backward_window.depth, tile_side}));
        // Two blocks at a time where the second follows the first.
        for (std::size_t i = 0; i < columns.size();) {
            const bool two = i + 1 < columns.size() && columns[i].length == tile_side &&
                             columns[i + 1].offset == columns[i].offset + tile_side;
            pieces.push_back({static_cast<Index>(i), columns[i].length + (two ? columns[i + 1].length : 0)});
            i += two ? 2 : 1;
        }
    }

    void pack() override {
        pack_forward();
        if (plan.trains() && wants_input_gradient) pack_transposed();
    }

    void forward_batch() override {
        const Tensor& y = plan.value(node);
        copy_features();
        const Index row_blocks = (plan.batch() + image_block - 1) / image_block, panels = (units + 31) / 32;
        parallel_for(plan.running_threads(), row_blocks * panels, 1, [&](Index i, int thread) {
            const Index first = i / row_blocks * 32, n = i % row_blocks * image_block;
            TileCorrelation job = product(forward_window, feature_memory, feature_numbers, n, thread);
            job.weight = plan.arena() + forward_window.weight + first * factors * forward_window.depth;
            job.columns = std::min<Index>(32, units - first);
            job.bias = bias ? plan.weights(dense, 0, "bias") + first : nullptr;
            const Tensor& sums = before ? *before : y;
            job.output = plan.image(sums, n, 0) + sums.origin + first;
            job.output_pixel = sums.image;
            job.relu = is_relu(curve);
            tiles.correlate(job);
            if (curve == nullptr || job.relu) return;
            plan.kernels.curve_pixels({*curve, job.output, job.output_pixel, plan.image(y, n, 0) + y.origin + first, y.image,
                                       job.width, job.columns});
        });
    }

    void backward_batch() override {
        const Tensor& dy = plan.gradient(node);
        parallel_for(plan.running_threads(), plan.batch(), 16, [&](Index n, int) {
            float* const line = plan.image(dy, n, 0) + dy.origin;
            if (curve) through_activation(*curve, before, n, 0, plan.image(dy, n, 0));
            if (factors == 1) plan.kernels.round_floats(line, dy.stride);
            if (wants_input_gradient) copy_row(line, units, n, unit_memory, unit_numbers);
        });
        weight_gradient(dy);
        if (wants_input_gradient) input_gradient();
    }

private:
    struct Run {
        Index feature, offset, length;
    };
    struct Column {  // features that stand side by side in dx, at most 16
        Index feature, offset, length;
    };
    struct Piece {
        Index column, length;
    };

    static void add_run(std::vector<Run>& runs, Index feature, Index offset, Index length) {
        if (!runs.empty() && runs.back().offset + runs.back().length == offset)
            runs.back().length += length;
        else
            runs.push_back({feature, offset, length});
    }

    // Numbers reserved for a row of factors: whole products, zeros behind the last factor.
    static Index numbers_of(Index count) {
        return count > tile_numbers ? round_to(count, tile_numbers) : round_to(count, 2);
    }

    Index part_count() const { return factors == 3 ? 2 : 1; }

    TileWindow window_of(Index numbers, Index rest) const { return tile_window({{0, 0}}, numbers / 2, false, factors, rest); }

    std::uint16_t* numbers_at(Index memory) const { return reinterpret_cast<std::uint16_t*>(plan.arena() + memory); }

    // Row n of the left factors.
    void copy_row(const float* from, Index count, Index n, Index memory, Index numbers) const {
        for (Index part = 0; part < part_count(); ++part)
            copy_run(from, count, numbers_at(memory) + (part * most_images + n) * numbers, part == 1);
    }

    void copy_run(const float* from, Index count, std::uint16_t* to, bool rest) const {
        NumbersOfPixels job{};
        job.from = from;
        job.pixels = job.groups = 1;
        job.channels = count;
        job.to = to;
        job.rest = rest;
        tiles.numbers_of_pixels(job);
    }

    void copy_features() const {
        const Tensor& x = plan.value(input);
        parallel_for(plan.running_threads(), plan.batch(), 4, [&](Index n, int) {
            for (Index part = 0; part < part_count(); ++part)
                for (const Run& run : x_runs)
                    copy_run(plan.image(x, n, 0) + run.offset, run.length,
                             numbers_at(feature_memory) + (part * most_images + n) * feature_numbers + run.feature, part == 1);
        });
    }

    // Up to 32 images, from image n on.
    TileCorrelation product(const TileWindow& window, Index memory, Index numbers, Index n, int thread) const {
        TileCorrelation job{};
        job.input = numbers_at(memory) + n * numbers;
        job.pixel = numbers;
        job.offsets = window.offsets.data();
        job.segments = static_cast<Index>(window.offsets.size());
        job.steps = window.steps;
        job.words = window.words;
        job.height = job.lines = 1;
        job.width = std::min(image_block, plan.batch() - n);
        job.strip = plan.scratch(thread);
        return job;
    }

    void pack_forward() {
        const auto& panels = plan.panels(dense);
        parallel_for(plan.running_threads(), static_cast<Index>(panels.size()), 1, [&](Index i, int) {
            const Panel& panel = panels[static_cast<std::size_t>(i)];
            const Index width = panel.vectors * lanes;
            for (Index at = 0; at < panel.columns; at += tile_side) {
                const Index unit = panel.first + at;
                float* const block = plan.arena() + forward_window.weight +
                                     unit / tile_side * factors * forward_window.depth * tile_side + unit % tile_side;
                for (Index factor = 0; factor < factors; ++factor)
                    tiles.pairs_of_rows(plan.weights(dense, 0, "weight") + panel.weight + at, width, features,
                                        block + factor * forward_window.depth * tile_side, std::min(tile_side, panel.columns - at),
                                        right_is_rest(factor, factors));
            }
        });
    }

    void pack_transposed() {
        parallel_for(plan.running_threads(), static_cast<Index>(columns.size()), 1, [&](Index i, int) {
            const Column& column = columns[static_cast<std::size_t>(i)];
            std::vector<float> turned(static_cast<std::size_t>(round_to(units, 64) * tile_side));
            for (const Panel& panel : plan.panels(dense))
                plan.kernels.transpose(plan.weights(dense, 0, "weight") + panel.weight + column.feature * panel.vectors * lanes,
                                       panel.vectors * lanes, turned.data() + panel.first * tile_side, tile_side, column.length,
                                       panel.columns);
            float* const block = plan.arena() + backward_window.weight + i * factors * backward_window.depth * tile_side;
            for (Index factor = 0; factor < factors; ++factor)
                tiles.pairs_of_rows(turned.data(), tile_side, units, block + factor * backward_window.depth * tile_side,
                                    column.length, right_is_rest(factor, factors));
        });
    }

    void input_gradient() {
        const Tensor& dx = plan.gradient(input);
        const Index row_blocks = (plan.batch() + image_block - 1) / image_block;
        parallel_for(plan.running_threads(), row_blocks * static_cast<Index>(pieces.size()), 1, [&](Index i, int thread) {
            const Piece& piece = pieces[static_cast<std::size_t>(i / row_blocks)];
            const Index n = i % row_blocks * image_block;
            TileCorrelation job = product(backward_window, unit_memory, unit_numbers, n, thread);
            job.weight = plan.arena() + backward_window.weight + piece.column * factors * backward_window.depth * tile_side;
            job.columns = piece.length;
            job.output = plan.image(dx, n, 0) + columns[static_cast<std::size_t>(piece.column)].offset;
            job.output_pixel = dx.image;
            job.accumulate = accumulate_input;
            tiles.correlate(job);
        });
    }

    // Products run over 32 images at a time: what an earlier, larger batch left behind the last image is cleared.
    void clear_behind() {
        const Index behind = filled_images - plan.batch();
        if (behind > 0)
            parallel_for(plan.running_threads(), features, 64, [&](Index feature, int) {
                for (Index part = 0; part < part_count(); ++part)
                    std::fill_n(numbers_at(rows_memory + part * rows_floats) + feature * image_row + plan.batch(), behind,
                                std::uint16_t{0});
            });
        filled_images = plan.batch();
    }

    void transpose_batch() {
        const Tensor& x = plan.value(input);
        constexpr Index some = 256;  // features of one piece of work
        std::vector<Run> work;
        for (const Run& run : x_runs)
            for (Index at = 0; at < run.length; at += some)
                work.push_back({run.feature + at, run.offset + at, std::min(some, run.length - at)});
        parallel_for(plan.running_threads(), static_cast<Index>(work.size()), 1, [&](Index i, int) {
            const Run& run = work[static_cast<std::size_t>(i)];
            for (Index part = 0; part < part_count(); ++part)
                tiles.numbers_of_rows(plan.image(x, 0, 0) + run.offset, x.image, plan.batch(), run.length,
                                      numbers_at(rows_memory + part * rows_floats) + run.feature * image_row, image_row, part == 1);
        });
    }

    void pair_gradient(const Tensor& dy, Index image_steps) {
        const Index block_floats = image_steps * tile_square;
        parallel_for(plan.running_threads(), blocks_of(units), 1, [&](Index block, int) {
            const Index first = block * tile_side, pairs = (plan.batch() + 1) / 2;
            for (Index part = 0; part < part_count(); ++part) {
                float* const to = plan.arena() + pairs_memory + part * pairs_floats + block * block_floats;
                std::fill(to + pairs * tile_side, to + block_floats, 0.0f);
                tiles.pairs_of_rows(plan.image(dy, 0, 0) + dy.origin + first, dy.image, plan.batch(), to,
                                    std::min(tile_side, units - first), part == 1);
            }
        });
    }

    void weight_gradient(const Tensor& dy) {
        const Index image_steps = (plan.batch() + tile_numbers - 1) / tile_numbers;
        clear_behind();
        transpose_batch();
        pair_gradient(dy, image_steps);
        parallel_for(plan.running_threads(), (features + feature_block - 1) / feature_block, 1, [&](Index i, int thread) {
            const Index first = i * feature_block, count = std::min(feature_block, features - first);
            // Whole blocks go straight into the gradient where its panels are as wide as two tiles, the rest through scratch.
            const Index whole = lanes == tile_side ? count / tile_side * tile_side : 0;
            for (const Panel& panel : plan.panels(dense)) {
                const Index width = panel.vectors * lanes;
                float* const to = plan.weights(dense, 1, "weight") + panel.weight + first * width;
                TileWeightGradient job = products_of(image_steps, panel.first);
                job.column_blocks = blocks_of(panel.columns);
                if (whole > 0) {
                    start_at(job, first, whole);
                    job.dweight = to;
                    job.row_stride = width;
                    job.column_block = tile_side;
                    job.row_block = tile_side * width;
                    tiles.weight_gradient(job);
                }
                if (whole < count) through_scratch(job, first + whole, count - whole, panel, to + whole * width, thread);
            }
        });
        if (bias)
            plan.kernels.column_sums(plan.image(dy, 0, 0) + dy.origin, dy.image, 0, plan.batch(), 1, dy.stride,
                                     plan.weights(dense, 1, "bias"), false);
    }

    TileWeightGradient products_of(Index image_steps, Index first_unit) const {
        static constexpr Index no_shift = 0;
        TileWeightGradient job{};
        job.factors = factors;
        job.row = image_row;
        job.shifts = &no_shift;
        job.taps = 1;
        job.steps = image_steps;
        job.dy_block = image_steps * tile_square;
        for (Index factor = 0; factor < factors; ++factor)
            job.dy[factor] = plan.arena() + pairs_memory + (right_is_rest(factor, factors) ? pairs_floats : 0) +
                             first_unit / tile_side * job.dy_block;
        return job;
    }

    void start_at(TileWeightGradient& job, Index feature, Index count) const {
        job.rows = count;
        for (Index factor = 0; factor < factors; ++factor)
            job.input[factor] =
                numbers_at(rows_memory + (left_is_rest(factor, factors) ? rows_floats : 0)) + feature * image_row;
    }

    void through_scratch(TileWeightGradient job, Index feature, Index count, const Panel& panel, float* to, int thread) const {
        const Index width = panel.vectors * lanes, column = panel.first % tile_side;
        start_at(job, feature, count);
        job.dweight = plan.scratch(thread);
        job.row_stride = tile_side;
        job.column_block = tile_square;
        job.row_block = job.column_blocks * tile_square;
        tiles.weight_gradient(job);
        for (Index r = 0; r < count; ++r)
            for (Index k = 0; k < panel.columns; k += tile_side)
                std::copy_n(job.dweight + r / tile_side * job.row_block + k / tile_side * tile_square + r % tile_side * tile_side +
                                column,
                            std::min(tile_side, panel.columns - k), to + r * width + k);
    }

    static constexpr Index image_block = 32;     // images of one piece of work
    static constexpr Index feature_block = 128;  // features of one piece of the weight gradient
    const Fused fused;
    const int dense;
    const Index units;
    const bool bias;
    const Curve* const curve;  // of the fused activation
    const Tensor* before = nullptr;
    const TileKernels& tiles;
    const Index factors;  // products of bf16 for one of floats
    const int lanes;
    std::vector<Run> x_runs, dx_runs;
    std::vector<Column> columns;
    std::vector<Piece> pieces;
    Index features = 0, most_images = 0, filled_images = 0;
    Index feature_numbers = 0, unit_numbers = 0, image_row = 0;
    TileWindow forward_window, backward_window;
    Index feature_memory = 0, unit_memory = 0, rows_memory = 0, pairs_memory = 0;  // places in the arena
    Index rows_floats = 0, pairs_floats = 0;
};

}  // namespace

std::unique_ptr<Operation> make_tile_dense(Plan& plan, const Fused& fused) {
    return std::make_unique<TileDense>(plan, fused);
}

}  // namespace tatami
