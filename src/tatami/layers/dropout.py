"""Dropout: units that are left out at random while training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tatami.backends.base import Array, Backend
from tatami.errors import SettingError
from tatami.geometry import Shape
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input


@dataclass(frozen=True)
class Dropout(Layer):
    """Set each unit to zero with probability ``ratio`` while training, and scale the rest by 1/(1 - ratio).

    y = mask·x / (1 - ratio), mask 1 with probability 1 - ratio; at prediction y = x. The expected output is x in
    both cases, so no factor is needed at prediction (Qiita's factor, the probability of *keeping*, belongs to the form
    that does not scale while training).

    The mask is drawn from the counter-based generator by seed, epoch, step and the layer's name: the same on
    every backend and number of threads.

    Args:
        ratio: probability of dropping a unit, 0 ≤ ratio < 1.

    >>> Dropout(0.2).output_shape((200,))
    (200,)

    Source: Arai's program drops an exact number over the whole batch; we draw every unit by itself (Srivastava et
    al., 2014). Arai's `Backward` forgets the mask in δ; here it is applied.
    """

    ratio: float = 0.5
    kind: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        """Check the ratio."""
        super().__post_init__()
        if not 0 <= self.ratio < 1:
            raise SettingError(f"{self.label}: ratio must be at least 0 and below 1, got {self.ratio!r}")

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the input's shape."""
        return only_input(self, input_shapes)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return mask·x / (1 - ratio) while training, else x."""
        (x,) = inputs
        if not context.training or self.ratio == 0:
            return Forward(x)
        kept = context.key.keep_mask(self.name, x.shape, self.ratio)
        scale = ops.asarray(kept, "bool") * ops.xp.asarray(1 / (1 - self.ratio), dtype=x.dtype)
        return Forward(x * scale, saved={"scale": scale})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = scale * x``: scale * dy, with the same mask."""
        return Backward((dy * saved["scale"] if "scale" in saved else dy,))

    def settings(self) -> str:
        """Return the ratio."""
        return f"ratio {self.ratio:g}"
