"""Call everything that the compiled module offers with random nonsense, in a process that must survive it.

    python nonsense.py SEED CALLS LOG

Arguments are sometimes what a call expects, sometimes nearly, sometimes anything. LOG holds the call that was running,
so that a crash names it. Memory is limited where the system can, so that absurd sizes end in MemoryError.
"""

import ast
import os
import random
import re
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tatami import native

REFUSED = (ValueError, TypeError, OverflowError, MemoryError)
MEMORY = 2 * 2**30
LAST_NODES = {7: "add_flatten", 8: "add_dense", 9: "finish"}
SWITCHES = (
    *("affine", "bias", "concatenate", "count_padding", "maximum", "normalise", "over_channels", "per_value"),
    *("by_channel", "every_step", "exact", "reverse", "shared", "training", "update"),
)
NUMBERS = (
    -(2**63),
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    16,
    17,
    255,
    2**20,
    2**20 + 1,
    2**31,
    2**32,
    2**40,
    2**63,
    2**64,
)

SMALL_OR_REFUSED = tuple(number for number in NUMBERS if not 2**20 <= number < 2**63)


class Arguments:
    """Draws arguments by the name that the parameter has in the module's signatures."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def small(self) -> int:
        return self.random.choice((0, 0, 1, 1, 1, 2, 2, 3, 5))

    def number(self) -> int:
        return self.random.choice(SMALL_OR_REFUSED if "ASAN_OPTIONS" in os.environ else NUMBERS)

    def axes(self) -> list[int]:
        return [self.random.choice((1, 1, 2, 3)) for _ in range(3)]

    def padding(self) -> list[int]:
        return [self.random.choice((0, 0, 1)) for _ in range(3)]

    def shape(self) -> list[int]:
        return [self.random.choice((1, 2, 3, 5, 8)) for _ in range(self.random.choice((1, 3, 3, 4)))]

    def array(self) -> Any:
        """Arrays of many types, sizes and layouts; sometimes the right one by luck."""
        shape = tuple(self.random.choice((0, 1, 2, 3, 4, 6, 12)) for _ in range(self.random.randint(0, 4)))
        kind = self.random.choice(("f4", "f4", "f4", "i8", "f8", "i4", "u1", "?", ">f4", "O", "c8", "M8[s]"))
        made = np.zeros(shape, kind)
        return self.random.choice(
            (made, made, made[..., ::-1] if shape else made, made.T, made[:0] if shape else made)
        )

    def anything(self) -> Any:
        return self.random.choice(
            (
                None,
                True,
                float("nan"),
                float("inf"),
                -1.5,
                "",
                "weight",
                b"x",
                [],
                [None],
                [1, 2, 3, 4],
                [self.number() for _ in range(3)],
                {},
                object(),
                self.number(),
                self.array(),
                memoryview(b"abcd"),
                1j,
            )
        )

    def of(self, name: str, sizes: dict[str, Any]) -> Any:
        """Draw one argument."""
        if self.random.random() < 0.03:
            return self.anything()
        if self.random.random() < 0.03:
            return self.number()
        if name in SWITCHES:
            return self.random.random() < 0.5
        drawn: dict[str, Callable[[], Any]] = {
            "shape": self.shape,
            "kernel": self.axes,
            "size": self.axes,
            "stride": self.axes,
            "dilation": self.axes,
            "before": self.padding,
            "after": self.padding,
            "input": lambda: self.random.randrange(max(1, sizes["nodes"])),
            "inputs": lambda: [self.random.randrange(max(1, sizes["nodes"])) for _ in range(2)],
            "table": lambda: [[self.small() for _ in range(2)] for _ in range(3)],
            "filters": lambda: self.random.choice((1, 3, 16, 17)),
            "units": lambda: self.random.choice((1, 3, 16, 17)),
            "groups": lambda: self.random.choice((1, 1, 1, 2, 3)),
            "exponent": lambda: self.random.choice((1.0, 2.0, 3.0)),
            "ratio": lambda: self.random.choice((0.0, 0.3, 0.999)),
            "rate": lambda: 0.1,
            "loss_weight": lambda: 1.0,
            "mode": lambda: self.random.choice((0, 1, 1, 2, 2)),
            "batch": self.small,
            "name": lambda: self.random.choice(("weight", "bias", "external0", "state_weight")),
            "parameter_sizes": lambda: [self.small() for _ in range(2)],
            "isa": lambda: self.random.choice((*native.available(), *native.emulated())),
            "products": lambda: self.random.choice((0, 1, 1, 2, 3)),
            "axes": lambda: self.random.sample(range(3), 3),
            "sources": lambda: [[self.random.choice((0, 0, 1)) for _ in range(2)] for _ in range(3)],
            "weights": lambda: [[0.5, 1.0], [0.0, -1.0], [1.0, 2.0]],
            "taps": lambda: [self.random.choice((1, 1, 2)) for _ in range(3)],
            "x": lambda: self.batch(sizes["input"]),
            "output": lambda: self.batch(sizes["output"]),
            "doutput": lambda: self.batch(sizes["output"]),
            "targets": lambda: self.random.choice((None, self.batch(sizes["output"]))),
            "labels": lambda: self.random.choice(
                (None, np.zeros(3, np.int64), np.full(3, self.number() % 9))
            ),
            "values": lambda: np.ones(self.random.choice((4, 4 * prod(sizes["input"]))), np.float32),
            "rule": lambda: self.random.randrange(7),
            "to": lambda: self.batch(self.random.choice((sizes["output"], sizes["input"]))),
            "from_": lambda: self.batch(self.random.choice((sizes["output"], sizes["input"]))),
        }
        return drawn.get(name, self.small)()

    def batch(self, shape: list[int]) -> Any:
        """A batch of three examples, now and then of another number or type."""
        if self.random.random() < 0.1:
            return self.array()
        return np.ones((3 if self.random.random() < 0.9 else self.small(), *shape), np.float32)


def limit_memory() -> None:
    """Make absurd allocations fail instead of bringing the machine down.

    AddressSanitizer ends the process where memory ends, instead of raising: under it absurd sizes are left out.
    """
    if "ASAN_OPTIONS" in os.environ:
        return
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        return


def parameters_of(function: Any) -> list[str]:
    """Read the parameters' names from the signature that the module documents."""
    signature = re.sub(r"ndarray\[[^]]*\]", "ndarray", (function.__doc__ or "").splitlines()[0])
    (described,) = ast.parse(f"def {signature}: ...").body
    assert isinstance(described, ast.FunctionDef)
    return [argument.arg for argument in described.args.args if argument.arg != "self"]


def survive(seed: int, calls: int, log: Path) -> dict[str, int]:
    """Make so many calls, and return how many were accepted by name."""
    module = native.kernels()
    arguments = Arguments(random.Random(seed))
    methods = [
        name
        for name in dir(module.Engine)
        if not name.startswith("_") and callable(getattr(module.Engine, name))
    ]
    building = [name for name in methods if name.startswith("add_") and name != "add_gradient"]
    running = [name for name in methods if name not in (*building, "finish")]
    known = {name: parameters_of(getattr(module.Engine, name)) for name in methods}
    accepted: dict[str, int] = {}
    engine: Any = None
    with log.open("w") as record:
        for number in range(calls):
            position = number % 40
            if position == 0:
                isa = arguments.of("isa", {"nodes": 1, "input": [1], "output": [1]})
                try:
                    engine = module.Engine(isa, arguments.random.choice((0, 1, 2, 3)))
                except REFUSED:
                    engine = module.Engine()
                sizes: dict[str, Any] = {"nodes": 0, "input": arguments.shape(), "output": [1]}
                engine.add_input(sizes["input"])
                sizes["nodes"] = 1
                sizes["output"] = sizes["input"]
            if position < 7:
                name = arguments.random.choice(building)
            else:
                name = LAST_NODES.get(position) or arguments.random.choice(running)
            drawn = [arguments.of(parameter, sizes) for parameter in known[name]]
            if name in LAST_NODES.values():  # most networks are finished and end in four numbers
                drawn = {"add_flatten": [sizes["nodes"] - 1], "add_dense": [sizes["nodes"] - 1, 4, True]}.get(
                    name, drawn
                )
            record.seek(0)
            record.truncate()
            record.write(f"{number}: {name}{tuple(drawn)!r} after {sizes}\n")
            record.flush()
            try:
                result = getattr(engine, name)(*drawn)
            except REFUSED:
                continue
            accepted[name] = accepted.get(name, 0) + 1
            if name in building:
                sizes["nodes"] = result + 1
            if name == "add_dense":
                sizes["output"] = [drawn[1]]
    return accepted


def main() -> None:
    """Read the command line, survive, and say how many calls of every function were accepted."""
    limit_memory()
    seed, calls, log = sys.argv[1:]
    print(survive(int(seed), int(calls), Path(log)))


if __name__ == "__main__":
    main()
