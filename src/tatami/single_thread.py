"""One thread for NumPy's matrix products: while the reference backend computes, and where images are whitened.

A matrix product that is cut among threads may add in another order, so its last bits would depend on the machine's load
and number of cores; the oracle must not. For the lectures' small matrices one thread is also the faster choice: on a
busy machine threads wait for one another at every product.
"""

from threading import Lock
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController


class SingleThreadedProducts:
    """A context that limits NumPy's BLAS to one thread; the process's own setting is back when the last user leaves.

    >>> with SingleThreadedProducts():
    ...     pass
    """

    lock = Lock()
    controller: ThreadpoolController | None = None
    limiter: Any = None
    users = 0

    def __enter__(self) -> None:
        """Set the limit unless another thread of this process has done so already."""
        shared = SingleThreadedProducts
        with shared.lock:
            shared.users += 1
            if shared.users == 1:
                shared.controller = shared.controller or ThreadpoolController()
                shared.limiter = shared.controller.limit(limits=1, user_api="blas")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the number of threads when nobody computes any more."""
        shared = SingleThreadedProducts
        with shared.lock:
            shared.users -= 1
            if shared.users == 0:
                shared.limiter.restore_original_limits()
