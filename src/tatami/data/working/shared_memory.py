"""Memory that two processes share and that has no name: it is gone when the last of them is, however they end.

On Linux it is a file that exists in memory only (``memfd_create``), elsewhere a temporary file that is unlinked before
anything is written to it. A child process gets it as a file descriptor, so nothing has to be cleaned up that could be
forgotten, and ``/dev/shm``, which containers keep small, is not used.
"""

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tatami.errors import DataError


class SharedMemory:
    """Bytes behind a file descriptor. Close it when it is no longer needed.

    >>> memory = SharedMemory.of(np.array([1, 2, 3], np.int16))
    >>> memory.array("<i2", (3,)).tolist()
    [1, 2, 3]
    >>> memory.close()

    Args:
        descriptor: of a file that belongs to this object from now on.
    """

    def __init__(self, descriptor: int) -> None:
        """Map nothing yet."""
        self.descriptor = descriptor
        self.view: mmap.mmap | None = None

    @classmethod
    def create(cls, size: int = 0) -> "SharedMemory":
        """Return ``size`` bytes of zeros."""
        if hasattr(os, "memfd_create"):
            memory = cls(os.memfd_create("tatami-data"))
        else:
            with tempfile.TemporaryFile(prefix="tatami-data-") as file:
                memory = cls(os.dup(file.fileno()))
        try:
            memory.resize(size)
        except DataError:
            memory.close()
            raise
        return memory

    @classmethod
    def of(cls, array: NDArray[Any]) -> "SharedMemory":
        """Return a copy of an array's bytes."""
        memory = cls.create(array.nbytes)
        try:
            if array.nbytes:
                memory.array(array.dtype.str, array.shape)[...] = array
        except BaseException:
            memory.close()
            raise
        return memory

    @property
    def size(self) -> int:
        """Number of bytes, as the other process may have changed it."""
        return os.fstat(self.descriptor).st_size

    def resize(self, size: int) -> None:
        """Change the number of bytes.

        Raises:
            DataError: there is not so much memory.
        """
        try:
            os.ftruncate(self.descriptor, size)
        except OSError as error:
            raise DataError(
                f"worker processes: {size:,} bytes of shared memory cannot be had ({error.strerror or error}); use "
                f"fewer workers, a smaller batch, or threads"
            ) from error

    def array(
        self, dtype: str, shape: tuple[int, ...], offset: int = 0, *, write: bool = True
    ) -> NDArray[Any]:
        """Return an array that lies in this memory."""
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        if count == 0:
            return np.empty(shape, kind)
        size = self.size
        if self.view is None or len(self.view) != size:
            # The old view ends with the last array that lies in it.
            self.view = mmap.mmap(
                self.descriptor, size, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            )
        return np.frombuffer(self.view, kind, count, offset).reshape(shape)

    def close(self) -> None:
        """Give it up; arrays that still lie in it stay usable."""
        self.view = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
