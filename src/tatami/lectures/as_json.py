"""A walkthrough as plain JSON values, both languages in it, for other programs."""

from typing import Any

import numpy as np

from tatami.lectures.walkthrough import Erratum, Lecture, Step, Text


def lecture_json(lecture: Lecture, only: int | None = None) -> dict[str, Any]:
    """Return a walkthrough, or one of its steps, counted from 1."""
    numbers = range(1, len(lecture.steps) + 1) if only is None else [only]
    return {
        "name": lecture.name,
        "title": both(lecture.title),
        "source": both(lecture.source),
        "steps": [step_json(lecture.steps[number - 1], number) for number in numbers],
    }


def both(text: Text) -> dict[str, str]:
    """Return a text in both languages."""
    return {"en": text.en, "ja": text.ja}


def step_json(step: Step, number: int) -> dict[str, Any]:
    """Return one step."""
    return {
        "number": number,
        "title": both(step.title),
        "prose": both(step.prose),
        "formulas": list(step.formulas),
        "numbers": [
            {
                "key": entry.key,
                "value": plain(entry.value),
                "lecture": None if entry.lecture is None else plain(entry.lecture.values),
                "agrees": entry.agrees,
                "erratum": entry.erratum or None,
            }
            for entry in step.comparables()
        ],
        "errata": [erratum_json(erratum) for erratum in step.errata],
    }


def erratum_json(erratum: Erratum) -> dict[str, Any]:
    """Return an erratum."""
    return {
        "code": erratum.code,
        "where": both(erratum.where),
        "says": both(erratum.says),
        "right": both(erratum.right),
        "why": both(erratum.why),
        "formulas": list(erratum.formulas),
    }


def plain(values: Any) -> Any:
    """Return numbers as nested lists; what is not finite becomes None, which JSON knows.

    >>> plain(np.array([1.0, np.inf]))
    [1.0, None]
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim:
        return [plain(entry) for entry in array]
    return float(array) if np.isfinite(array) else None
