"""The page: its head, its contents and its sections."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tatami import __version__
from tatami.inspect.markup import Markup, element, together
from tatami.inspect.phrases import Text
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
from tatami.inspect.report.task_sections import measures_section, measures_table, pictures_section
from tatami.training.durable_files import write_durably
from tatami.training.evaluation import Evaluation
from tatami.training.measures import MEASURES, Measure

# Nothing may be fetched and nothing may run: the page is complete, and says so to the browser.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        identity: where links to it lead.
        title: stands above it and in the contents.
        make: returns its inside, or None for a subject of which there is nothing to show.
    """

    identity: str
    title: Text
    make: Callable[[Subject], Markup | None]


SECTIONS = (
    Section("settings", Text("Settings", "設定"), settings_section),
    Section("curves", Text("Learning curves", "学習曲線"), curves_section),
    Section("growth", Text("Growth", "成長"), growth_section),
    Section("confusion", Text("Confusion", "混同行列"), confusion_section),
    Section("worst", Text("Worst mistakes", "最悪の間違い"), worst_section),
    Section("calibration", Text("Calibration", "較正"), calibration_section),
    Section("network", Text("Network", "ネットワーク"), diagram_section),
    Section("filters", Text("Filters", "フィルタ"), filters_section),
    Section("maps", Text("Feature maps", "特徴マップ"), maps_section),
    Section("attributions", Text("Why this class?", "なぜこのクラスか"), attributions_section),
    Section("exciting", Text("What excites the units", "ユニットを興奮させるもの"), exciting_section),
    Section("ideal", Text("Ideal images", "理想の画像"), ideal_section),
    Section("histograms", Text("Activations", "活性の分布"), histograms_section),
    Section("dead", Text("Dead units", "死んだユニット"), dead_section),
)


# Of a run that does not tell classes apart: what it measures and draws instead, and what any network has.
WITHOUT_CLASSES = ("settings", "growth", "network", "filters", "histograms", "dead")
TASK_SECTIONS = (
    Section("results", Text("Results", "結果"), measures_table),
    Section("pictures", Text("Pictures", "図"), pictures_section),
    Section("curves", Text("Learning curves", "学習曲線"), measures_section),
)


def sections_of(subject: Subject) -> tuple[Section, ...]:
    """Return the parts of the page that there are for a run's task."""
    if isinstance(subject.evaluation, Evaluation):
        return SECTIONS
    general = [section for section in SECTIONS if section.identity in WITHOUT_CLASSES]
    return (general[0], *TASK_SECTIONS, *general[1:])


def report_page(subject: Subject, progress: Callable[[str], None] | None = None) -> str:
    """Return the page of a run as HTML.

    Args:
        subject: the run, and the language of the words.
        progress: is told the title of each section before it is made.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    sections: list[Markup] = []
    links: list[Markup] = []
    for section in sections_of(subject):
        title = section.title.read(subject.language)
        if progress is not None:
            progress(title)
        made = section.make(subject)
        if made is not None:
            sections.append(element("section", element("h2", title), made, id=section.identity))
            links.append(element("a", title, href=f"#{section.identity}"))
    name = f"{subject.test.name}, {subject.network.name}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", subject.say(f"Tatami report: {name}", f"Tatami レポート: {name}")),
        element("style", Markup(style_sheet())),
    )
    made_by = subject.say(
        f"Made by Tatami {__version__} from {subject.folder.name}. This file needs no network.",
        f"{subject.folder.name} から Tatami {__version__} が作成。このファイルはネットワークを必要としない。",
    )
    body = element(
        "body",
        header(subject, name),
        element("nav", together(links), aria_label=subject.say("Sections", "目次")),
        element("main", together(sections)),
        element("footer", made_by),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang=subject.language) + "\n"


def header(subject: Subject, name: str) -> Markup:
    """Return the head of the page: what it is about, and the numbers that are asked for first."""
    evaluation, history = subject.evaluation, subject.checkpoint.history
    say = subject.say
    measured: dict[str, str] = {}
    if isinstance(evaluation, Evaluation):
        right, of = f"{evaluation.correct:,}", f"{len(evaluation.labels):,}"
        measured[say("accuracy", "正解率")] = f"{100 * evaluation.accuracy:.2f} %"
        measured[say("right", "正解")] = say(f"{right} of {of}", f"{right} / {of}")
    else:
        for key, value in evaluation.measures.items():
            measure = MEASURES.get(key, Measure(key))
            measured[measure.label] = measure.written(value)
    numbers = {
        **measured,
        say("loss", "損失"): f"{evaluation.loss:.4f}",
        say("parameters", "パラメータ"): f"{subject.network.parameter_count:,}",
        say("training", "学習時間"): say(f"{history.seconds:.1f} s", f"{history.seconds:.1f} 秒")
        if history.seconds < 120
        else say(f"{history.seconds / 60:.1f} min", f"{history.seconds / 60:.1f} 分"),
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
