// One step of an optimiser over consecutive parameters, the rules of tatami/optimizers.py entry by entry:
//
//   sgd       w <- w - rate·g                      momentum  v <- m·v - rate·g, w <- w + v
//   nesterov  v <- m·v - rate·g, w <- w + (m·v - rate·g)
//   adagrad   h <- h + g²                          w <- w - rate·g / (√h + ε)
//   rmsprop   h <- ρ·h + (1-ρ)·g²                  w <- w - rate·g / (√h + ε)
//   adam      a <- β1·a + (1-β1)·g, b <- β2·b + (1-β2)·g²,  w <- w - rate·(a/c1) / (√(b/c2) + ε)
//   adamw     the same after w <- (1 - rate·decay)·w
//
// with g = scale·gradient + decay·w (adamw: without decay). The parameters are padded to whole vectors.
#pragma once

#include "kernel_table.hpp"
#include "vector.hpp"

namespace {

using tatami::Index;
using tatami::Rule;
using tatami::Update;

template <Rule rule>
void update_by(const Update& job) {
    const Vector rate = broadcast(job.rate), decay = broadcast(job.decay), scale = broadcast(job.scale);
    const Vector momentum = broadcast(job.momentum), beta2 = broadcast(job.beta2), epsilon = broadcast(job.epsilon);
    const Vector rest1 = broadcast(job.rest1), rest2 = broadcast(job.rest2);
    const Vector correction1 = broadcast(job.correction1), correction2 = broadcast(job.correction2);
    for (Index i = 0; i < job.count; i += lanes) {
        Vector w = load(job.weight + i);
        Vector g = load(job.gradient + i) * scale;
        if constexpr (rule == Rule::adamw)
            w -= rate * decay * w;
        else
            g = multiply_add(decay, w, g);
        if constexpr (rule == Rule::sgd) {
            w -= rate * g;
        } else if constexpr (rule == Rule::momentum || rule == Rule::nesterov) {
            const Vector v = multiply_add(momentum, load(job.first + i), -(rate * g));
            w += rule == Rule::momentum ? v : multiply_add(momentum, v, -(rate * g));
            store(job.first + i, v);
        } else if constexpr (rule == Rule::adagrad || rule == Rule::rmsprop) {
            const Vector old = load(job.first + i);
            const Vector h = rule == Rule::adagrad ? multiply_add(g, g, old) : beta2 * old + rest2 * (g * g);
            w -= rate * g / (square_root(h) + epsilon);
            store(job.first + i, h);
        } else {
            const Vector a = momentum * load(job.first + i) + rest1 * g;
            const Vector b = beta2 * load(job.second + i) + rest2 * (g * g);
            w -= rate * (a / correction1) / (square_root(b / correction2) + epsilon);
            store(job.first + i, a);
            store(job.second + i, b);
        }
        store(job.weight + i, w);
    }
}

void update(const Update& job) {
    switch (job.rule) {
        case Rule::sgd: update_by<Rule::sgd>(job); break;
        case Rule::momentum: update_by<Rule::momentum>(job); break;
        case Rule::nesterov: update_by<Rule::nesterov>(job); break;
        case Rule::adagrad: update_by<Rule::adagrad>(job); break;
        case Rule::rmsprop: update_by<Rule::rmsprop>(job); break;
        case Rule::adam: update_by<Rule::adam>(job); break;
        case Rule::adamw: update_by<Rule::adamw>(job); break;
    }
}

}  // namespace
