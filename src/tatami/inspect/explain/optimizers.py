"""Optimisers: how one weight moves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tatami.errors import UnknownNameError
from tatami.inspect.explanation import Derivation, Kind, Note, Reference
from tatami.inspect.expression import (
    Applied,
    Expression,
    Formula,
    Named,
    Negative,
    Number,
    Product,
    Sum,
    quotient,
    root,
    sign_of,
    square,
)
from tatami.optimizers import AVERAGE, SGD, AdaGrad, Adam, AdamW, Optimizer, RMSProp

if TYPE_CHECKING:
    from tatami.inspect.trace import Update

OPTIMIZER_EXPLAINERS: dict[type[Optimizer], "OptimizerExplainer"] = {}


@dataclass(frozen=True)
class Rule:
    """What an optimiser does with one entry.

    Attributes:
        moved: how the parameter moves, before the bound on its unit's norm.
        slots: name → what the optimiser remembers afterwards.
    """

    moved: Derivation
    slots: Mapping[str, Derivation] = field(default_factory=dict)


OptimizerExplainer = Callable[["Update", Reference], Rule]


def explains_optimizer(*classes: type[Optimizer]) -> Callable[[OptimizerExplainer], OptimizerExplainer]:
    """Put a function on the list that explains the update of optimiser classes."""

    def register(explainer: OptimizerExplainer) -> OptimizerExplainer:
        for optimizer_class in classes:
            OPTIMIZER_EXPLAINERS[optimizer_class] = explainer
        return explainer

    return register


def explain_update(update: "Update", subject: Reference) -> Derivation:
    """Explain a parameter after a step, or what the optimiser remembers of it, by the rule of the optimiser's class."""
    if factor_of(update, subject) == 0:
        return frozen(update, subject)
    if subject.kind == "updated":
        derivation = bounded(update, subject, optimizer_explainer_of(update.optimizer)(update, subject).moved)
    else:
        derivation = explain_slot(update, subject)
    factor = factor_of(update, subject)
    if factor == 1:
        return derivation
    return replace(derivation, notes=(*derivation.notes, Note("own_rate", {"factor": f"{factor:g}"})))


def explain_slot(update: "Update", subject: Reference) -> Derivation:
    """Explain what the optimiser remembers of a parameter after the step: ``subject.name`` is 'velocity of weight'."""
    name, _, parameter = subject.name.partition(" of ")
    of_parameter = replace(subject, kind="updated", name=parameter)
    if name == AVERAGE:
        return averaged(update, of_parameter)
    return optimizer_explainer_of(update.optimizer)(update, of_parameter).slots[name]


def averaged(update: "Update", subject: Reference) -> Derivation:
    """Return a ← ρ·a + (1 - ρ)·w, w after the step."""
    rho = update.optimizer.average
    assert rho is not None
    before = slot(update, subject, AVERAGE, "a")
    after = replace(subject, symbol="w'")
    formula = Formula(r"a \leftarrow \rho \cdot a + (1 - \rho) \cdot w'")
    return Derivation(formula, running_mean(rho, r"\rho", before, after), exact=True)


def frozen(update: "Update", subject: Reference) -> Derivation:
    """Explain an entry of a layer that does not move."""
    before: dict[Kind, Kind] = {"updated": "parameter", "new slot": "slot"}
    same = replace(subject, kind=before[subject.kind], symbol="w")
    return Derivation(Formula(r"w \leftarrow w"), same, exact=True, notes=(Note("frozen"),))


def factor_of(update: "Update", subject: Reference) -> float:
    """Return by how much the layer's learning rate differs from the others'."""
    factors = {str(layer): float(factor) for layer, factor in update.optimizer.rates}
    return factors.get(subject.layer, 1.0)


def optimizer_explainer_of(optimizer: Optimizer) -> OptimizerExplainer:
    """Return the explainer of an optimiser's class, or raise an error that says where to add one."""
    try:
        return OPTIMIZER_EXPLAINERS[type(optimizer)]
    except KeyError:
        raise UnknownNameError(
            f"the optimiser {type(optimizer).__name__} has no explanation yet; write one in "
            f"tatami.inspect.explain.optimizers and put @explains_optimizer({type(optimizer).__name__}) in front"
        ) from None


def old(update: "Update", subject: Reference) -> Reference:
    """Refer to the parameter before the update."""
    return Reference(update, "parameter", subject.layer, subject.name, subject.index, "w")


def slot(update: "Update", subject: Reference, name: str, symbol: str) -> Reference:
    """Refer to what the optimiser remembers of the parameter."""
    return Reference(update, "slot", subject.layer, f"{name} of {subject.name}", subject.index, symbol)


def gradient(update: "Update", subject: Reference, *, decayed: bool = True) -> Expression:
    """Return g, with λ₁·sign(w) of the L1 penalty and, where the optimiser adds it to the gradient, λ·w."""
    g: Expression = Reference(update, "parameter gradient", subject.layer, subject.name, subject.index, "g")
    parts = [g]
    if update.optimizer.l1 and not spared(subject):
        parts.append(Product((Number(update.optimizer.l1, r"\lambda_{1}"), sign_of(old(update, subject)))))
    decay = decay_of(update, subject)
    if decay and decayed:
        parts.append(Product((Number(decay, r"\lambda"), old(update, subject))))
    return g if len(parts) == 1 else Named("g'", Sum(tuple(parts)))


def spared(subject: Reference) -> bool:
    """Say whether penalties leave a parameter alone: biases."""
    return subject.name.endswith("bias")


def decay_of(update: "Update", subject: Reference) -> float:
    """Return λ, 0 for biases."""
    return 0.0 if spared(subject) else update.optimizer.weight_decay


def bounded(update: "Update", subject: Reference, derivation: Derivation) -> Derivation:
    """Scale the update back if the norm of the unit's weights is larger than the bound."""
    largest = update.optimizer.max_norm
    before = update.unbounded[subject.layer][subject.name]
    if largest is None or spared(subject) or before.ndim < 2:
        return derivation
    norm = float(np.sqrt(np.sum(before[subject.index[0]] ** 2)))
    if norm <= largest:
        return derivation
    formula = Formula(
        derivation.formula.latex
        + r", \quad w \leftarrow w \cdot \frac{c}{|w|}, \quad |w| = \sqrt{\sum w^{2}} > c"
    )
    scale = quotient(Number(largest, "c"), Number(norm, "|w|"))
    expression = Product((derivation.expression, scale))
    return Derivation(
        formula, expression, notes=(*derivation.notes, Note("max_norm", {"norm": f"{largest:g}"}))
    )


def rate(update: "Update", subject: Reference) -> Number:
    """Return η of the layer."""
    return Number(own_rate(update, subject), r"\eta")


def own_rate(update: "Update", subject: Reference) -> float:
    """Return the learning rate of the entry's layer."""
    return update.learning_rate * factor_of(update, subject)


def moved(start: Expression, step: Expression) -> Sum:
    """Return w - step."""
    return Sum((start, Negative(step)))


@explains_optimizer(SGD)
def explain_sgd(update: "Update", subject: Reference) -> Rule:
    """W - η·g; with momentum v = α·v - η·g and w + v; Nesterov w + α·v - η·g."""
    optimizer = update.optimizer
    assert isinstance(optimizer, SGD)
    w, g = old(update, subject), gradient(update, subject)
    step = Product((rate(update, subject), g))
    if not optimizer.momentum:
        return Rule(Derivation(Formula(r"w \leftarrow w - \eta \cdot g"), moved(w, step), exact=True))
    alpha = Number(optimizer.momentum, r"\alpha")
    new = Sum((Product((alpha, slot(update, subject, "velocity", "v"))), Negative(step)))
    velocity = Named("v'", new)
    slots = {"velocity": Derivation(Formula(r"v \leftarrow \alpha \cdot v - \eta \cdot g"), new, exact=True)}
    if optimizer.nesterov:
        formula = Formula(
            r"w \leftarrow w + (\alpha \cdot v' - \eta \cdot g), \quad v' = \alpha \cdot v - \eta \cdot g"
        )
        ahead = Sum((Product((alpha, velocity)), Negative(step)))
        return Rule(Derivation(formula, Sum((w, ahead)), exact=True), slots)
    formula = Formula(r"w \leftarrow w + v', \quad v' = \alpha \cdot v - \eta \cdot g")
    return Rule(Derivation(formula, Sum((w, velocity)), exact=True), slots)


def scaled_step(
    update: "Update", subject: Reference, direction: Expression, mean_square: Expression, epsilon: float
) -> Applied:
    """Return η·direction / (√mean_square + ε)."""
    bottom = Sum((root(mean_square), Number(epsilon, r"\epsilon")))
    return quotient(Product((rate(update, subject), direction)), bottom)


@explains_optimizer(AdaGrad)
def explain_adagrad(update: "Update", subject: Reference) -> Rule:
    """W - η·g/(√h + ε), h = h + g²."""
    optimizer = update.optimizer
    assert isinstance(optimizer, AdaGrad)
    g = gradient(update, subject)
    new = Sum((slot(update, subject, "square_sum", "h"), square(g)))
    h = Named("h'", new)
    formula = Formula(r"w \leftarrow w - \frac{\eta \cdot g}{\sqrt{h'} + \epsilon}, \quad h' = h + g^{2}")
    step = scaled_step(update, subject, g, h, optimizer.epsilon)
    slots = {"square_sum": Derivation(Formula(r"h \leftarrow h + g^{2}"), new, exact=True)}
    return Rule(Derivation(formula, moved(old(update, subject), step), exact=True), slots)


@explains_optimizer(RMSProp)
def explain_rmsprop(update: "Update", subject: Reference) -> Rule:
    """W - η·g/(√h + ε), h = ρ·h + (1 - ρ)·g²."""
    optimizer = update.optimizer
    assert isinstance(optimizer, RMSProp)
    g, rho = gradient(update, subject), optimizer.rho
    new = running_mean(rho, r"\rho", slot(update, subject, "mean_square", "h"), square(g))
    h = Named("h'", new)
    formula = Formula(
        r"w \leftarrow w - \frac{\eta \cdot g}{\sqrt{h'} + \epsilon}, \quad h' = \rho \cdot h + (1 - \rho) \cdot g^{2}"
    )
    step = scaled_step(update, subject, g, h, optimizer.epsilon)
    kept = Formula(r"h \leftarrow \rho \cdot h + (1 - \rho) \cdot g^{2}")
    slots = {"mean_square": Derivation(kept, new, exact=True)}
    return Rule(Derivation(formula, moved(old(update, subject), step), exact=True), slots)


@explains_optimizer(Adam, AdamW)
def explain_adam(update: "Update", subject: Reference) -> Rule:
    """W - η·m̂/(√v̂ + ε); AdamW shrinks the weight beforehand instead of decaying through the gradient."""
    optimizer = update.optimizer
    assert isinstance(optimizer, Adam)
    decoupled = isinstance(optimizer, AdamW)
    g = gradient(update, subject, decayed=not decoupled)
    count = update.state.count + 1
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    new_m = running_mean(beta1, r"\beta_{1}", slot(update, subject, "mean", "m"), g)
    new_v = running_mean(beta2, r"\beta_{2}", slot(update, subject, "mean_square", "v"), square(g))
    m, v = Named("m'", new_m), Named("v'", new_v)
    m_hat = Named(r"\hat{m}", quotient(m, Number(1 - beta1**count, r"1 - \beta_{1}^{t}")))
    v_hat = Named(r"\hat{v}", quotient(v, Number(1 - beta2**count, r"1 - \beta_{2}^{t}")))
    start: Expression = old(update, subject)
    decay = decay_of(update, subject)
    shrink = ""
    if decoupled and decay:
        start = Product((start, Number(1 - own_rate(update, subject) * decay, r"(1 - \eta \cdot \lambda)")))
        shrink = r" \cdot (1 - \eta \cdot \lambda)"
    formula = Formula(
        rf"w \leftarrow w{shrink} - \frac{{\eta \cdot \hat{{m}}}}{{\sqrt{{\hat{{v}}}} + \epsilon}}, "
        r"\quad \hat{m} = \frac{m'}{1 - \beta_{1}^{t}}, \hat{v} = \frac{v'}{1 - \beta_{2}^{t}}"
    )
    step = scaled_step(update, subject, m_hat, v_hat, optimizer.epsilon)
    mean = Formula(r"m \leftarrow \beta_{1} \cdot m + (1 - \beta_{1}) \cdot g")
    mean_square = Formula(r"v \leftarrow \beta_{2} \cdot v + (1 - \beta_{2}) \cdot g^{2}")
    slots = {
        "mean": Derivation(mean, new_m, exact=True),
        "mean_square": Derivation(mean_square, new_v, exact=True),
    }
    number = Note("update_number", {"t": count})
    return Rule(Derivation(formula, moved(start, step), exact=True, notes=(number,)), slots)


def running_mean(beta: float, letter: str, before: Expression, new: Expression) -> Sum:
    """Return β·before + (1 - β)·new."""
    return Sum((Product((Number(beta, letter), before)), Product((Number(1 - beta, f"(1 - {letter})"), new))))
