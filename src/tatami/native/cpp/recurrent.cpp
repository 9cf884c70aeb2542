// A recurrent layer in a plan: RNN, LSTM or GRU over a sequence x(t), in one direction.
//
//   a(t) = W_in x(t) + b + W_state h(t - 1)        one product, over the row [h(t - 1), x(t)]
//   h(t) = cell(a(t), h(t - 1), …)                 recurrent.hpp, on the rows that the product has just written
//
// A GRU's proposal needs the two halves of its sum apart, so its products are: r and z over the whole row, n over x, past
// over h. The columns of a are the gates, each padded to whole vectors, and are cut into panels of two vectors, as in dense
// layers. The weights are kept in the order that people see, (gates · units, features), and copied into panels whenever they
// have changed, once for the way forth (row of [h, x] × panel of gates) and once for the way back (gate × panel of h or x).
//
// Blocks of images pass through all times, each block on one thread; a time step of a block is a product of some 28 rows, so
// that the weights, read from the second-level cache at every step, are used two register tiles long. Every image's sums run
// in the same order in any block. Rows of all images lie side by side, step by step, an odd number of cache lines apart, so
// that the rows of a tile do not compete for the same places in the cache.
//
//   forth          row(p) = [h(p), x(t)], a(p), c(p), s(p) kept for every position p of the walk; two positions at prediction
//   back           p from the last to the first: a(p) becomes its gradient, dh = a·W_state, dx(t) (+)= a·W_in
//   then weights   dW(r, k) = sum over p and images of row(p)(r) · a(p)(k)          tiles: some rows × panel, each on one thread
//
// The sum over p and images is cut into pieces, so that the rows of x and a stay in the cache while the register tiles of one
// tile of weights pass over them; a tile's sums run over p and images in one order, whichever thread has it.
//
// With bf16 (`pairs`) the operands of products are copied into the words that pairs.hpp describes: rows with their floats in
// pairs, weights with their rows in pairs, and for the weights' gradient, once nobody needs the floats any more, two images of
// a step in each word, in place. States, gates and sums stay floats. (Three products of bf16 for one of floats need tiles,
// which recurrent layers do not use: there, too, they multiply floats.)
#include <algorithm>

#include "plan.hpp"

namespace tatami {

namespace {

// Floats of a row, an odd number of cache lines.
Index row_stride(Index floats) { return round_up(floats, 16) / 16 % 2 == 0 ? round_up(floats, 16) + 16 : round_up(floats, 16); }

class Recurrent : public Operation {
public:
    Recurrent(Plan& owner, int number)
        : Operation(owner, owner.engine.nodes()[static_cast<std::size_t>(number)].inputs[0], number),
          settings(owner.engine.nodes()[static_cast<std::size_t>(number)]),
          lanes(owner.kernels.lanes),
          units(settings.shape.channels),
          features(owner.engine.nodes()[static_cast<std::size_t>(input)].shape.channels),
          time(owner.engine.nodes()[static_cast<std::size_t>(input)].shape.size[2]),
          width(round_up(units, lanes)),
          gates(settings.cell == Cell::lstm || settings.cell == Cell::gru ? 4 : 1),
          masked(settings.inputs.size() == 2),
          pairs(owner.engine.products() == 1) {}

    bool by_image() const override { return false; }
    std::string describe() const override {
        const char* const name = settings.cell == Cell::lstm ? "LSTM" : settings.cell == Cell::gru ? "GRU" : "RNN";
        return std::string(name) + ": products + gates" + (settings.reverse ? ", backwards in time" : "") + (pairs ? ", bf16" : "");
    }

    void prepare() override {
        constexpr Index second_cache = 1 << 17;  // floats, half of it
        const Index weights = multiply_sizes({width + features, gates * width});
        most_images = std::min<Index>(weights > second_cache ? 56 : 28, plan.capacity());
        const bool lstm = settings.cell == Cell::lstm, trains = plan.trains();
        rows = reserve_slabs(width + features, trains ? time + 1 : 2);
        products = reserve_slabs(gates * width, trains ? time : 1);
        if (lstm) cells = reserve_slabs(width, trains ? time + 1 : 2);
        if (lstm && trains) squashed = reserve_slabs(width, time);
        bias = plan.reserve(gates * width);
        if (pairs) words = reserve_slabs(width / 2 + (features + 1) / 2, 1);
        list_panels();
        if (trains) prepare_gradients();
    }

    void pack() override {
        parallel_for(plan.running_threads(), static_cast<Index>(panels.size()), 1,
                     [&](Index i, int) { pack_panel(panels[static_cast<std::size_t>(i)]); });
        for (Index gate = 0; gate < gates; ++gate)
            std::copy_n(parameter(is_past(gate) ? state_bias : input_bias, 0) + (is_past(gate) ? 0 : gate * units), units,
                        plan.arena() + bias + gate * width);
        if (!plan.trains()) return;
        for (const BackPanel& panel : state_back) pack_back(panel, parameter(state_weight, 0), units);
        for (const BackPanel& panel : input_back) pack_back(panel, parameter(input_weight, 0), features);
    }

    void forward_batch() override {
        const Index count = blocks();
        parallel_for(plan.running_threads(), count, 1, [&](Index i, int thread) { walk(block(i, count, thread)); });
    }

    void backward_batch() override {
        const Index count = blocks();
        parallel_for(plan.running_threads(), count, 1, [&](Index i, int thread) { walk_back(block(i, count, thread)); });
        parallel_for(plan.running_threads(), static_cast<Index>(panels.size()), 1, [&](Index i, int thread) {
            bias_gradient(panels[static_cast<std::size_t>(i)], plan.scratch(thread));
        });
        if (pairs) pair_images();
        parallel_for(plan.running_threads(), static_cast<Index>(tiles.size()), 1, [&](Index i, int thread) {
            weight_gradient(tiles[static_cast<std::size_t>(i)], plan.scratch(thread));
        });
        if (masked) clear_mask_gradient();
    }

private:
    enum Number { input_weight, state_weight, input_bias, state_bias };  // of the node's parameters
    struct Block {  // of images
        Index first, count;
        int thread;
    };
    // A row for every image at every position of the walk; at prediction, for the images of a thread's block at the last ones.
    struct Slabs {
        Index base = 0, stride = 0, slab = 0, positions = 0;
    };
    struct GatePanel {  // columns of the products
        Index column;
        int vectors;
        bool state, input;  // which parts of the row it sees
        Index weight, pair_weight;
    };
    struct BackPanel {  // columns of the gradient of h or x
        Index column;
        int vectors;
        Index weight, pair_weight;
    };
    struct Tile {  // of the weights' gradient: rows of [h, x] × a panel
        const GatePanel* panel;
        bool state;  // rows of h, else of x
        Index first, count;
    };

    // A GRU's fourth gate is the past, U_n h + c, which stands where people see the third one's state weights.
    bool is_past(Index gate) const { return settings.cell == Cell::gru && gate == 3; }
    bool sees_state(Index gate) const { return settings.cell != Cell::gru || gate != 2; }
    Index seen_gate(Index gate) const { return is_past(gate) ? 2 : gate; }

    float* parameter(Number number, int which) const {
        const Index first = plan.parameter(node, 0).offset;
        const auto at = static_cast<std::size_t>(&plan.parameter(node, 0) - plan.engine.parameters().data()) + number;
        return plan.weights(node, which, "weight") + (plan.engine.parameters()[at].offset - first);
    }

    Slabs reserve_slabs(Index floats, Index positions) {
        Slabs slabs;
        slabs.stride = row_stride(floats);
        slabs.positions = positions;
        slabs.slab = multiply_sizes({slabs.stride, plan.trains() ? plan.capacity() : most_images});
        slabs.base = plan.reserve(multiply_sizes({slabs.slab, positions, plan.trains() ? 1 : plan.threads()}));
        return slabs;
    }
    // The row of the block's first image.
    float* row(const Slabs& slabs, Index position, const Block& block) const {
        if (plan.trains()) return plan.arena() + slabs.base + position * slabs.slab + block.first * slabs.stride;
        return plan.arena() + slabs.base + (block.thread * slabs.positions + position % slabs.positions) * slabs.slab;
    }

    // As many for every thread, none larger than planned.
    Index blocks() const {
        const Index needed = (plan.batch() + most_images - 1) / most_images, threads = plan.running_threads();
        return std::min(plan.batch(), (needed + threads - 1) / threads * threads);
    }
    Block block(Index i, Index count, int thread) const {
        const Index first = plan.batch() * i / count;
        return {first, plan.batch() * (i + 1) / count - first, thread};
    }

    Index time_at(Index position) const { return settings.reverse ? time - 1 - position : position; }
    static Index pixel(const Tensor& tensor, Index t) { return tensor.origin + t * tensor.step[2]; }
    const float* present(const Block& block, Index t) const {
        if (!masked) return nullptr;
        const Tensor& mask = plan.value(settings.inputs[1]);
        return plan.image(mask, block.first, 0) + mask.origin + t;
    }
    Index present_stride() const { return masked ? plan.value(settings.inputs[1]).image : 0; }

    // ---- planning ----

    void list_panels() {
        if (settings.cell == Cell::gru) {
            list_columns(0, 2 * width, true, true);
            list_columns(2 * width, width, false, true);
            list_columns(3 * width, width, true, false);
        } else {
            list_columns(0, gates * width, true, true);
        }
        both_parts = {{0, halves(units)}, {pairs ? width / 2 : width, halves(features)}};
    }

    void list_columns(Index first, Index count, bool state, bool seen) {
        for (Index at = 0; at < count; at += 2 * lanes) {
            const int vectors = count - at > lanes ? 2 : 1;
            const Index weight = plan.reserve(multiply_sizes({(state ? units : 0) + (seen ? features : 0), vectors * lanes}));
            const Index paired = (state ? halves(units) : 0) + (seen ? halves(features) : 0);
            const Index pair_weight = pairs ? plan.reserve(multiply_sizes({paired, vectors * lanes})) : 0;
            panels.push_back({first + at, vectors, state, seen, weight, pair_weight});
        }
    }
    // Rows of a product: floats, or words of two.
    Index halves(Index count) const { return pairs ? (count + 1) / 2 : count; }

    void prepare_gradients() {
        dstate_stride = row_stride(width);
        gate_words = pairs ? row_stride(gates * width / 2) : 0;
        plan.need_scratch(std::max(most_images * (2 * dstate_stride + gate_words), tile_rows * 2 * lanes));
        for (Index gate = 0; gate < gates; ++gate) {
            if (sees_state(gate)) state_gates.push_back({halves(gate * width), halves(units)});
            if (!is_past(gate)) input_gates.push_back({halves(gate * width), halves(units)});
        }
        list_back(state_back, width, static_cast<Index>(state_gates.size()));
        if (wants_input_gradient) list_back(input_back, plan.gradient(input).stride, static_cast<Index>(input_gates.size()));
        for (const GatePanel& panel : panels)
            for (const bool state : {true, false})
                if (state ? panel.state : panel.input)
                    for (Index at = 0, count = state ? units : features; at < count; at += tile_rows)
                        tiles.push_back({&panel, state, at, std::min(tile_rows, count - at)});
    }

    void list_back(std::vector<BackPanel>& list, Index columns, Index seen_gates) {
        for (Index at = 0; at < columns; at += 2 * lanes) {
            const int vectors = columns - at > lanes ? 2 : 1;
            const Index weight = plan.reserve(multiply_sizes({seen_gates, units, vectors * lanes}));
            const Index paired = pairs ? plan.reserve(multiply_sizes({seen_gates, halves(units), vectors * lanes})) : 0;
            list.push_back({at, vectors, weight, paired});
        }
    }

    // Calls visit(gate, first unit, place within the panel, count) for the units that a panel has of each gate.
    template <typename Visit>
    void for_each_run(const GatePanel& panel, Visit visit) const {
        const Index end = panel.column + panel.vectors * lanes;
        for (Index gate = panel.column / width; gate * width < end; ++gate) {
            const Index first = std::max(panel.column, gate * width), last = std::min(end, gate * width + units);
            if (first < last) visit(gate, first - gate * width, first - panel.column, last - first);
        }
    }

    void pack_panel(const GatePanel& panel) const {
        const Index to_width = panel.vectors * lanes;
        for_each_run(panel, [&](Index gate, Index unit, Index lane, Index count) {
            float* to = plan.arena() + panel.weight + lane;
            const Index line = seen_gate(gate) * units + unit;
            if (panel.state) {
                plan.kernels.transpose(parameter(state_weight, 0) + line * units, units, to, to_width, count, units);
                to += units * to_width;
            }
            if (panel.input)
                plan.kernels.transpose(parameter(input_weight, 0) + line * features, features, to, to_width, count, features);
        });
        if (!pairs) return;
        const float* from = plan.arena() + panel.weight;
        float* to = plan.arena() + panel.pair_weight;
        for (const bool state : {true, false}) {
            if (!(state ? panel.state : panel.input)) continue;
            const Index count = state ? units : features;
            plan.kernels.pack_row_pairs(from, to_width, count, to, to_width, to_width);
            from += count * to_width;
            to += halves(count) * to_width;
        }
    }

    // Columns of a matrix (gates · units, count), gate by gate as people see them, which is the order of the segments.
    void pack_back(const BackPanel& panel, const float* from, Index count) const {
        const Index lines = (settings.cell == Cell::gru ? 3 : gates) * units, to_width = panel.vectors * lanes;
        const Index columns = std::min(to_width, count - panel.column);
        float* const to = plan.arena() + panel.weight;
        for (Index line = 0; line < lines && columns > 0; ++line)
            std::copy_n(from + line * count + panel.column, columns, to + line * to_width);
        for (Index first = 0, pair = 0; first < lines && pairs; first += units, pair += halves(units))
            plan.kernels.pack_row_pairs(to + first * to_width, to_width, units,
                                        plan.arena() + panel.pair_weight + pair * to_width, to_width, to_width);
    }

    // ---- forth ----

    void walk(const Block& block) const {
        const Tensor& x = plan.value(input);
        const Tensor& y = plan.value(node);
        clear(row(rows, 0, block), rows.stride, block.count);
        if (settings.cell == Cell::lstm) clear(row(cells, 0, block), cells.stride, block.count);
        for (Index position = 0; position < time; ++position) {
            const Index t = time_at(position);
            float* const line = row(rows, position, block);
            for (Index n = 0; n < block.count; ++n)
                std::copy_n(plan.image(x, block.first + n, 0) + pixel(x, t), features, line + n * rows.stride + width);
            const float* from = line;
            if (pairs) {
                float* const own = row(words, 0, block);
                for (Index n = 0; n < block.count; ++n) narrow_row(line + n * rows.stride, own + n * words.stride);
                from = own;
            }
            for (const GatePanel& panel : panels) multiply(panel, from, row(products, position, block), block.count);
            plan.kernels.recurrent_step(step_of(block, position));
        }
        if (settings.every_step) return;
        for (Index n = 0; n < block.count; ++n)
            std::copy_n(row(rows, time, block) + n * rows.stride, width, plan.image(y, block.first + n, 0) + y.origin);
    }

    // [h, x] in words; behind an odd number of features stands a zero.
    void narrow_row(const float* from, float* to) const {
        auto* const half = reinterpret_cast<std::uint16_t*>(to);
        plan.kernels.narrow(from, half, width + features);
        if (features % 2 != 0) half[width + features] = 0;
    }

    void clear(float* from, Index stride, Index count) const {
        for (Index n = 0; n < count; ++n) std::fill_n(from + n * stride, width, 0.0f);
    }

    void multiply(const GatePanel& panel, const float* from, float* to, Index count) const {
        CorrelateRow job{};
        job.input = from;
        job.input_stride = pairs ? words.stride : rows.stride;
        job.segments = both_parts.data() + (panel.state ? 0 : 1);
        job.segment_count = (panel.state ? 1 : 0) + (panel.input ? 1 : 0);
        job.weight = plan.arena() + (pairs ? panel.pair_weight : panel.weight);
        job.bias = plan.arena() + bias + panel.column;
        job.output = to + panel.column;
        job.output_stride = products.stride;
        job.pixels = count;
        job.vectors = panel.vectors;
        job.columns = panel.vectors * lanes;
        (pairs ? plan.kernels.correlate_pairs : plan.kernels.correlate)(job);
    }

    CellStep step_of(const Block& block, Index position) const {
        const Tensor& y = plan.value(node);
        const Index t = time_at(position);
        CellStep step{};
        step.cell = settings.cell;
        step.images = block.count;
        step.width = width;
        step.gates = row(products, position, block);
        step.gates_stride = products.stride;
        step.state = row(rows, position, block);
        step.state_stride = rows.stride;
        step.next = row(rows, position + 1, block);
        step.next_stride = rows.stride;
        step.output = settings.every_step ? plan.image(y, block.first, 0) + pixel(y, t) : nullptr;
        step.output_stride = y.image;
        step.present = present(block, t);
        step.present_stride = present_stride();
        if (settings.cell != Cell::lstm) return step;
        step.cell_before = row(cells, position, block);
        step.cell_after = row(cells, position + 1, block);
        step.cell_stride = cells.stride;
        step.squashed = plan.trains() ? row(squashed, position, block) : nullptr;
        step.squashed_stride = squashed.stride;
        return step;
    }

    // ---- back ----

    void walk_back(const Block& block) const {
        const Tensor& dy = plan.gradient(node);
        const Tensor& dx = plan.gradient(input);
        float* const dstate = plan.scratch(block.thread);
        float* const dcell = dstate + most_images * dstate_stride;
        float* const own = dcell + most_images * dstate_stride;
        clear(dstate, dstate_stride, block.count);
        clear(dcell, dstate_stride, block.count);
        if (!settings.every_step)
            for (Index n = 0; n < block.count; ++n)
                std::copy_n(plan.image(dy, block.first + n, 0) + dy.origin, units, dstate + n * dstate_stride);
        for (Index position = time - 1; position >= 0; --position) {
            const Index t = time_at(position);
            plan.kernels.recurrent_gradient(gradient_of(block, position, dstate, dcell));
            const float* from = row(products, position, block);
            if (pairs) {
                for (Index n = 0; n < block.count; ++n)
                    plan.kernels.narrow(from + n * products.stride, reinterpret_cast<std::uint16_t*>(own + n * gate_words),
                                        gates * width);
                from = own;
            }
            for (const BackPanel& panel : input_back)
                multiply_back(panel, input_gates, from, plan.image(dx, block.first, 0) + pixel(dx, t), dx.image, block.count,
                              accumulate_input);
            if (settings.truncate > 0 && position % settings.truncate == 0) {
                clear(dstate, dstate_stride, block.count);
                clear(dcell, dstate_stride, block.count);
            } else if (position > 0) {
                for (const BackPanel& panel : state_back)
                    multiply_back(panel, state_gates, from, dstate, dstate_stride, block.count, true);
            }
        }
    }

    void multiply_back(const BackPanel& panel, const std::vector<Segment>& seen, const float* from, float* to, Index to_stride,
                       Index count, bool accumulate) const {
        CorrelateRow job{};
        job.input = from;
        job.input_stride = pairs ? gate_words : products.stride;
        job.segments = seen.data();
        job.segment_count = static_cast<Index>(seen.size());
        job.weight = plan.arena() + (pairs ? panel.pair_weight : panel.weight);
        job.output = to + panel.column;
        job.output_stride = to_stride;
        job.pixels = count;
        job.vectors = panel.vectors;
        job.columns = panel.vectors * lanes;
        job.accumulate = accumulate;
        (pairs ? plan.kernels.correlate_pairs : plan.kernels.correlate)(job);
    }

    CellGradient gradient_of(const Block& block, Index position, float* dstate, float* dcell) const {
        const Tensor& dy = plan.gradient(node);
        const Index t = time_at(position);
        CellGradient job{};
        job.cell = settings.cell;
        job.images = block.count;
        job.width = width;
        job.units = units;
        job.gates = row(products, position, block);
        job.gates_stride = products.stride;
        job.state = row(rows, position, block);
        job.state_stride = rows.stride;
        job.dy = settings.every_step ? plan.image(dy, block.first, 0) + pixel(dy, t) : nullptr;
        job.dy_stride = dy.image;
        job.dstate = dstate;
        job.dcell = dcell;
        job.dstate_stride = dstate_stride;
        job.present = present(block, t);
        job.present_stride = present_stride();
        if (settings.cell != Cell::lstm) return job;
        job.cell_before = row(cells, position, block);
        job.cell_stride = cells.stride;
        job.squashed = row(squashed, position, block);
        job.squashed_stride = squashed.stride;
        return job;
    }

    // ---- gradients of the weights ----

    void weight_gradient(const Tile& tile, float* sums) const {
        const GatePanel& panel = *tile.panel;
        const Index from_width = panel.vectors * lanes, count = tile.state ? units : features;
        WeightGradient job{};
        const Index together = pairs ? 2 : 1, count_of_rows = (plan.batch() + together - 1) / together;
        job.input_stride = together * rows.stride;
        job.input_line = rows.slab;
        job.dy_stride = together * products.stride;
        job.dy_line = products.slab;
        job.rows = tile.count;
        job.dweight = sums;
        job.vectors = panel.vectors;
        job.columns = static_cast<int>(from_width);
        const float* const x = plan.arena() + rows.base + (tile.state ? 0 : width) + tile.first;
        const float* const dy = plan.arena() + products.base + panel.column;
        const Index steps = std::max<Index>(1, piece / count_of_rows);
        for (Index position = 0; position < time; position += steps)
            for (Index n = 0; n < count_of_rows; n += piece) {
                job.input = x + position * rows.slab + n * job.input_stride;
                job.dy = dy + position * products.slab + n * job.dy_stride;
                job.lines = std::min(steps, time - position);
                job.pixels = std::min(piece, count_of_rows - n);
                (pairs ? plan.kernels.weight_gradient_of_pairs : plan.kernels.weight_gradient)(job);
                job.accumulate = true;
            }
        float* const gradient = parameter(tile.state ? state_weight : input_weight, 1) + tile.first;
        for_each_run(panel, [&](Index gate, Index unit, Index lane, Index some) {
            plan.kernels.transpose(sums + lane, from_width, gradient + (seen_gate(gate) * units + unit) * count, count,
                                   tile.count, some);
        });
    }

    // Two images of a step in each word, in the place of the first one's row.
    void pair_images() const {
        parallel_for(plan.running_threads(), time, 1, [&](Index position, int) {
            for (Index n = 0; n < plan.batch(); n += 2)
                for (const Slabs* slabs : {&rows, &products}) {
                    float* const low = plan.arena() + slabs->base + position * slabs->slab + n * slabs->stride;
                    const float* const high = n + 1 < plan.batch() ? low + slabs->stride : nullptr;
                    plan.kernels.pack_pairs(low, high, low, slabs == &rows ? width + features : gates * width);
                }
        });
    }

    void bias_gradient(const GatePanel& panel, float* sums) const {
        plan.kernels.column_sums(plan.arena() + products.base + panel.column, products.stride, products.slab, plan.batch(), time,
                                 panel.vectors * lanes, sums, false);
        for_each_run(panel, [&](Index gate, Index unit, Index lane, Index count) {
            float* const gradient = is_past(gate) ? parameter(state_bias, 1) : parameter(input_bias, 1) + gate * units;
            std::copy_n(sums + lane, count, gradient + unit);
        });
    }

    // Steps are there or not: the mask has no derivative.
    void clear_mask_gradient() const {
        const Tensor& dmask = plan.gradient(settings.inputs[1]);
        if (!dmask.used || plan.accumulates_at(node, 1)) return;
        for (Index n = 0; n < plan.batch(); ++n) std::fill_n(plan.image(dmask, n, 0) + dmask.origin, dmask.channels, 0.0f);
    }

    static constexpr Index tile_rows = 56;  // of the weights' gradient: four register tiles
    static constexpr Index piece = 256;     // rows of x and a that all tiles of a panel pass over
    const Node& settings;
    const int lanes;
    const Index units, features, time, width, gates;
    const bool masked, pairs;
    Index most_images = 0, dstate_stride = 0, gate_words = 0, bias = 0;
    Slabs rows, products, cells, squashed, words;
    std::vector<GatePanel> panels;
    std::vector<Segment> both_parts, state_gates, input_gates;
    std::vector<BackPanel> state_back, input_back;
    std::vector<Tile> tiles;
};

}  // namespace

std::unique_ptr<Operation> make_recurrent(Plan& plan, int node) { return std::make_unique<Recurrent>(plan, node); }

}  // namespace tatami
