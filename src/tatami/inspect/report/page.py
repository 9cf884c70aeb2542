"""The page: its head, its contents and its sections."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from tatami import __version__
from tatami.inspect.markup import Markup, element, together
from tatami.inspect.report.health import dead_section, histograms_section
from tatami.inspect.report.insight import attributions_section, exciting_section, ideal_section, maps_section
from tatami.inspect.report.results import (
    calibration_section,
    confusion_section,
    curves_section,
    growth_section,
    settings_section,
    worst_section,
)
from tatami.inspect.report.structure import diagram_section, filters_section
from tatami.inspect.report.subject import Subject
from tatami.training.durable_files import write_durably

# Nothing may be fetched and nothing may run: the page is complete, and says so to the browser.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

SECTIONS: dict[str, tuple[str, Callable[[Subject], Markup | None]]] = {
    "settings": ("Settings", settings_section),
    "curves": ("Learning curves", curves_section),
    "growth": ("Growth", growth_section),
    "confusion": ("Confusion", confusion_section),
    "worst": ("Worst mistakes", worst_section),
    "calibration": ("Calibration", calibration_section),
    "network": ("Network", diagram_section),
    "filters": ("Filters", filters_section),
    "maps": ("Feature maps", maps_section),
    "attributions": ("Why this class?", attributions_section),
    "exciting": ("What excites the units", exciting_section),
    "ideal": ("Ideal images", ideal_section),
    "histograms": ("Activations", histograms_section),
    "dead": ("Dead units", dead_section),
}


def report_page(subject: Subject, progress: Callable[[str], None] | None = None) -> str:
    """Return the page of a run as HTML.

    Args:
        subject: the run.
        progress: is told the title of each section before it is made.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    sections: list[Markup] = []
    links: list[Markup] = []
    for identity, (title, make) in SECTIONS.items():
        if progress is not None:
            progress(title)
        made = make(subject)
        if made is not None:
            sections.append(made)
            links.append(element("a", title, href=f"#{identity}"))
    name = f"{subject.test.name}, {subject.network.name}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Tatami report: {name}"),
        element("style", Markup(style_sheet())),
    )
    body = element(
        "body",
        header(subject, name),
        element("nav", together(links), aria_label="Sections"),
        element("main", together(sections)),
        element(
            "footer", f"Made by Tatami {__version__} from {subject.folder.name}. This file needs no network."
        ),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def header(subject: Subject, name: str) -> Markup:
    """Return the head of the page: what it is about, and the numbers that are asked for first."""
    evaluation, history = subject.evaluation, subject.checkpoint.history
    numbers = {
        "accuracy": f"{100 * evaluation.accuracy:.2f} %",
        "right": f"{evaluation.correct:,} of {len(evaluation.labels):,}",
        "loss": f"{evaluation.loss:.4f}",
        "parameters": f"{subject.network.parameter_count:,}",
        "training": f"{history.seconds:.1f} s"
        if history.seconds < 120
        else f"{history.seconds / 60:.1f} min",
    }
    tiles = [
        element("div", element("b", value), element("span", title), class_="tile")
        for title, value in numbers.items()
    ]
    return element("header", element("h1", name), element("div", tiles, class_="tiles"))


def style_sheet() -> str:
    """Return the style of the page."""
    return (files("tatami.inspect.report") / "style.css").read_text(encoding="utf-8")


def write_report(path: Path, subject: Subject, progress: Callable[[str], None] | None = None) -> None:
    """Write the page of a run into a file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: the file cannot be written; an earlier one is kept.
    """
    write_durably(path, report_page(subject, progress).encode("utf-8"))
