"""The folder of a run: its settings, checkpoints, history and pictures.

================================  ==========================================================================
``run.json``                      every setting, written before anything else
``last.safetensors``              the latest checkpoint; a run resumes from it
``last.previous.safetensors``     the one before it
``best.safetensors``              the checkpoint with the lowest validation loss (only with a validation split)
``history.jsonl``                 one line for each epoch, as far as ``last.safetensors`` has come
``growth.safetensors``            norms of weights and gradients and a few filters over the epochs, for the report
``curves.png`` and others         pictures, drawn at the end by the command line
================================  ==========================================================================
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tatami.errors import CheckpointError, SettingError
from tatami.training.checkpoint_file import SUFFIX, previous_of, read_checkpoint_file
from tatami.training.durable_files import TEMPORARY_SUFFIX, remove_leftovers, write_durably, write_json
from tatami.training.history import History

RUN_FORMAT = "tatami-run"
RUN_FORMAT_VERSION = 1
RUNS_FOLDER = Path("runs")


class RunFolder:
    """The files of one run. `create` begins a run, `open` finds one that exists."""

    def __init__(self, path: Path) -> None:
        """Name the folder and its files; nothing is read or written."""
        self.path = path
        self.settings_file = path / "run.json"
        self.last = path / f"last{SUFFIX}"
        self.best = path / f"best{SUFFIX}"
        self.history_file = path / "history.jsonl"
        self.growth_file = path / f"growth{SUFFIX}"

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any]) -> "RunFolder":
        """Make a new run in ``path``, which must not exist or be empty; write its settings first.

        Raises:
            SettingError: the folder holds a run already (resume it), or holds something else.
        """
        folder = cls(path)
        folder.require_free()
        path.mkdir(parents=True, exist_ok=True)
        write_json(
            folder.settings_file, {"format": RUN_FORMAT, "format_version": RUN_FORMAT_VERSION, **settings}
        )
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Find the run in ``path``; a checkpoint's file stands for its folder.

        Raises:
            CheckpointError: there is no run.
        """
        folder = cls(path.parent if path.suffix == SUFFIX else path)
        if not folder.path.is_dir():
            raise CheckpointError(f"there is no run at {folder.path}: the folder does not exist")
        if not folder.is_run():
            raise CheckpointError(
                f"{folder.path} is not a run: it has no {folder.settings_file.name} of Tatami"
            )
        return folder

    def require_free(self) -> None:
        """Raise unless a new run can begin here."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise SettingError(f"{self.path} is a file; give a folder for the run (--out)")
        if self.is_run():
            raise SettingError(
                f"{self.path} holds a run already; continue it with: tatami train --resume {self.path} "
                f"(or give another folder with --out)"
            )
        if any(not entry.name.endswith(TEMPORARY_SUFFIX) for entry in self.path.iterdir()):
            raise SettingError(
                f"{self.path} exists and is not a run; nothing was written. Give a new or an empty folder with --out"
            )

    def is_run(self) -> bool:
        """Say whether ``run.json`` is there and says that it is a run."""
        try:
            settings = json.loads(self.settings_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(settings, dict) and settings.get("format") == RUN_FORMAT

    def settings(self) -> dict[str, Any]:
        """Read the settings that the run began with."""
        if not self.is_run():
            raise CheckpointError(f"{self.settings_file} cannot be read as the settings of a run")
        settings: dict[str, Any] = json.loads(self.settings_file.read_text(encoding="utf-8"))
        if settings.get("format_version") != RUN_FORMAT_VERSION:
            raise CheckpointError(
                f"{self.settings_file} has format version {settings.get('format_version')}, this Tatami reads "
                f"version {RUN_FORMAT_VERSION}; update Tatami (pip install --upgrade tatami)"
            )
        return settings

    def model_file(self) -> Path:
        """Return the checkpoint to use as a model: the best one, else the last."""
        for path in (self.best, self.last):
            if path.exists():
                return path
        if previous_of(self.last).exists():
            read_checkpoint_file(self.last)  # raises, and says that the previous one is there
        raise CheckpointError(f"{self.path} has no checkpoint yet")

    def write_history(self, history: History) -> None:
        """Write ``history.jsonl`` anew, so that it says exactly what the checkpoint knows."""
        try:
            write_durably(self.history_file, history.to_lines().encode())
        except OSError as error:
            raise CheckpointError(
                f"cannot write {self.history_file}: {error.strerror or error}; the checkpoint is safe. Free some "
                f"space, then continue with: tatami train --resume {self.path}"
            ) from error

    def resume_from(self, path: Path) -> None:
        """Make ``path`` (an earlier checkpoint of this run) the last one.

        A last checkpoint that cannot be read is set aside as ``last.damaged.safetensors`` and not thrown away.
        """
        if path == self.last:
            return
        read_checkpoint_file(path)
        if self.last.exists():
            try:
                read_checkpoint_file(self.last)
            except CheckpointError:
                os.replace(self.last, self.path / f"last.damaged{SUFFIX}")
        write_durably(self.last, path.read_bytes())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run, so that no second process trains in the same folder; a kill lets go of it.

        Raises:
            SettingError: another process is training in this folder.
        """
        with self.settings_file.open("rb") as file:
            if not lock(file):
                raise SettingError(
                    f"{self.path} is being trained by another process; wait until it ends, or stop it with Ctrl-C"
                )
            remove_leftovers(self.path)
            yield


def lock(file: BinaryIO) -> bool:
    """Lock an open file for this process, until it is closed; say whether nobody else had locked it."""
    try:
        import fcntl
    except ImportError:  # Windows: a run there is not guarded
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def next_run_folder(dataset: str, network: str, runs: Path = RUNS_FOLDER) -> Path:
    """Return the first unused ``runs/<dataset>-<network>-<NNN>``.

    >>> next_run_folder("digits", "lenet5", Path("no-such-folder")).as_posix()
    'no-such-folder/digits-lenet5-001'
    """
    stem = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part) for part in (dataset, network))
    numbers = [0]
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in runs.iterdir():
            match = re.fullmatch(re.escape(stem) + r"-(\d+)", entry.name)
            if match:
                numbers.append(int(match[1]))
    return runs / f"{stem}-{max(numbers) + 1:03d}"
