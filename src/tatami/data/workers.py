"""How many workers make batches while the network trains on earlier ones, and whether they are threads or processes.

They change nothing but the time: results come in order, at most a few are made ahead, and an error of a worker is
raised where its result was due. Threads cost nothing to start and share everything, but the many small calls of an
augmentation hold the interpreter's lock: two threads draw no more images a second than one, two processes twice as
many. Photographs are decoded by two processes a third faster than by two threads.
"""

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from tatami.errors import SettingError

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
Kind = Literal["auto", "threads", "processes"]
# Results that each worker may be ahead of the one who takes them.
AHEAD = 2
MOST_WORKERS = 256
MOST_CHOSEN = 8


@dataclass(frozen=True)
class Workers:
    """How many workers there are, and of which kind.

    >>> Workers.of(4), Workers.of("2:processes")
    (Workers(count=4, kind='auto'), Workers(count=2, kind='processes'))
    >>> str(Workers.of("2:processes"))
    '2:processes'

    Attributes:
        count: how many; 0 makes each batch when it is taken.
        kind: 'threads', 'processes', or 'auto': what suits the data.
    """

    count: int = 0
    kind: Kind = "auto"

    @classmethod
    def of(cls, setting: "int | str | Workers") -> "Workers":
        """Read a number, or 'auto' for as many as there are processors to spare; with ':threads' or ':processes'.

        Raises:
            SettingError: not such a setting.
        """
        if isinstance(setting, Workers):
            return setting
        count, colon, kind = str(setting).partition(":")
        known = kind in get_args(Kind) if colon else not isinstance(setting, bool)
        if count == "auto" and known and isinstance(setting, str):
            count = str(min(MOST_CHOSEN, max(1, processors() - 1)))
        if not known or not re.fullmatch(r"[0-9]{1,4}", count) or int(count) > MOST_WORKERS:
            raise SettingError(
                f"workers must be a whole number of at least 0 and at most {MOST_WORKERS}, or 'auto', alone or with "
                f"the kind as in '4:threads' or '4:processes', got {setting!r:.40}"
            )
        return cls(int(count), kind if colon else "auto")  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Write the setting."""
        return str(self.count) if self.kind == "auto" else f"{self.count}:{self.kind}"


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_start_processes() -> bool:
    """Say whether file descriptors can be handed to a new interpreter here."""
    return os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False)


def made_ahead(make: Callable[[int], T], numbers: Iterable[int], workers: int) -> Iterator[T]:
    """Yield make(n) for each number, in order, made by threads a little ahead of time.

    Args:
        make: makes one result; called from several threads at once.
        numbers: of the results, taken one by one.
        workers: number of threads; 0 makes each result when it is taken.

    >>> list(made_ahead(lambda number: number * number, range(5), workers=2))
    [0, 1, 4, 9, 16]
    """
    if workers < 0:
        raise SettingError(f"workers must be at least 0, got {workers}")
    if workers == 0:
        return map(make, numbers)
    return from_threads(make, numbers, workers)


def from_threads(make: Callable[[int], T], numbers: Iterable[int], workers: int) -> Iterator[T]:
    """Do the work of `made_ahead`; when nobody takes results any more, what is queued is dropped."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(workers, thread_name_prefix="tatami-data")
    waiting: deque[Future[T]] = deque()
    try:
        for number in numbers:
            waiting.append(pool.submit(make, number))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
