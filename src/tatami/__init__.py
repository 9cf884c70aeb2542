"""Tatami (畳, from 畳み込み, convolution): a convolutional-network library that you can see through.

Public names are imported when they are first used, so that ``import tatami`` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tatami.backends.correlation import (
        col2im as col2im,
        correlate_direct as correlate_direct,
        correlate_im2col as correlate_im2col,
        correlate_input_gradient_direct as correlate_input_gradient_direct,
        correlate_input_gradient_im2col as correlate_input_gradient_im2col,
        correlate_weight_gradient_direct as correlate_weight_gradient_direct,
        correlate_weight_gradient_im2col as correlate_weight_gradient_im2col,
        im2col as im2col,
    )
    from tatami.data import (
        Batches as Batches,
        Dataset as Dataset,
        DatasetSplits as DatasetSplits,
        load as load,
    )
    from tatami.errors import (
        CheckpointError as CheckpointError,
        DataError as DataError,
        MissingExtraError as MissingExtraError,
        NotFiniteError as NotFiniteError,
        SettingError as SettingError,
        ShapeError as ShapeError,
        TatamiError as TatamiError,
        UnknownNameError as UnknownNameError,
    )
    from tatami.geometry import (
        Geometry as Geometry,
    )
    from tatami.gradient_check import (
        GradientReport as GradientReport,
        check_gradients as check_gradients,
    )
    from tatami.initializers import (
        Constant as Constant,
        Given as Given,
        He as He,
        Normal as Normal,
        Uniform as Uniform,
        Xavier as Xavier,
        Zeros as Zeros,
    )
    from tatami.inspect.trace import (
        trace as trace,
    )
    from tatami.layers import (
        ELU as ELU,
        GELU as GELU,
        GRU as GRU,
        LSTM as LSTM,
        RNN as RNN,
        SELU as SELU,
        AdaptiveAveragePool as AdaptiveAveragePool,
        AdaptiveMaxPool as AdaptiveMaxPool,
        Add as Add,
        AveragePool as AveragePool,
        BatchNormalization as BatchNormalization,
        ChannelDropout as ChannelDropout,
        Concatenate as Concatenate,
        Convolution as Convolution,
        Dense as Dense,
        DropConnect as DropConnect,
        Dropout as Dropout,
        Embedding as Embedding,
        FilterBank as FilterBank,
        Flatten as Flatten,
        FReLU as FReLU,
        GaussianNoise as GaussianNoise,
        GaussianSample as GaussianSample,
        GlobalAveragePool as GlobalAveragePool,
        GlobalMaxPool as GlobalMaxPool,
        GroupNormalization as GroupNormalization,
        HardSigmoid as HardSigmoid,
        Identity as Identity,
        InstanceNormalization as InstanceNormalization,
        L2Pool as L2Pool,
        Layer as Layer,
        LayerNormalization as LayerNormalization,
        LeakyReLU as LeakyReLU,
        LocallyConnected as LocallyConnected,
        LocalResponseNormalization as LocalResponseNormalization,
        LpPool as LpPool,
        Maxout as Maxout,
        MaxPool as MaxPool,
        MaxUnpool as MaxUnpool,
        Mish as Mish,
        Multiply as Multiply,
        Pad as Pad,
        PaddingMask as PaddingMask,
        Permute as Permute,
        PReLU as PReLU,
        ReLU as ReLU,
        Reshape as Reshape,
        SeparableConvolution as SeparableConvolution,
        ShortTimeFourier as ShortTimeFourier,
        Sigmoid as Sigmoid,
        Softmax as Softmax,
        Softplus as Softplus,
        Step as Step,
        StochasticPool as StochasticPool,
        Swish as Swish,
        TableConvolution as TableConvolution,
        Tanh as Tanh,
        TransposedConvolution as TransposedConvolution,
        Upsample as Upsample,
    )
    from tatami.losses import (
        BinaryCrossEntropy as BinaryCrossEntropy,
        Dice as Dice,
        EvidenceBound as EvidenceBound,
        Focal as Focal,
        Hinge as Hinge,
        Huber as Huber,
        KLDivergence as KLDivergence,
        Loss as Loss,
        SoftmaxCrossEntropy as SoftmaxCrossEntropy,
        SparseReconstruction as SparseReconstruction,
        SquaredError as SquaredError,
        WeightedCrossEntropy as WeightedCrossEntropy,
    )
    from tatami.metrics import (
        area_under_curve as area_under_curve,
        intersection_over_union as intersection_over_union,
        roc_curve as roc_curve,
    )
    from tatami.models import (
        build as build,
    )
    from tatami.network import (
        Network as Network,
        Sequential as Sequential,
    )
    from tatami.optimizers import (
        SGD as SGD,
        AdaGrad as AdaGrad,
        Adam as Adam,
        AdamW as AdamW,
        RMSProp as RMSProp,
        averaged_parameters as averaged_parameters,
        clip_gradients as clip_gradients,
    )
    from tatami.pretraining import (
        pretrained as pretrained,
    )
    from tatami.program import (
        Program as Program,
    )
    from tatami.random import (
        RandomKey as RandomKey,
    )
    from tatami.schedules import (
        ConstantRate as ConstantRate,
        Cosine as Cosine,
        StepDecay as StepDecay,
        WarmUp as WarmUp,
    )
    from tatami.training.checkpoint import (
        Checkpoint as Checkpoint,
        load_checkpoint as load_checkpoint,
        weights_sha256 as weights_sha256,
    )
    from tatami.training.evaluation import (
        Evaluation as Evaluation,
    )
    from tatami.training.history import (
        History as History,
    )
    from tatami.training.interruption import (
        TrainingInterrupted as TrainingInterrupted,
    )
    from tatami.training.loop import (
        Trainer as Trainer,
    )
    from tatami.training.model import (
        Model as Model,
        load_model as load_model,
    )
    from tatami.training.progress import (
        ProgressBar as ProgressBar,
    )
    from tatami.training.run import (
        Run as Run,
        resume as resume,
        train as train,
    )
    from tatami.training.settings import (
        TrainingSettings as TrainingSettings,
    )
    from tatami.transfer import (
        adopted as adopted,
        cut as cut,
        frozen as frozen,
        with_head as with_head,
    )

__version__ = "0.1.0"

# Module -> the public names that it defines; the imports above say the same to type checkers,
# and tests/test_public_names.py compares the two.
PUBLIC_NAMES: dict[str, tuple[str, ...]] = {
    "tatami.backends.correlation": (
        "col2im",
        "correlate_direct",
        "correlate_im2col",
        "correlate_input_gradient_direct",
        "correlate_input_gradient_im2col",
        "correlate_weight_gradient_direct",
        "correlate_weight_gradient_im2col",
        "im2col",
    ),
    "tatami.data": ("Batches", "Dataset", "DatasetSplits", "load"),
    "tatami.errors": (
        "CheckpointError",
        "DataError",
        "MissingExtraError",
        "NotFiniteError",
        "SettingError",
        "ShapeError",
        "TatamiError",
        "UnknownNameError",
    ),
    "tatami.geometry": ("Geometry",),
    "tatami.gradient_check": (
        "GradientReport",
        "check_gradients",
    ),
    "tatami.initializers": (
        "Constant",
        "Given",
        "He",
        "Normal",
        "Uniform",
        "Xavier",
        "Zeros",
    ),
    "tatami.inspect.trace": ("trace",),
    "tatami.layers": (
        "ELU",
        "GELU",
        "GRU",
        "LSTM",
        "RNN",
        "SELU",
        "AdaptiveAveragePool",
        "AdaptiveMaxPool",
        "Add",
        "AveragePool",
        "BatchNormalization",
        "ChannelDropout",
        "Concatenate",
        "Convolution",
        "Dense",
        "DropConnect",
        "Dropout",
        "Embedding",
        "FilterBank",
        "Flatten",
        "FReLU",
        "GaussianNoise",
        "GaussianSample",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GroupNormalization",
        "HardSigmoid",
        "Identity",
        "InstanceNormalization",
        "L2Pool",
        "Layer",
        "LayerNormalization",
        "LeakyReLU",
        "LocallyConnected",
        "LocalResponseNormalization",
        "LpPool",
        "Maxout",
        "MaxPool",
        "MaxUnpool",
        "Mish",
        "Multiply",
        "Pad",
        "PaddingMask",
        "Permute",
        "PReLU",
        "ReLU",
        "Reshape",
        "SeparableConvolution",
        "ShortTimeFourier",
        "Sigmoid",
        "Softmax",
        "Softplus",
        "Step",
        "StochasticPool",
        "Swish",
        "TableConvolution",
        "Tanh",
        "TransposedConvolution",
        "Upsample",
    ),
    "tatami.losses": (
        "BinaryCrossEntropy",
        "Dice",
        "EvidenceBound",
        "Focal",
        "Hinge",
        "Huber",
        "KLDivergence",
        "Loss",
        "SoftmaxCrossEntropy",
        "SparseReconstruction",
        "SquaredError",
        "WeightedCrossEntropy",
    ),
    "tatami.metrics": (
        "area_under_curve",
        "intersection_over_union",
        "roc_curve",
    ),
    "tatami.models": ("build",),
    "tatami.network": (
        "Network",
        "Sequential",
    ),
    "tatami.optimizers": (
        "SGD",
        "AdaGrad",
        "Adam",
        "AdamW",
        "RMSProp",
        "averaged_parameters",
        "clip_gradients",
    ),
    "tatami.pretraining": ("pretrained",),
    "tatami.program": ("Program",),
    "tatami.random": ("RandomKey",),
    "tatami.schedules": (
        "ConstantRate",
        "Cosine",
        "StepDecay",
        "WarmUp",
    ),
    "tatami.training.checkpoint": ("Checkpoint", "load_checkpoint", "weights_sha256"),
    "tatami.training.evaluation": ("Evaluation",),
    "tatami.training.history": ("History",),
    "tatami.training.interruption": ("TrainingInterrupted",),
    "tatami.training.loop": ("Trainer",),
    "tatami.training.model": ("Model", "load_model"),
    "tatami.training.progress": ("ProgressBar",),
    "tatami.training.run": ("Run", "resume", "train"),
    "tatami.training.settings": ("TrainingSettings",),
    "tatami.transfer": (
        "adopted",
        "cut",
        "frozen",
        "with_head",
    ),
}

MODULE_OF = {name: module for module, names in PUBLIC_NAMES.items() for name in names}

__all__ = ["__version__", *sorted(MODULE_OF)]


def __getattr__(name: str) -> object:
    """Import the module that defines a public name when the name is first used."""
    if name not in MODULE_OF:
        raise AttributeError(f"module 'tatami' has no attribute {name!r}")
    value = getattr(importlib.import_module(MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
