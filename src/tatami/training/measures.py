"""What is measured beside the loss: how each number is called, written, and which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One kind of number.

    Attributes:
        label: what people call it.
        pattern: how it is written.
        factor: what it is multiplied by before: 100 for percent.
        higher_is_better: whether a good model has a large one.
    """

    label: str
    pattern: str = "{:.4f}"
    factor: float = 1.0
    higher_is_better: bool = True

    def written(self, value: float) -> str:
        """Return the number as it is shown.

        >>> MEASURES["accuracy"].written(0.98)
        '98.00 %'
        """
        return self.pattern.format(self.factor * value)


MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure("accuracy", "{:.2f} %", 100),
    "mean_iou": Measure("mean IoU"),
    "pixel_accuracy": Measure("pixel accuracy", "{:.2f} %", 100),
    "r2": Measure("R²"),
    "rmse": Measure("RMSE", "{:.4g}", higher_is_better=False),
    "mae": Measure("MAE", "{:.4g}", higher_is_better=False),
    "psnr": Measure("PSNR", "{:.2f} dB"),
    "mse": Measure("MSE", "{:.4g}", higher_is_better=False),
    "perplexity": Measure("perplexity", "{:.3f}", higher_is_better=False),
    "step_accuracy": Measure("accuracy of the steps", "{:.2f} %", 100),
}


def written(name: str, value: float) -> str:
    """Return a measure with its name.

    >>> written("mean_iou", 0.8125)
    'mean IoU 0.8125'
    """
    measure = MEASURES.get(name, Measure(name))
    return f"{measure.label} {measure.written(value)}"
