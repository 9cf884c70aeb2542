"""Layers at the entrance of a network that reads tokens: numbers that stand for words or letters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tatami.backends.base import Array, Backend
from tatami.errors import DataError, ShapeError
from tatami.geometry import Shape, check_positive
from tatami.initializers import Initializer, Normal, ParameterSpec
from tatami.layers.base import Backward, Context, Forward, Layer, LayerParameters, only_input
from tatami.random import RandomKey


@dataclass(frozen=True)
class Embedding(Layer):
    """Replace every token by a learned vector: y(f, t) = W(x(t), f), x(t) a whole number from 0 to vocabulary - 1.

    The same as a dense layer behind a one-hot code, without the zeros. Sequences (time,) become (features, time).

    Args:
        vocabulary: number of different tokens.
        features: length of a vector.
        weight_initializer: initial value of the weight (vocabulary, features); standard normal by default.

    Raises:
        DataError: a token that is no whole number or not in the vocabulary.

    >>> Embedding(65, 16).output_shape((40,))
    (16, 40)

    Source: Bengio et al. (2003).
    """

    vocabulary: int
    features: int
    weight_initializer: Initializer = field(default_factory=lambda: Normal(1.0))
    kind: ClassVar[str] = "embedding"
    takes_indices: ClassVar[bool] = True

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (features, *shape)."""
        shape = only_input(self, input_shapes)
        check_positive((self.vocabulary,), "vocabulary", self.label)
        check_positive((self.features,), "features", self.label)
        return (self.features, *shape)

    def parameter_specs(self, *input_shapes: Shape) -> dict[str, ParameterSpec]:
        """Return weight (vocabulary, features)."""
        shape = (self.vocabulary, self.features)
        return {"weight": ParameterSpec(shape, self.weight_initializer, 1, self.features)}

    def draw_input(self, key: RandomKey, stream: str, shape: Shape) -> NDArray[np.float64]:
        """Return random tokens."""
        return np.floor(key.uniform(stream, shape) * self.vocabulary)

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return row x(t) of W at every t."""
        (x,) = inputs
        self.check_tokens(ops, x)
        tokens = ops.xp.astype(x, ops.xp.int64)
        rows = ops.xp.take(parameters["weight"], ops.xp.reshape(tokens, (-1,)), axis=0)
        y = ops.xp.reshape(rows, (*x.shape, self.features))
        return Forward(ops.xp.moveaxis(y, -1, 1), saved={"x": x, "tokens": tokens})

    def check_tokens(self, ops: Backend, x: Array) -> None:
        """Raise unless every token is one of the vocabulary's."""
        right = (x >= 0) & (x < self.vocabulary) & (x == ops.xp.floor(x))
        if bool(ops.xp.all(right)):
            return
        numbers: Any = ops.to_numpy(x)
        wrong = numbers[~ops.to_numpy(right)][0]
        raise DataError(
            f"{self.label}: a token must be a whole number from 0 to {self.vocabulary - 1}, got {wrong:g}"
        )

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return the gradients of ``y = weight[tokens]``.

        A row was copied to each place of its token, so its gradient is the sum over those places: the one-hot code,
        transposed, times dy. Tokens are no quantities; their gradient is 0.
        """
        rows = ops.xp.reshape(ops.xp.moveaxis(dy, 1, -1), (-1, self.features))
        tokens = ops.xp.reshape(saved["tokens"], (-1, 1))
        one_hot = ops.xp.astype(tokens == ops.xp.arange(self.vocabulary), dy.dtype)
        return Backward((ops.xp.zeros_like(saved["x"]),), {"weight": ops.matmul(one_hot.T, rows)})

    def sees_everything(self) -> bool:
        """Tokens have no spatial axes that a receptive field could be told in."""
        return True

    def settings(self) -> str:
        """Return vocabulary and length of a vector."""
        return f"{self.vocabulary} tokens, {self.features} features"


@dataclass(frozen=True)
class PaddingMask(Layer):
    """Say where a padded sequence has steps: 1 where an entry differs from ``value``, 0 behind the end.

    The second input of the recurrent layers. Tokens (time,) give (time,); a sequence (features, time) gives (time,) too
    and counts as ended where all features have the value.

    Args:
        value: what sequences are padded with.

    >>> PaddingMask().output_shape((40,)), PaddingMask().output_shape((8, 40))
    ((40,), (40,))
    """

    value: float = 0.0
    kind: ClassVar[str] = "mask"

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return (time,)."""
        shape = only_input(self, input_shapes)
        if len(shape) > 2:
            raise ShapeError(
                f"{self.label}: expected tokens (time,) or a sequence (features, time), got {shape}"
            )
        return shape[-1:]

    def forward(
        self, ops: Backend, inputs: tuple[Array, ...], parameters: LayerParameters, context: Context
    ) -> Forward:
        """Return 1 or 0."""
        (x,) = inputs
        differs = x != self.value
        present = differs if x.ndim == 2 else ops.xp.any(differs, axis=1)
        return Forward(ops.xp.astype(present, x.dtype), saved={"x": x})

    def backward(
        self, ops: Backend, dy: Array, saved: Mapping[str, Array], parameters: LayerParameters
    ) -> Backward:
        """Return dx of ``y = x != value``: a step function has derivative 0."""
        return Backward((ops.xp.zeros_like(saved["x"]),))

    def sees_everything(self) -> bool:
        """Tokens have no spatial axes that a receptive field could be told in."""
        return True

    def settings(self) -> str:
        """Return the value."""
        return f"padding {self.value:g}"
