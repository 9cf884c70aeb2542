"""Ctrl-C and SIGTERM end a run between two steps, so that it can save before it stops."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TrainingInterrupted(KeyboardInterrupt):
    """A run was asked to stop; it has saved, and its message says how to resume.

    Derived from KeyboardInterrupt, so that ``except Exception`` around a training call does not swallow a
    Ctrl-C.
    """

    def __init__(self, message: str, signal_number: int = signal.SIGINT) -> None:
        """Keep the message and the signal; a shell expects 128 + signal as exit code."""
        super().__init__(message)
        self.exit_code = 128 + int(signal_number)


class StopRequest:
    """Remembers that a signal asked the run to stop."""

    def __init__(self) -> None:
        """Begin with no request."""
        self.signal_number: int | None = None

    def __bool__(self) -> bool:
        """Say whether a stop was asked for."""
        return self.signal_number is not None

    def receive(self, signal_number: int, frame: FrameType | None) -> None:
        """Note the signal; a second Ctrl-C stops at once, without saving."""
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = signal_number


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request that the training loop asks for between two steps.

    Python delivers signals to the main thread only; elsewhere nothing is changed.

    >>> import os
    >>> with stop_on_signal() as stop:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     print(bool(stop))
    True
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    earlier: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in earlier:
            signal.signal(number, stop.receive)
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
