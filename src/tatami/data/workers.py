"""Batches made by threads while the network trains on earlier ones.

Decoding and NumPy's loops let go of the interpreter's lock, so threads are enough. They change nothing but the time:
results come in order, at most a few are made ahead, and an error of a worker is raised where its result was due.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tatami.errors import SettingError

T = TypeVar("T")
# Results that each worker may be ahead of the one who takes them.
AHEAD = 2


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
