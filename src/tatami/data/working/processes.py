"""A team of worker processes: it is told of a data set once, and makes its batches epoch after epoch.

Processes do not share the interpreter's lock, so NumPy's many small calls run side by side in them, as they do not in
threads. Each batch is written into shared memory and copied out of it. For each worker at most `AHEAD` batches are
begun or waiting, so that memory stays bounded whoever is slower. Nothing is left behind: the shared memory has no name,
and a worker ends when its input does, also if this process is killed.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tatami import errors
from tatami.data.batches import Batch, Batches
from tatami.data.working.descriptions import Parcel, described, paths_of
from tatami.data.working.shared_memory import SharedMemory
from tatami.errors import DataError, TatamiError

# Batches that each worker may be ahead of the one who takes them.
AHEAD = 2
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from tatami.data.working.process import main; main()"
)
# A worker is one thread; the libraries below NumPy need none of their own. It makes arrays of the same sizes again and
# again, whose memory the C library of Linux is told to keep instead of handing it back each time.
ENVIRONMENT = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
    ),
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**28)),
}
READ_BYTES = 2**16


@dataclass(frozen=True, eq=False)
class Request:
    """A batch that is asked for: its epoch and step, and the places of its images."""

    epoch: int
    step: int
    indices: NDArray[np.int64]


@dataclass(eq=False)
class Worker:
    """One process, its shared memory and what it has to do."""

    process: "subprocess.Popen[bytes]"
    slots: list[SharedMemory]
    notes: SharedMemory
    free: list[int]
    doing: dict[int, tuple[Request, int]] = field(default_factory=dict)
    heard: bytes = b""

    @classmethod
    def start(cls, told: Mapping[str, Any], parcel: Parcel) -> "Worker":
        """Start a process and tell it its work; it has answered when it is ready."""
        memories: list[SharedMemory] = []
        try:
            memories = [SharedMemory.create() for _ in range(AHEAD)]
            notes = SharedMemory.of(np.array([-1], "<i8"))
            memories.append(notes)
            descriptors = tuple(memory.descriptor for memory in memories)
            process = subprocess.Popen(
                [sys.executable, "-c", START, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, **ENVIRONMENT},
                pass_fds=(*parcel.descriptors, *descriptors),
                process_group=0,  # Ctrl-C reaches this process only, which then ends its workers.
            )
        except OSError as error:
            for memory in memories:
                memory.close()
            raise DataError(f"a worker process cannot be started: {error.strerror or error}") from error
        except BaseException:
            for memory in memories:
                memory.close()
            raise
        worker = cls(process, memories[:AHEAD], notes, list(range(AHEAD)))
        try:
            worker.tell({**told, "slots": list(descriptors[:AHEAD]), "notes": notes.descriptor})
        except BaseException:
            worker.end()
            raise
        return worker

    @property
    def stdin(self) -> IO[bytes]:
        """Where it reads requests."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """Where it writes answers."""
        assert self.process.stdout is not None
        return self.process.stdout

    def do(self, number: int, request: Request) -> None:
        """Ask for a batch."""
        slot = self.free.pop()
        self.doing[number] = (request, slot)
        asked = {"number": number, "epoch": request.epoch, "step": request.step, "slot": slot}
        self.tell({**asked, "indices": request.indices.tolist()})

    def done(self, number: int) -> tuple[Request, SharedMemory]:
        """Return what was asked for and where it lies, which is free from now on."""
        request, slot = self.doing.pop(number)
        self.free.append(slot)
        return request, self.slots[slot]

    def tell(self, values: Mapping[str, Any]) -> None:
        """Send a line of JSON; that nobody reads it shows when the answer is missing."""
        rest = memoryview(json.dumps(values).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[self.stdin.write(rest) :]

    def hear(self) -> list[dict[str, Any]]:
        """Return the answers that have come; wait for some if there are none.

        Raises:
            EOFError: the process has ended.
        """
        piece = self.stdout.read(READ_BYTES)
        if not piece:
            raise EOFError
        *lines, self.heard = (self.heard + piece).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """End the process, whatever it does: it holds nothing that has to be cleaned up."""
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.wait()
        for stream in (self.stdin, self.stdout):
            stream.close()
        for memory in (*self.slots, self.notes):
            memory.close()

    def how_it_ended(self) -> str:
        """Say how the process ended."""
        code = self.process.wait()
        if code >= 0:
            return f"ended with status {code}"
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"


class Team:
    """Worker processes for the batches of one data set. Use it in a ``with`` statement, or `close` it.

    Args:
        batches: what they make.
        count: number of processes.

    Raises:
        SettingError: the data set cannot be told to another process; the message says why.
        DataError: a process cannot be started.
        TatamiError: what the workers found wrong when they took up the work.
    """

    def __init__(self, batches: Batches, count: int) -> None:
        """Start the processes, all at once, and wait until each is ready."""
        self.batches = batches
        self.workers: list[Worker] = []
        self.answers: dict[int, Batch | Exception] = {}
        self.wanted: set[int] = set()
        self.next_number = 0
        self.busy = False
        self.loss: DataError | None = None
        self.selector = selectors.DefaultSelector()
        parcel = Parcel()
        try:
            told = self.told(parcel)
            for _ in range(count):
                worker = Worker.start(told, parcel)
                self.workers.append(worker)
                self.selector.register(worker.stdout, selectors.EVENT_READ, worker)
            for worker in self.workers:
                self.wait_until_ready(worker)
        except BaseException:
            self.close()
            raise
        finally:
            parcel.close()

    def told(self, parcel: Parcel) -> dict[str, Any]:
        """Return all that a worker has to know about its work."""
        batches = self.batches
        return {
            "dataset": described(batches.dataset, parcel),
            "batch_size": batches.batch_size,
            "seed": int(batches.seed),
            "preprocessing": batches.preprocessing.to_json(),
            "dtype": np.dtype(batches.dtype).str,
            "augmentation": None if batches.augmentation is None else batches.augmentation.to_json(),
        }

    def wait_until_ready(self, worker: Worker) -> None:
        """Wait for a worker's first answer; raise the error that it is."""
        while True:
            try:
                heard = worker.hear()
            except EOFError:
                raise DataError(f"a worker process {worker.how_it_ended()} before it was ready") from None
            if heard:
                if "error" in heard[0]:
                    raise error_of(heard[0])
                return

    def __enter__(self) -> "Team":
        """Return the team."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all processes."""
        self.close()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step ``start`` on, made ahead of time.

        While one epoch is being taken, another one's batches are made by the one who asks for them.
        """
        batches = self.batches
        batches.require_step(start, batches.steps)
        order = batches.order(epoch)
        steps = range(start, batches.steps)
        if self.busy or not steps:
            return (batches.piece(order, step, epoch) for step in steps)
        return self.taken(Request(epoch, step, batches.indices(order, step)) for step in steps)

    def taken(self, requests: Iterable[Request]) -> Generator[Batch, None, None]:
        """Yield what is asked for, in order; what nobody takes any more is forgotten."""
        waiting: deque[int] = deque()
        self.busy = True
        try:
            for request in requests:
                waiting.append(self.ask(request))
                if len(waiting) >= AHEAD * max(1, len(self.workers)):
                    yield self.answer(waiting.popleft())
            while waiting:
                yield self.answer(waiting.popleft())
        finally:
            self.busy = False
            self.wanted.clear()
            self.answers.clear()

    def ask(self, request: Request) -> int:
        """Give a batch to the worker with the least to do, and return its number."""
        number = self.next_number
        self.next_number += 1
        self.wanted.add(number)
        while self.workers and all(len(worker.doing) >= AHEAD for worker in self.workers):
            self.listen()
        if not self.workers:
            assert self.loss is not None
            self.answers[number] = self.loss
            return number
        worker = min(self.workers, key=lambda worker: len(worker.doing))
        worker.do(number, request)
        return number

    def answer(self, number: int) -> Batch:
        """Wait for a batch, and return it or raise the error that came instead."""
        while number not in self.answers:
            self.listen()
        self.wanted.discard(number)
        answer = self.answers.pop(number)
        if isinstance(answer, Batch):
            return answer
        raise answer

    def listen(self) -> None:
        """Wait until a worker has something to say, and take what it made out of the shared memory."""
        for key, _ in self.selector.select():
            worker: Worker = key.data
            try:
                heard = worker.hear()
            except EOFError:
                self.lose(worker)
                continue
            for told in heard:
                number = told["number"]
                request, slot = worker.done(number)
                if number in self.wanted:
                    failed = "error" in told
                    self.answers[number] = error_of(told) if failed else self.copied(request, told, slot)

    def copied(self, request: Request, told: Mapping[str, Any], slot: SharedMemory) -> Batch:
        """Return a batch of its own memory, so that the worker may go on with the slot."""
        images, targets = (
            slot.array(place["dtype"], tuple(place["shape"]), place["offset"]).copy()
            for place in (told["arrays"]["images"], told["arrays"]["targets"])
        )
        labels = self.batches.dataset.labels[request.indices]
        return Batch(request.step, images, labels, request.indices, targets)

    def lose(self, worker: Worker) -> None:
        """Let a worker go that has died: what it was doing becomes an error that names the file."""
        self.selector.unregister(worker.stdout)
        self.workers.remove(worker)
        place = int(worker.notes.array("<i8", (1,))[0])
        how = worker.how_it_ended()
        paths = paths_of(self.batches.dataset.images)
        doing = [request for request, _ in worker.doing.values()]
        if 0 <= place < len(paths):
            text = (
                f"{paths[place]}: a worker process {how} while it read this file; mend the file or remove it, or "
                f"leave it out (--skip-bad)"
            )
        else:
            which = f" while it made the batch of step {doing[0].step}" if doing else ""
            text = f"{self.batches.dataset.name}: a worker process {how}{which}; was it killed, or out of memory?"
        self.loss = DataError(text)
        for number in worker.doing:
            if number in self.wanted:
                self.answers[number] = self.loss
        worker.end()

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.end()
        self.workers = []
        self.selector.close()


def error_of(told: Mapping[str, Any]) -> Exception:
    """Return the error that a worker told: one of ours as itself, another one as a DataError that names it."""
    name, message = str(told["error"]), str(told["message"])
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, TatamiError):
        return kind(message)
    return (
        MemoryError(message) if name == "MemoryError" else DataError(f"a worker process: {name}: {message}")
    )
