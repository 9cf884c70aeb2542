"""Losses: what the network's output costs against the target, and the gradient to start backward from.

``reduction='mean'`` divides the sum over the batch by the number of examples (the convention here); 'sum' does not
(Arai's program and the slides' C_T).
"""

from tatami.losses.autoencoding import EvidenceBound, SparseReconstruction
from tatami.losses.base import Loss, Objective, Reduction, check_labels, one_hot
from tatami.losses.cross_entropy import Focal, SoftmaxCrossEntropy, WeightedCrossEntropy
from tatami.losses.distributions import BinaryCrossEntropy, KLDivergence
from tatami.losses.regions import Dice, Hinge
from tatami.losses.regression import Huber, SquaredError

__all__ = [
    "LOSSES",
    "BinaryCrossEntropy",
    "Dice",
    "EvidenceBound",
    "Focal",
    "Hinge",
    "Huber",
    "KLDivergence",
    "Loss",
    "Objective",
    "Reduction",
    "SoftmaxCrossEntropy",
    "SparseReconstruction",
    "SquaredError",
    "WeightedCrossEntropy",
    "check_labels",
    "one_hot",
]

LOSSES: dict[str, type[Loss]] = {
    "binary_cross_entropy": BinaryCrossEntropy,
    "dice": Dice,
    "evidence_bound": EvidenceBound,
    "focal": Focal,
    "hinge": Hinge,
    "huber": Huber,
    "kl_divergence": KLDivergence,
    "softmax_cross_entropy": SoftmaxCrossEntropy,
    "sparse_reconstruction": SparseReconstruction,
    "squared_error": SquaredError,
    "weighted_cross_entropy": WeightedCrossEntropy,
}
