"""Numbers as the walkthroughs write them."""

import numpy as np
from numpy.typing import NDArray


def numeral(value: float, decimals: int = 4) -> str:
    """Return a number: whole ones as they are, others to so many decimals, tiny ones in powers of ten.

    >>> numeral(3.0), numeral(0.98201), numeral(-0.00001614), numeral(1e9), numeral(136400619.87)
    ('3', '0.9820', '-1.61e-05', '1,000,000,000', '1.36e+08')
    """
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "∞" if value > 0 else "-∞"
    if value == round(value) and abs(value) < 1e15:
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    # Below this a number would lose its first digits; few decimals are asked for where those do not matter.
    if abs(value) < 0.5 * 10.0 ** ((1 if decimals >= 3 else 0) - decimals):
        return f"{value:.2e}"
    if abs(value) >= 1e6:
        return f"{value:.2e}"
    return f"{value:,.1f}" if abs(value) >= 10_000 else f"{value:.{decimals}f}"


def as_printed(value: float, decimals: int) -> str:
    """Return a number with exactly the decimals that a lecture prints.

    >>> as_printed(1.0, 4), as_printed(40.0, 0), as_printed(-0.000161, 6)
    ('1.0000', '40', '-0.000161')
    """
    return f"{value:.{decimals}f}"


def numeral_row(values: NDArray[np.float64], decimals: int = 4) -> str:
    """Return the numbers of an array in a row.

    >>> numeral_row(np.array([0.982014, 0.880797]))
    '0.9820, 0.8808'
    """
    return ", ".join(numeral(float(value), decimals) for value in values.reshape(-1))
