"""The array primitives in which the mathematics is written, for one array library each."""

from tatami.backends.base import TIE_RULES, Array, Backend, TieRule
from tatami.backends.reference import ReferenceBackend

__all__ = ["TIE_RULES", "Array", "Backend", "ReferenceBackend", "TieRule"]
