"""Losses of questions answered with yes or no, and of autoencoders, which ask one for every pixel."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from tatami.inspect.explain.losses import (
    LossExplainer,
    explains_loss,
    loss_settings,
    output_of,
    output_places,
    sigmoid_of,
    target_of,
    weight_of,
    weighted,
    yes_or_no,
)
from tatami.inspect.explanation import Derivation, Index, Note
from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Named,
    Negative,
    Number,
    Product,
    Sum,
    difference,
    exponential,
    logarithm,
    quotient,
    square,
)
from tatami.layers.smooth_activations import softplus
from tatami.losses import (
    BinaryCrossEntropy,
    EvidenceBound,
    SparseReconstruction,
)

if TYPE_CHECKING:
    from tatami.inspect.trace import Trace


@explains_loss(BinaryCrossEntropy)
class BinaryCrossEntropyExplainer(LossExplainer):
    """E = Σ log(1 + e^z) - t·z; the gradient is sigmoid(z) - t."""

    def value(self, trace: "Trace") -> Derivation:
        """Return the sum over all outputs."""
        terms = tuple(self.cost(trace, place) for place in output_places(trace))
        _, mean = weight_of(trace)
        inside = r"\log(1 + e^{z(k)}) - t(k) \cdot z(k)"
        if self.weights(trace)[1]:
            inside += r" + (q(k) - 1) \cdot t(k) \cdot \log(1 + e^{-z(k)})"
        outputs = r"w(k) \cdot " if self.weights(trace)[0] else ""
        formula = Formula(rf"E = {mean}\sum_{{k}} {outputs}({inside})")
        return Derivation(formula, weighted(trace, Sum(terms)))

    def weights(self, trace: "Trace") -> tuple[Sequence[float] | None, Sequence[float] | None]:
        """Return the weights of the outputs, and those of a 'yes'."""
        assert isinstance(trace.loss, BinaryCrossEntropy)
        return trace.loss.output_weights, trace.loss.positive_weights

    def cost(self, trace: "Trace", place: Index) -> Expression:
        """Return what one output costs."""
        z, t = output_of(trace, place, "z"), target_of(trace, place)
        cost = yes_or_no(trace, z, t)
        positive = self.weights(trace)[1]
        if positive:
            more = Applied(
                r"\log(1 + e^{-#1})", lambda x: softplus(trace.ops, np.array([-x]))[0], (z,), ulps=16
            )
            cost = Sum((cost, Product((Number(positive[place[1]] - 1), t, more))))
        return self.counted(trace, place, cost)

    def counted(self, trace: "Trace", place: Index, expression: Expression) -> Expression:
        """Return an expression times the weight of its output, if outputs have weights."""
        outputs = self.weights(trace)[0]
        return Product((expression, Number(outputs[place[1]]))) if outputs else expression

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return p - t, or for a 'yes' that counts more p - t + (q - 1)·t·(p - 1)."""
        chance, t = sigmoid_of(trace, output_of(trace, index, "z")), target_of(trace, index)
        pull, inside = difference(chance, t), r"\sigma(z(k)) - t(k)"
        outputs, positive = self.weights(trace)
        if positive:
            more = Product((Number(positive[index[1]] - 1), t, difference(chance, Number(1.0))))
            pull, inside = Sum((pull, more)), inside + r" + (q(k) - 1) \cdot t(k) \cdot (\sigma(z(k)) - 1)"
        _, mean = weight_of(trace)
        counts = r"w(k) \cdot " if outputs else ""
        formula = Formula(rf"\frac{{\partial E}}{{\partial z(k)}} = {mean}{counts}({inside})")
        return Derivation(formula, weighted(trace, self.counted(trace, index, pull)))


class ReconstructionExplainer(LossExplainer):
    """The part that the losses of autoencoders share: the cost of the reconstruction."""

    def reconstruction(self, trace: "Trace") -> tuple[int, Expression]:
        """Return the number of reconstructed numbers, and ½ Σ (y - t)² or the binary cross-entropy."""
        loss, output = trace.loss, trace.values[trace.network.output]
        assert isinstance(loss, EvidenceBound | SparseReconstruction)
        count = output.shape[1] - loss.extra()
        places = [(n, k) for n in range(len(output)) for k in range(count)]
        if loss.likelihood == "bernoulli":
            terms = (yes_or_no(trace, output_of(trace, at, "y"), target_of(trace, at)) for at in places)
            return count, Named("C", Sum(tuple(terms)))
        squares = (square(difference(output_of(trace, at, "y"), target_of(trace, at))) for at in places)
        return count, Named("C", Product((Number(0.5, r"\frac{1}{2}"), Sum(tuple(squares)))))

    def reconstruction_gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return y - t, or sigmoid(y) - t."""
        assert isinstance(trace.loss, EvidenceBound | SparseReconstruction)
        y: Expression = output_of(trace, index, "y")
        bernoulli = trace.loss.likelihood == "bernoulli"
        _, mean = weight_of(trace)
        sign = r"\sigma(y(k))" if bernoulli else "y(k)"
        formula = Formula(rf"\frac{{\partial E}}{{\partial y(k)}} = {mean}({sign} - t(k))")
        inside = difference(sigmoid_of(trace, y) if bernoulli else y, target_of(trace, index))
        return Derivation(formula, weighted(trace, inside), notes=(Note("reconstruction"),))


@explains_loss(EvidenceBound)
class EvidenceBoundExplainer(ReconstructionExplainer):
    """E = C + β·KL, KL = -½ Σ (1 + log σ² - μ² - σ²)."""

    def value(self, trace: "Trace") -> Derivation:
        """Return the reconstruction's cost and the divergence."""
        loss, examples = trace.loss, trace.examples
        assert isinstance(loss, EvidenceBound)
        count, cost = self.reconstruction(trace)
        surplus = []
        for n, k in product(range(examples), range(loss.latent)):
            mean = output_of(trace, (n, count + k), r"\mu")
            log_variance = output_of(trace, (n, count + loss.latent + k), "s")
            surplus.append(
                Sum((Number(1.0), log_variance, Negative(square(mean)), Negative(exponential(log_variance))))
            )
        divergence = Product((Number(-0.5), Sum(tuple(surplus))))
        expression = Sum((cost, Product((Number(loss.beta, r"\beta"), Named("K", divergence)))))
        _, mean_text = weight_of(trace)
        formula = Formula(
            rf"E = {mean_text}(C + \beta \cdot K), "
            r"\quad K = -\frac{1}{2} \sum_{k} (1 + s(k) - \mu(k)^{2} - e^{s(k)})"
        )
        return Derivation(formula, weighted(trace, expression), notes=loss_settings(trace))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return y - t, β·μ, or ½β(σ² - 1)."""
        loss = trace.loss
        assert isinstance(loss, EvidenceBound)
        count = trace.values[trace.network.output].shape[1] - 2 * loss.latent
        _, mean = weight_of(trace)
        if index[1] < count:
            return self.reconstruction_gradient(trace, index)
        if index[1] < count + loss.latent:
            expression: Expression = Product((Number(loss.beta, r"\beta"), output_of(trace, index, r"\mu")))
            formula = Formula(rf"\frac{{\partial E}}{{\partial \mu}} = {mean}\beta \cdot \mu")
            return Derivation(formula, weighted(trace, expression), notes=loss_settings(trace))
        variance = exponential(output_of(trace, index, "s"))
        expression = Product((Number(0.5 * loss.beta), difference(variance, Number(1.0))))
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial s}} = {mean}\frac{{1}}{{2}} \beta \cdot (e^{{s}} - 1)"
        )
        return Derivation(formula, weighted(trace, expression), notes=loss_settings(trace))


@explains_loss(SparseReconstruction)
class SparseReconstructionExplainer(ReconstructionExplainer):
    """E = C + β Σ_j KL(ρ, ρ̂(j)), ρ̂(j) the mean activation of a hidden unit."""

    def mean_activity(self, trace: "Trace", column: int) -> Expression:
        """Return ρ̂, kept away from 0 and 1."""
        entries = tuple(output_of(trace, (n, column), "h") for n in range(trace.examples))
        mean = quotient(Sum(entries), Number(len(entries)))
        return Applied(r"\clip(#1)", lambda a: min(max(a, 1e-6), 1 - 1e-6), (mean,), ulps=0)

    def value(self, trace: "Trace") -> Derivation:
        """Return the reconstruction's cost and the penalty."""
        loss = trace.loss
        assert isinstance(loss, SparseReconstruction)
        count, cost = self.reconstruction(trace)
        rho = loss.activity
        penalties: list[Expression] = []
        for j in range(loss.hidden):
            mean = self.mean_activity(trace, count + j)
            on = Product((Number(rho), logarithm(quotient(Number(rho), mean))))
            off = Product(
                (Number(1 - rho), logarithm(quotient(Number(1 - rho), difference(Number(1.0), mean))))
            )
            penalties.append(Sum((on, off)))
        penalty = Product((Number(loss.strength, r"\beta"), Sum(tuple(penalties)), Number(trace.examples)))
        _, mean_text = weight_of(trace)
        formula = Formula(
            rf"E = {mean_text}(C + N \cdot \beta \cdot \sum_{{j}} \rho \cdot \log\frac{{\rho}}{{\hat{{\rho}}(j)}} + "
            r"(1 - \rho) \cdot \log\frac{1 - \rho}{1 - \hat{\rho}(j)})"
        )
        return Derivation(formula, weighted(trace, Sum((cost, penalty))), notes=loss_settings(trace))

    def gradient(self, trace: "Trace", index: Index) -> Derivation:
        """Return y - t, or β·((1 - ρ)/(1 - ρ̂) - ρ/ρ̂)."""
        loss = trace.loss
        assert isinstance(loss, SparseReconstruction)
        if index[1] < trace.values[trace.network.output].shape[1] - loss.hidden:
            return self.reconstruction_gradient(trace, index)
        mean, rho = Named(r"\hat{\rho}", self.mean_activity(trace, index[1])), loss.activity
        inside = difference(
            quotient(Number(1 - rho), difference(Number(1.0), mean)), quotient(Number(rho), mean)
        )
        _, mean_text = weight_of(trace)
        formula = Formula(
            rf"\frac{{\partial E}}{{\partial h(j)}} = {mean_text}\beta \cdot "
            r"\left(\frac{1 - \rho}{1 - \hat{\rho}(j)} - \frac{\rho}{\hat{\rho}(j)}\right)"
        )
        expression = Product((Number(loss.strength, r"\beta"), inside))
        return Derivation(formula, weighted(trace, expression), notes=loss_settings(trace))
