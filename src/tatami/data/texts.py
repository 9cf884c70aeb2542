"""Texts: a file cut into pieces whose next letters are to be told, or a table of short texts with a label each.

Letters become numbers, their places in a vocabulary that travels with the data and with every model trained on them.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.splits import split_off_test
from tatami.errors import DataError, SettingError

LARGEST_TEXT = 64 * 2**20
LARGEST_VOCABULARY = 10_000
LONGEST_PIECE = 10_000
TEST_SHARE = 10
DEFAULT_LENGTH = 40
# What short texts are filled up with, and what stands for letters that were never seen: places 0 and 1.
PADDING, UNKNOWN = "\0", "\ufffd"


@dataclass(frozen=True)
class TextFormat(ImageFormat):
    """What texts have in common: the letters that they are made of.

    Attributes:
        vocabulary: every letter once; a letter's number is its place.

    >>> form = TextFormat(vocabulary="abc ")
    >>> form.encoded("a cab")
    array([0, 3, 2, 0, 1])
    >>> form.decoded([2, 0, 1])
    'cab'
    """

    vocabulary: str = ""

    def __post_init__(self) -> None:
        """Check that no letter appears twice."""
        super().__post_init__()
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise SettingError("TextFormat: a letter appears twice in the vocabulary")

    @property
    def padded(self) -> bool:
        """Whether short texts are filled up: number 0 then stands for no letter, 1 for one that is not known."""
        return self.vocabulary.startswith(PADDING)

    def encoded(self, text: str, length: int | None = None) -> NDArray[np.int64]:
        """Return a text as numbers, filled up to a length.

        Raises:
            DataError: a letter that is not in the vocabulary, or a text that is too long or too short to be filled up.
        """
        place = {letter: number for number, letter in enumerate(self.vocabulary)}
        unknown = [letter for letter in text if letter not in place]
        if unknown and not self.padded:
            raise DataError(
                f"the text holds {unknown[0]!r}, which was not in the text that the model learned from; it knows: "
                f"{self.vocabulary!r}"
            )
        numbers = np.array([place.get(letter, 1) for letter in text], np.int64)
        if length is None:
            return numbers
        if len(numbers) > length or (len(numbers) < length and not self.padded):
            raise DataError(f"the text has {len(numbers)} letters, the model reads {length}; cut it")
        return np.pad(numbers, (0, length - len(numbers)))

    def decoded(self, numbers: Sequence[int] | NDArray[np.int64]) -> str:
        """Return numbers as a text; what was filled up is left out."""
        letters = (self.vocabulary[int(number)] for number in numbers)
        return "".join(letter for letter in letters if letter != PADDING)


def load_text(path: str | Path, length: int | None = None) -> DatasetSplits:
    """Load a text file in UTF-8: pieces of ``length`` letters, whose targets are the letters one further on.

    The last tenth of the text is for testing.

    Raises:
        DataError: not a text in UTF-8, too large, too short for two pieces.
        SettingError: a length that cannot be.
    """
    place = Path(path).expanduser()
    wanted = DEFAULT_LENGTH if length is None else length
    if not 1 <= wanted <= LONGEST_PIECE:
        raise SettingError(f"length must be from 1 to {LONGEST_PIECE:,} letters, got {wanted}")
    text = read_text(place)
    vocabulary = "".join(sorted(set(text)))
    if len(vocabulary) > LARGEST_VOCABULARY:
        raise DataError(
            f"{place}: {len(vocabulary):,} different letters, at most {LARGEST_VOCABULARY:,} are learned"
        )
    pieces = (len(text) - 1) // wanted
    if pieces < 2:
        raise DataError(
            f"{place}: {len(text)} letters give {pieces} pieces of {wanted}, at least 2 are needed; "
            f"use a longer text or a smaller --length"
        )
    form = TextFormat(maximum=float(max(1, len(vocabulary) - 1)), vocabulary=vocabulary)
    numbers = form.encoded(text)
    tokens = numbers[: pieces * wanted].reshape(pieces, wanted)
    following = numbers[1 : pieces * wanted + 1].reshape(pieces, wanted)
    tested = max(1, pieces // TEST_SHARE)

    def part(at: slice) -> Dataset:
        labels = np.zeros(len(tokens[at]), np.int64)
        x, targets = tokens[at].astype(np.int32), following[at].astype(np.int32)
        return Dataset(place.stem, x, labels, ("",), form, targets, tuple(vocabulary))

    return DatasetSplits(train=part(slice(pieces - tested)), test=part(slice(pieces - tested, None)))


def read_text(place: Path) -> str:
    """Read a text file; line ends are one letter."""
    try:
        if place.stat().st_size > LARGEST_TEXT:
            raise DataError(f"{place}: more than {LARGEST_TEXT:,} bytes are not read")
        return place.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not a text in UTF-8 ({error})") from error


def load_text_table(path: str | Path, length: int | None = None) -> DatasetSplits:
    """Load a CSV file with the columns ``text`` and ``label``: texts of any length, filled up behind their end.

    Every fifth text of a class is for testing. The longest text gives the length unless ``length`` cuts it.

    Raises:
        DataError: not such a table, or empty texts or labels.
    """
    place = Path(path).expanduser()
    rows = list(csv.DictReader(read_text(place).splitlines()))
    for number, row in enumerate(rows, start=2):
        if not row.get("text") or not row.get("label"):
            raise DataError(f"{place}: line {number} has no text or no label; the columns are text, label")
    if not rows:
        raise DataError(f"{place}: the table has no rows; expected a header with text and label")
    names = sorted({row["label"] for row in rows})
    texts = [row["text"] for row in rows]
    longest = min(max(map(len, texts)), length or LONGEST_PIECE)
    vocabulary = PADDING + UNKNOWN + "".join(sorted(set("".join(texts)) - {PADDING, UNKNOWN}))
    form = TextFormat(maximum=float(len(vocabulary)), vocabulary=vocabulary)
    tokens = np.stack([form.encoded(text[:longest], longest) for text in texts]).astype(np.int32)
    labels = np.array([names.index(row["label"]) for row in rows], np.int64)
    return split_off_test(Dataset(place.stem, tokens, labels, tuple(names), form))
