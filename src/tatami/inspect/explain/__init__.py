"""The explanations of all layer, loss and optimiser classes, one module for each family."""

from tatami.inspect.explain import (
    activations as activations,
    class_losses as class_losses,
    convolution as convolution,
    dense as dense,
    dropout as dropout,
    embedding as embedding,
    fixed_filters as fixed_filters,
    merge as merge,
    normalization as normalization,
    pooling as pooling,
    reconstruction_losses as reconstruction_losses,
    recurrent as recurrent,
    resampling as resampling,
    sampling as sampling,
)
from tatami.inspect.explain.base import LAYER_EXPLAINERS, LayerExplainer, View, explainer_of, explains
from tatami.inspect.explain.losses import LOSS_EXPLAINERS, loss_explainer_of
from tatami.inspect.explain.optimizers import OPTIMIZER_EXPLAINERS, explain_update

__all__ = [
    "LAYER_EXPLAINERS",
    "LOSS_EXPLAINERS",
    "OPTIMIZER_EXPLAINERS",
    "LayerExplainer",
    "View",
    "explain_update",
    "explainer_of",
    "explains",
    "loss_explainer_of",
]
