"""A checkpoint: everything that the next training step is a function of.

A step depends on the checkpoint and on nothing else: parameters, optimiser state, layer state, the position
in the run (from which the generator draws shuffling and masks), and the running sums of the epoch. So a run
that was killed and resumed ends with the same bits as one that was not.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tatami.data import Preprocessing
from tatami.errors import CheckpointError, NotFiniteError, TatamiError
from tatami.geometry import is_whole
from tatami.network import Network, Parameters
from tatami.optimizers import Optimizer, OptimizerState
from tatami.training.checkpoint_file import advice, read_checkpoint_file, write_checkpoint_file
from tatami.training.history import History, RunningSums
from tatami.training.settings import TrainingSettings

GENERATOR = "philox4x32-10"
PARAMETERS, STATE, OPTIMIZER = "parameters", "state", "optimizer"

T = TypeVar("T")


@dataclass(frozen=True)
class Position:
    """Where a run stands: epochs done, batches done of the next one, and steps done in all."""

    epoch: int = 0
    batch: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        """Refuse what is not a position."""
        for name in ("epoch", "batch", "step"):
            value = getattr(self, name)
            if not is_whole(value) or not 0 <= value < 2**32:
                raise CheckpointError(f"position in the run: {name} is {value!r}")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run at one moment.

    Args:
        network: the network.
        parameters: its parameters.
        state: what layers carry from step to step (running statistics).
        optimizer_state: count of updates and slots.
        preprocessing: how raw images become the network's input.
        class_names: in the order of the labels; for other tasks than classification what the outputs mean, such as the
            classes of pixels, the names of numbers, the letters of a text.
        settings: how the run is trained.
        position: where it stands.
        sums: of the part of the current epoch that is done.
        history: of the epochs that are done.
        data: what it is trained on: the source's name and a fingerprint.
    """

    network: Network
    parameters: Parameters
    state: Parameters
    optimizer_state: OptimizerState
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    settings: TrainingSettings
    position: Position = field(default_factory=Position)
    sums: RunningSums = field(default_factory=RunningSums)
    history: History = field(default_factory=History)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights_sha256(self) -> str:
        """Fingerprint of the parameters."""
        return weights_sha256(self.parameters)


def weights_sha256(parameters: Mapping[str, Mapping[str, NDArray[Any]]]) -> str:
    """Return the SHA-256 over the parameters' bytes, in the order of their names 'layer.parameter'.

    Equal for equal bits. Bytes are little-endian, row by row.

    >>> weights_sha256({"dense1": {"weight": np.zeros((2, 2), np.float32)}})[:16]
    '374708fff7719dd5'
    """
    arrays = flatten(parameters)
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def flatten(nested: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return layer → name → array as 'layer.name' → array."""
    return {f"{layer}.{name}": array for layer, named in nested.items() for name, array in named.items()}


def first_not_finite_array(
    parameters: Parameters, state: Parameters, optimizer_state: OptimizerState
) -> str | None:
    """Return what the first array is called that holds NaN or infinity, or None.

    Slots of the optimiser count too: an infinite mean square would stop a weight for ever without a word.
    """
    groups = {"": parameters, "state ": state}
    groups.update({f"optimizer slot {slot!r} of ": arrays for slot, arrays in optimizer_state.slots.items()})
    for group, nested in groups.items():
        for name, array in flatten(nested).items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                return f"{group}{name}"
    return None


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, keep_previous: bool = True) -> None:
    """Write a checkpoint durably; one that is not finite is never written.

    Raises:
        NotFiniteError: an array holds NaN or infinity.
        CheckpointError: the file cannot be written; the earlier one is intact.
    """
    broken = first_not_finite_array(checkpoint.parameters, checkpoint.state, checkpoint.optimizer_state)
    if broken is not None:
        raise NotFiniteError(f"{broken} holds NaN or infinity; {path} was not written")
    write_checkpoint_file(path, tensors_of(checkpoint), content_of(checkpoint), keep_previous=keep_previous)


def tensors_of(checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
    """Return every array of a checkpoint under one flat name."""
    groups = {PARAMETERS: checkpoint.parameters, STATE: checkpoint.state}
    groups.update(
        {f"{OPTIMIZER}/{slot}": arrays for slot, arrays in checkpoint.optimizer_state.slots.items()}
    )
    return {
        f"{group}/{name}": array
        for group, nested in groups.items()
        for name, array in flatten(nested).items()
    }


def content_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return everything else of a checkpoint as JSON values."""
    position = checkpoint.position
    return {
        "network": checkpoint.network.to_json(),
        "preprocessing": checkpoint.preprocessing.to_json(),
        "class_names": list(checkpoint.class_names),
        "settings": checkpoint.settings.to_json(),
        "random": {
            "generator": GENERATOR,
            "seed": checkpoint.settings.seed,
            "epoch": position.epoch,
            "step": position.step,
        },
        "position": {"epoch": position.epoch, "batch": position.batch, "step": position.step},
        "optimizer_count": checkpoint.optimizer_state.count,
        "sums": checkpoint.sums.to_json(),
        "history": checkpoint.history.to_json(),
        "data": dict(checkpoint.data),
    }


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check that all of it fits together.

    Raises:
        CheckpointError: the file is missing, damaged, of another version, or its parts contradict each other.
    """
    tensors, content = read_checkpoint_file(path)
    try:
        return assemble(tensors, content)
    except (TatamiError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{path} cannot be used: {reason}{advice(path)}") from error


def assemble(tensors: Mapping[str, NDArray[Any]], content: Mapping[str, Any]) -> Checkpoint:
    """Build a checkpoint from the two parts of its file."""
    settings = TrainingSettings.from_json(content["settings"])
    network = Network.from_json(content["network"])
    generator = content["random"]["generator"]
    if generator != GENERATOR:
        raise CheckpointError(f"it was drawn with the generator {generator!r}, this Tatami has {GENERATOR}")
    groups = grouped(tensors)
    parameters = groups.pop(PARAMETERS, {})
    network.check_parameters(parameters)
    for name, array in flatten(parameters).items():
        if array.dtype not in (np.float32, np.float64):
            raise CheckpointError(
                f"its parameter {name} is of type {array.dtype}, expected float32 or float64"
            )
    parameters = in_order_of(network.parameter_specs, parameters)
    state = groups.pop(STATE, {})
    require_same_shapes("layer state", state, network.initial_state())
    optimizer_state = assemble_optimizer_state(
        settings.optimizer, parameters, groups, content["optimizer_count"]
    )
    class_names = content["class_names"]
    if not isinstance(class_names, list) or not all(isinstance(name, str) for name in class_names):
        raise CheckpointError("its class names are not a list of names")
    settings.task.check_names(tuple(class_names), network)
    position = Position(*(content["position"][name] for name in ("epoch", "batch", "step")))
    history = History.from_json(content["history"])
    if len(history) != position.epoch:
        raise CheckpointError(
            f"it says that {position.epoch} epochs are done, its history has {len(history)}"
        )
    return Checkpoint(
        network=network,
        parameters=parameters,
        state=in_order_of(network.initial_state(), state),
        optimizer_state=optimizer_state,
        preprocessing=Preprocessing.from_json(content["preprocessing"]),
        class_names=tuple(class_names),
        settings=settings,
        position=position,
        sums=RunningSums.from_json(content["sums"]),
        history=history,
        data=dict(content["data"]),
    )


def grouped(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Parameters]:
    """Turn flat names 'group/layer.name' back into group → layer → name → array."""
    groups: dict[str, Parameters] = {}
    for key, array in tensors.items():
        group, slash, path = key.rpartition("/")
        layer, dot, name = path.partition(".")
        if not slash or not dot:
            raise CheckpointError(f"it holds a tensor called {key!r}, which belongs nowhere")
        groups.setdefault(group, {}).setdefault(layer, {})[name] = array
    return groups


def assemble_optimizer_state(
    optimizer: Optimizer, parameters: Parameters, groups: Mapping[str, Parameters], count: Any
) -> OptimizerState:
    """Build the optimiser's state and check it against what the optimiser would begin with."""
    if not is_whole(count) or count < 0:
        raise CheckpointError(f"the count of updates is {count!r}")
    begin = optimizer.initialize(parameters)
    expected = {f"{OPTIMIZER}/{slot}": arrays for slot, arrays in begin.slots.items()}
    if set(groups) != set(expected):
        raise CheckpointError(
            f"its optimizer {type(optimizer).__name__} needs the slots {sorted(expected)}, it holds {sorted(groups)}"
        )
    slots = {}
    for slot, arrays in begin.slots.items():
        found = groups[f"{OPTIMIZER}/{slot}"]
        require_same_shapes(f"optimizer slot {slot!r}", found, arrays)
        slots[slot] = in_order_of(arrays, found)
    return OptimizerState(count, slots)


def require_same_shapes(what: str, found: Parameters, expected: Parameters) -> None:
    """Raise unless two nested dictionaries have the same names and shapes."""
    shapes_found = {name: array.shape for name, array in flatten(found).items()}
    shapes_expected = {name: array.shape for name, array in flatten(expected).items()}
    if shapes_found != shapes_expected:
        raise CheckpointError(f"its {what} has the shapes {shapes_found}, expected {shapes_expected}")


def in_order_of(
    order: Mapping[str, Mapping[str, Any]], nested: Mapping[str, Mapping[str, T]]
) -> dict[str, dict[str, T]]:
    """Return the same arrays in the order of another nested dictionary: files know no order."""
    return {layer: {name: nested[layer][name] for name in names} for layer, names in order.items()}
