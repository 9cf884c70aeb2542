"""What a worker process does: it makes batches of a data set that it was told of, and puts them into shared memory.

It is started by `tatami.data.working.processes`. Requests come as lines of JSON on the standard input, answers go as
lines of JSON to the standard output; when the input ends, because the one who asked is gone, so does the process.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tatami.data.augmentation import OpenCV, Pipeline
from tatami.data.augmentation.engines import opencv
from tatami.data.batches import Batch, Batches
from tatami.data.preprocessing import Preprocessing
from tatami.data.working.descriptions import restored
from tatami.data.working.shared_memory import SharedMemory

# Where an array begins in a slot: on a border that every type of number can lie on.
ALIGNMENT = 64


@dataclass(frozen=True)
class Work:
    """What a worker is told once.

    Attributes:
        batches: whose batches it makes.
        slots: shared memory that it puts them into, each by its number.
        notes: shared memory: the place of the file that it reads, or -1.
    """

    batches: Batches
    slots: list[SharedMemory]
    notes: NDArray[np.int64]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Work":
        """Take up the work that a description tells."""
        notes = SharedMemory(told["notes"]).array("<i8", (1,))

        def note(place: int) -> None:
            notes[0] = place

        pipeline = None if told["augmentation"] is None else Pipeline.from_json(told["augmentation"])
        if pipeline is not None and isinstance(pipeline.engine, OpenCV):
            # The worker is the thread; OpenCV's own would only take the other workers' processors.
            opencv().setNumThreads(0)
        batches = Batches(
            restored(told["dataset"], note),
            told["batch_size"],
            seed=told["seed"],
            preprocessing=Preprocessing.from_json(told["preprocessing"]),
            dtype=np.dtype(told["dtype"]),
            augmentation=pipeline,
        )
        return cls(batches, [SharedMemory(descriptor) for descriptor in told["slots"]], notes)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Make a batch, put it into its slot, and tell where its arrays are."""
        indices = np.array(request["indices"], np.int64)
        batch = self.batches.made(request["step"], request["epoch"], indices)
        return {"arrays": put(batch, self.slots[request["slot"]])}


def put(batch: Batch, slot: SharedMemory) -> dict[str, Any]:
    """Put a batch's images and targets into shared memory, and tell where they are."""
    arrays = {"images": batch.images, "targets": batch.targets}
    offsets, end = [], 0
    for array in arrays.values():
        offsets.append(end)
        end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    if end > slot.size:
        slot.view = None
        slot.resize(end)
    for array, offset in zip(arrays.values(), offsets, strict=True):
        slot.array(array.dtype.str, array.shape, offset)[...] = array
    return {
        name: {"dtype": array.dtype.str, "shape": list(array.shape), "offset": offset}
        for (name, array), offset in zip(arrays.items(), offsets, strict=True)
    }


def failure(error: Exception) -> dict[str, Any]:
    """Tell an error."""
    return {"error": type(error).__name__, "message": str(error)}


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests, the first of which tells the work, until there are no more."""

    def answer(values: Mapping[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        work = Work.of(json.loads(requests.readline()))
    except Exception as error:
        answer(failure(error))
        return
    answer({"ready": True})
    for line in requests:
        request = json.loads(line)
        try:
            answer({"number": request["number"], **work.answer(request)})
        except Exception as error:
            answer({"number": request["number"], **failure(error)})


def main() -> None:
    """Serve on the standard streams; what else is printed goes to the standard error."""
    # Ctrl-C is for the one who trains, who then closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        serve(sys.stdin, answers)
    except BrokenPipeError:
        # Nobody listens any more; there is nobody to tell either.
        os._exit(0)
