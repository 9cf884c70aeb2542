"""Optimisers: how one weight moves."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tatami.errors import UnknownNameError
from tatami.inspect.explanation import Derivation, Note, Reference
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
from tatami.optimizers import SGD, AdaGrad, Adam, AdamW, Optimizer, RMSProp

if TYPE_CHECKING:
    from tatami.inspect.trace import Update

OptimizerExplainer = Callable[["Update", Reference], Derivation]
OPTIMIZER_EXPLAINERS: dict[type[Optimizer], OptimizerExplainer] = {}


def explains_optimizer(*classes: type[Optimizer]) -> Callable[[OptimizerExplainer], OptimizerExplainer]:
    """Put a function on the list that explains the update of optimiser classes."""

    def register(explainer: OptimizerExplainer) -> OptimizerExplainer:
        for optimizer_class in classes:
            OPTIMIZER_EXPLAINERS[optimizer_class] = explainer
        return explainer

    return register


def explain_update(update: "Update", subject: Reference) -> Derivation:
    """Explain a new parameter by the rule of the optimiser's class, and the bound on its unit's norm."""
    return bounded(update, subject, optimizer_explainer_of(update.optimizer)(update, subject))


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


def rate(update: "Update") -> Number:
    """Return η."""
    return Number(update.learning_rate, r"\eta")


def moved(start: Expression, step: Expression) -> Sum:
    """Return w - step."""
    return Sum((start, Negative(step)))


@explains_optimizer(SGD)
def explain_sgd(update: "Update", subject: Reference) -> Derivation:
    """W - η·g; with momentum v = α·v - η·g and w + v; Nesterov w + α·v - η·g."""
    optimizer = update.optimizer
    assert isinstance(optimizer, SGD)
    w, g = old(update, subject), gradient(update, subject)
    step = Product((rate(update), g))
    if not optimizer.momentum:
        return Derivation(Formula(r"w \leftarrow w - \eta \cdot g"), moved(w, step), exact=True)
    alpha = Number(optimizer.momentum, r"\alpha")
    velocity = Named("v'", Sum((Product((alpha, slot(update, subject, "velocity", "v"))), Negative(step))))
    if optimizer.nesterov:
        formula = Formula(
            r"w \leftarrow w + (\alpha \cdot v' - \eta \cdot g), \quad v' = \alpha \cdot v - \eta \cdot g"
        )
        ahead = Sum((Product((alpha, velocity)), Negative(step)))
        return Derivation(formula, Sum((w, ahead)), exact=True)
    formula = Formula(r"w \leftarrow w + v', \quad v' = \alpha \cdot v - \eta \cdot g")
    return Derivation(formula, Sum((w, velocity)), exact=True)


def scaled_step(update: "Update", direction: Expression, mean_square: Expression, epsilon: float) -> Applied:
    """Return η·direction / (√mean_square + ε)."""
    bottom = Sum((root(mean_square), Number(epsilon, r"\epsilon")))
    return quotient(Product((rate(update), direction)), bottom)


@explains_optimizer(AdaGrad)
def explain_adagrad(update: "Update", subject: Reference) -> Derivation:
    """W - η·g/(√h + ε), h = h + g²."""
    optimizer = update.optimizer
    assert isinstance(optimizer, AdaGrad)
    g = gradient(update, subject)
    h = Named("h'", Sum((slot(update, subject, "square_sum", "h"), square(g))))
    formula = Formula(r"w \leftarrow w - \frac{\eta \cdot g}{\sqrt{h'} + \epsilon}, \quad h' = h + g^{2}")
    return Derivation(
        formula, moved(old(update, subject), scaled_step(update, g, h, optimizer.epsilon)), exact=True
    )


@explains_optimizer(RMSProp)
def explain_rmsprop(update: "Update", subject: Reference) -> Derivation:
    """W - η·g/(√h + ε), h = ρ·h + (1 - ρ)·g²."""
    optimizer = update.optimizer
    assert isinstance(optimizer, RMSProp)
    g, rho = gradient(update, subject), optimizer.rho
    kept = Product((Number(rho, r"\rho"), slot(update, subject, "mean_square", "h")))
    h = Named("h'", Sum((kept, Product((Number(1 - rho, r"(1 - \rho)"), square(g))))))
    formula = Formula(
        r"w \leftarrow w - \frac{\eta \cdot g}{\sqrt{h'} + \epsilon}, \quad h' = \rho \cdot h + (1 - \rho) \cdot g^{2}"
    )
    return Derivation(
        formula, moved(old(update, subject), scaled_step(update, g, h, optimizer.epsilon)), exact=True
    )


@explains_optimizer(Adam, AdamW)
def explain_adam(update: "Update", subject: Reference) -> Derivation:
    """W - η·m̂/(√v̂ + ε); AdamW shrinks the weight beforehand instead of decaying through the gradient."""
    optimizer = update.optimizer
    assert isinstance(optimizer, Adam)
    decoupled = isinstance(optimizer, AdamW)
    g = gradient(update, subject, decayed=not decoupled)
    count = update.state.count + 1
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    m = Named("m'", running_mean(beta1, r"\beta_{1}", slot(update, subject, "mean", "m"), g))
    v = Named("v'", running_mean(beta2, r"\beta_{2}", slot(update, subject, "mean_square", "v"), square(g)))
    m_hat = Named(r"\hat{m}", quotient(m, Number(1 - beta1**count, r"1 - \beta_{1}^{t}")))
    v_hat = Named(r"\hat{v}", quotient(v, Number(1 - beta2**count, r"1 - \beta_{2}^{t}")))
    start: Expression = old(update, subject)
    decay = decay_of(update, subject)
    shrink = ""
    if decoupled and decay:
        start = Product((start, Number(1 - update.learning_rate * decay, r"(1 - \eta \cdot \lambda)")))
        shrink = r" \cdot (1 - \eta \cdot \lambda)"
    formula = Formula(
        rf"w \leftarrow w{shrink} - \frac{{\eta \cdot \hat{{m}}}}{{\sqrt{{\hat{{v}}}} + \epsilon}}, "
        r"\quad \hat{m} = \frac{m'}{1 - \beta_{1}^{t}}, \hat{v} = \frac{v'}{1 - \beta_{2}^{t}}"
    )
    step = scaled_step(update, m_hat, v_hat, optimizer.epsilon)
    return Derivation(formula, moved(start, step), exact=True, notes=(Note("update_number", {"t": count}),))


def running_mean(beta: float, letter: str, before: Expression, new: Expression) -> Sum:
    """Return β·before + (1 - β)·new."""
    return Sum((Product((Number(beta, letter), before)), Product((Number(1 - beta, f"(1 - {letter})"), new))))
