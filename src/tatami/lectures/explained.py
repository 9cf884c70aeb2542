"""One number of a network with the numbers that made it put into its formula, as `tatami.trace` explains it."""

from tatami.inspect.explanation import Explanation
from tatami.inspect.expression import Style
from tatami.inspect.notation import number_latex

DIGITS = 4


def worked_line(left: str, explanation: Explanation) -> str:
    r"""Return 'left = the formula with its numbers = the value', in LaTeX; indices count from 1.

    >>> import numpy as np
    >>> from tatami import build, trace
    >>> network = build("ox")
    >>> ring = np.array([[[1.0, 1, 1], [1, 0, 1], [1, 1, 1]]])
    >>> kept = trace(network, network.initialize(dtype="float64"), ring)
    >>> worked_line("z(1,1,1)", kept.explain("conv1", (0, 0, 0)))
    'z(1,1,1) = 1 \\cdot 1 + 1 \\cdot 1 + 1 \\cdot 1 - 1 \\cdot 0 + 1 = 4'
    """
    style = Style(True, True, DIGITS, None)
    numbers = explanation.derivation.expression.latex(style)
    return f"{left} = {numbers} = {number_latex(explanation.value, DIGITS)}"
