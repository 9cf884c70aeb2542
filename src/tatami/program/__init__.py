"""A program: a network planned for one backend and precision, with a loss. It runs forward and backward passes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.backends import ReferenceBackend
from tatami.errors import DataError, SettingError, ShapeError, unknown_name
from tatami.geometry import Shape, is_whole
from tatami.losses import Loss, SoftmaxCrossEntropy
from tatami.network import Network, Parameters
from tatami.optimizers import Optimizer, OptimizerState
from tatami.program.layerwise import LayerwiseExecutor
from tatami.program.results import Executor, Kept, Pass, Step, first_not_finite
from tatami.program.session import LayerwiseSession, StepResult, TrainingSession
from tatami.random import RandomKey

__all__ = [
    "BACKENDS",
    "DEFAULT_BACKEND",
    "Kept",
    "Pass",
    "Program",
    "Step",
    "StepResult",
    "TrainingSession",
    "backend_to_use",
    "first_not_finite",
]

# What each backend computes in.
BACKENDS = {"reference": ("f32", "f64"), "native": ("f32", "bf16", "bf16x3")}
# Stands for the backend that `backend_to_use` chooses; what is recorded anywhere is the chosen one.
DEFAULT_BACKEND = "default"
# What parameters and activations are kept in.
DTYPES = {"f32": "float32", "f64": "float64", "bf16": "float32", "bf16x3": "float32"}
PREDICTION_BATCH = 256


def backend_to_use(backend: str = DEFAULT_BACKEND, precision: str = "f32") -> str:
    """Return the backend that a name and a precision stand for.

    Args:
        backend: 'reference', 'native', or 'default': of those with the precision native where its kernels are built,
            else reference.
        precision: 'f32', 'f64', 'bf16' or 'bf16x3'.

    Raises:
        UnknownNameError: no such backend, or it does not compute in the precision.

    >>> backend_to_use("reference"), backend_to_use(precision="f64"), backend_to_use(precision="bf16")
    ('reference', 'reference', 'native')
    """
    if backend == DEFAULT_BACKEND:
        able = [name for name, precisions in BACKENDS.items() if precision in precisions]
        if not able:
            every = [name for precisions in BACKENDS.values() for name in precisions]
            raise unknown_name("precision", precision, dict.fromkeys(every))
        if len(able) == 1:
            return able[0]
        from tatami.native import is_built

        return "native" if is_built() else "reference"
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    if precision not in BACKENDS[backend]:
        raise unknown_name(f"precision of the {backend} backend", precision, BACKENDS[backend])
    return backend


class Program:
    """A network planned for a backend.

    Args:
        network: what to run.
        loss: what training minimises; softmax cross-entropy by default.
        backend: 'reference' (NumPy, written to be read) or 'native' (C++, fast); by default native where it is built
            and has the precision, else reference. ``program.backend`` says which.
        precision: 'f32' (default); on the reference backend also 'f64', on the native one 'bf16': operands of
            convolutions and dense layers are rounded to bfloat16, sums and parameters stay float32 (without tile
            registers Winograd's convolutions round after their transforms, and those of fewer than eight channels
            do not round: `summary` says 'bf16' where it is done); and, on processors
            with tile registers (amx), 'bf16x3': each product of floats as three of bfloat16, off by at most 2^-15 of
            the sum of the products' sizes, faster than 'f32' and never chosen but by its name.
        threads: number of threads of the native backend; by default what OpenMP would use (OMP_NUM_THREADS).

    >>> from tatami.layers import Dense, Flatten
    >>> from tatami.network import Sequential
    >>> network = Sequential(Flatten(), Dense(3), input_shape=(1, 2, 2))
    >>> program = Program(network)
    >>> x, labels = np.ones((5, 1, 2, 2)), np.array([0, 1, 2, 0, 1])
    >>> step = program.train_step(network.initialize(seed=1), x, labels, keep=True)
    >>> step.gradients["dense1"]["weight"].shape, step.values["flatten1"].shape
    ((3, 4), (5, 4))
    """

    def __init__(
        self,
        network: Network,
        loss: Loss | None = None,
        backend: str = DEFAULT_BACKEND,
        precision: str = "f32",
        threads: int | None = None,
    ) -> None:
        """Plan the network."""
        chosen = backend_to_use(backend, precision)
        if threads is not None and (not is_whole(threads) or threads < 1):
            raise SettingError(f"threads must be a whole number of at least 1, got {threads!r}")
        self.network = network
        self.loss = SoftmaxCrossEntropy() if loss is None else loss
        self.backend = chosen
        self.precision = precision
        self.threads = threads
        self.dtype = DTYPES[precision]
        self.beginning = network.initial_state(self.dtype)
        self.executor = self.plan()

    def plan(self) -> Executor:
        """Return what runs the network on this program's backend."""
        if self.backend == "native":
            from tatami.program.native import NativeExecutor

            return NativeExecutor(self.network, self.loss, self.threads, self.precision)
        return LayerwiseExecutor(self.network, self.loss, ReferenceBackend(), self.dtype)

    def summary(self) -> str:
        """Return the network's table and where each layer runs: which native kernel, fused into which, or reference.

        >>> from tatami.layers import Dense
        >>> from tatami.network import Sequential
        >>> print(Program(Sequential(Dense(3), input_shape=(4,)), backend="reference").summary())
        network: input 4, output 3
        layer   type   settings  output  parameters  multiply-adds  receptive field
        dense1  Dense  3 units   3               15             12              all
        total                                    15             12
        <BLANKLINE>
        Every layer runs on the reference backend, f32.
        """
        from tatami.program.summary import program_summary

        return program_summary(self)

    def where_layers_run(self) -> dict[str, dict[str, str]]:
        """Return layer name -> {'predicting': what computes it then, 'training': likewise}."""
        from tatami.program.summary import where_layers_run

        return where_layers_run(self)

    def initial_state(self) -> Parameters:
        """Return the state that layers start from."""
        return {
            layer: {name: array.copy() for name, array in named.items()}
            for layer, named in self.beginning.items()
        }

    def forward(
        self,
        parameters: Parameters,
        x: NDArray[Any],
        *,
        training: bool = False,
        key: RandomKey | None = None,
        state: Parameters | None = None,
        keep: bool = False,
    ) -> Pass:
        """Run the network forward.

        Args:
            parameters: layer → name → array, as from ``network.initialize``.
            x: a batch (N, *input_shape).
            training: whether dropout drops and statistics are taken from the batch.
            key: where in the run random numbers are drawn; needed only while training.
            state: the layers' state; the initial one by default.
            keep: whether ``values`` holds every intermediate by layer name.

        Returns:
            `Pass` with ``output`` (for classification the logits) and ``values``.
        """
        self.network.check_parameters(parameters)
        batch = self.check_input(x)
        carried = self.initial_state() if state is None else state
        return self.executor.forward(parameters, batch, training, key or RandomKey(), carried, keep)

    def predict(
        self, parameters: Parameters, x: NDArray[Any], state: Parameters | None = None
    ) -> NDArray[Any]:
        """Return probabilities (N, classes) for a loss with softmax, else the outputs; any number of examples.

        Batches are cut inside, so memory stays bounded.
        """
        ops = self.executor.ops
        pieces = [
            ops.to_numpy(self.loss.predict(ops, self.forward(parameters, piece, state=state).output))
            for piece in batches_of(self.check_input(x), PREDICTION_BATCH)
        ]
        return np.concatenate(pieces)

    def predictor(
        self, parameters: Parameters, state: Parameters | None = None
    ) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Return a function from a batch to the network's output, with the parameters loaded once.

        For serving: `forward` has to look at every parameter in every call, which for a single image can take longer
        than the image. Later changes to the arrays in ``parameters`` have no effect.
        """
        self.network.check_parameters(parameters)
        kept = {
            layer: {name: np.array(array, dtype=self.dtype) for name, array in named.items()}
            for layer, named in parameters.items()
        }
        if self.backend == "native":
            from tatami.program.native import NativePredictor

            carried = self.initial_state() if state is None else state
            native = NativePredictor(self.network, self.threads, kept, carried, self.precision)
            if not native.planned.external:
                return lambda x: native(self.check_input(x))
        return lambda x: self.forward(kept, x, state=state).output

    def train_step(
        self,
        parameters: Parameters,
        x: NDArray[Any],
        target: NDArray[Any],
        *,
        key: RandomKey | None = None,
        state: Parameters | None = None,
        keep: bool = False,
    ) -> Step:
        """Run forward and backward on one batch; nothing is updated.

        Args:
            parameters: layer → name → array.
            x: a batch (N, *input_shape).
            target: class labels (N,) from 0, or what else the loss takes.
            key: seed, epoch and step, from which dropout draws its masks.
            state: the layers' state; the initial one by default.
            keep: whether every intermediate and its gradient can be read from ``values`` and ``value_gradients``.

        Returns:
            `Step` with loss, output, gradients and the new state.
        """
        self.network.check_parameters(parameters)
        batch = self.check_input(x)
        expected = self.loss.target(target, self.network.output_shape)
        if len(expected) != len(batch):
            raise ShapeError(f"{self.network.name}: {len(batch)} examples came with {len(expected)} targets")
        carried = self.initial_state() if state is None else state
        return self.executor.train_step(parameters, batch, expected, key or RandomKey(), carried, keep)

    def session(
        self,
        parameters: Parameters,
        optimizer: Optimizer,
        *,
        optimizer_state: OptimizerState | None = None,
        state: Parameters | None = None,
        clip_norm: float | None = None,
    ) -> TrainingSession:
        """Start training from the given parameters.

        Args:
            parameters: where to start; kept in the program's precision from then on.
            optimizer: how parameters move.
            optimizer_state: to go on where an earlier session stopped.
            state: the layers' state, likewise.
            clip_norm: largest common norm of all gradients, or None.
        """
        self.network.check_parameters(parameters)
        if self.backend == "native":
            from tatami.program.native import NativeSession, can_update

            carried = self.initial_state() if state is None else state
            if can_update(self.network, optimizer):
                return NativeSession(
                    self.network,
                    self.loss,
                    self.threads,
                    self.cast(parameters),
                    optimizer,
                    optimizer_state,
                    carried,
                    clip_norm,
                    self.precision,
                )
        return LayerwiseSession(self, self.cast(parameters), optimizer, optimizer_state, state, clip_norm)

    def cast(self, parameters: Parameters) -> Parameters:
        """Return the parameters in this program's precision."""
        return {
            layer: {name: np.asarray(array, dtype=self.dtype) for name, array in named.items()}
            for layer, named in parameters.items()
        }

    def check_input(self, x: NDArray[Any]) -> NDArray[Any]:
        """Raise unless x is a batch of at least one example in the network's input shape."""
        x = np.asarray(x)
        if x.dtype.kind not in "buif":
            raise DataError(f"{self.network.name}: expected an array of numbers, got dtype {x.dtype}")
        if x.shape[1:] != self.network.input_shape or x.ndim == 0:
            raise ShapeError(
                f"{self.network.name}: expected a batch of shape {('N', *self.network.input_shape)} at layer "
                f"{self.network.nodes[0].name!r}, got {x.shape}{shape_remedy(x.shape, self.network.input_shape)}"
            )
        if len(x) == 0:
            raise DataError(f"{self.network.name}: the batch is empty")
        return x


def shape_remedy(came: Shape, expected: Shape) -> str:
    """Say what would turn a batch of a wrong shape into a right one, if it is one of the usual slips."""
    if came == expected:
        return "; one example alone needs a batch axis: x[None]"
    if expected[:1] == (1,) and came[1:] == expected[1:]:
        return "; add the channel axis: x[:, None]"
    if came == expected[1:]:
        return "; add the batch and channel axes: x[None, None]"
    if len(expected) > 1 and came[1:] == (*expected[1:], expected[0]):
        return "; channels come first: numpy.moveaxis(x, -1, 1)"
    if len(expected) > 1 and np.prod(came[1:]) == np.prod(expected):
        return f"; the number of values fits: x.reshape(-1, {', '.join(map(str, expected))})"
    return "; resize the data or build the network for that input shape"


def batches_of(x: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    """Cut an array into consecutive batches."""
    for start in range(0, len(x), size):
        yield x[start : start + size]
