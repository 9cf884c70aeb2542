"""``tatami lecture``: the lectures as walkthroughs, in the terminal or as a page."""

import shutil
import sys
from pathlib import Path

import click

from tatami.cli.console import Console, colour_wanted
from tatami.cli.options import data_option, json_option, language_option
from tatami.columns import filled, width_of
from tatami.errors import SettingError
from tatami.lectures import words
from tatami.lectures.catalogue import CATALOGUE, open_lecture
from tatami.lectures.walkthrough import Language, Lecture, Request

FALLBACK_WIDTH = 100


@click.command(epilog="Example: tatami lecture ox --html ox.html")
@click.argument("name", required=False)
@language_option
@click.option("--all", "everything", is_flag=True, help="Print all steps at once, without waiting for Enter.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write one self-contained HTML page instead.",
)  # fmt: skip
@click.option("--step", type=int, metavar="N", help="Only step N.")
@click.option(
    "--updates", type=int, default=1, show_default=True, metavar="N",
    help="For ox: how many updates are shown one by one.",
)  # fmt: skip
@click.option(
    "--seeds", type=int, metavar="N",
    help="For augmentation: trainings of each kind (3; 1 without the native backend).",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of everything random.")
@data_option
@json_option
def command(
    name: str | None,
    language: Language,
    everything: bool,
    page: Path | None,
    step: int | None,
    updates: int,
    seeds: int | None,
    seed: int,
    data_folder: Path | None,
    as_json: bool,
) -> None:
    """Walk through a lecture: formulas, numbers computed live, what the lecture prints, and where it errs.

    Without NAME the lectures are listed.
    """
    console = Console(machine=as_json)
    if name is None:
        show_list(console, language)
        return
    lecture = open_lecture(name, Request(seed, updates, data_folder, seeds))
    if step is not None and not 1 <= step <= len(lecture.steps):
        raise SettingError(f"--step: lecture {name} has the steps 1 to {len(lecture.steps)}, got {step}")
    if page is not None:
        from tatami.lectures.page import lecture_page

        page.write_text(lecture_page(lecture, language, step), encoding="utf-8")
        console.note(f"{page}: {lecture.title.read(language)}")
    elif not as_json:
        show_steps(console, lecture, language, step, everything)
    if as_json:
        from tatami.lectures.as_json import lecture_json

        console.json(lecture_json(lecture, step))


def show_list(console: Console, language: Language) -> None:
    """Print the lectures with their titles and sources."""
    console.line(click.style(words.LECTURES.read(language), bold=True))
    names = max(len(name) for name in CATALOGUE)
    titles = max(width_of(entry.title.read(language)) for entry in CATALOGUE.values())
    for name, entry in CATALOGUE.items():
        title = filled(entry.title.read(language), titles)
        source = click.style(entry.source.read(language), dim=True)
        console.line(f"  {click.style(name.ljust(names), bold=True)}  {title}  {source}")
    console.line(words.HOW_TO_OPEN.read(language))
    console.json(
        {
            "lectures": [
                {
                    "name": name,
                    "title": {"en": entry.title.en, "ja": entry.title.ja},
                    "source": {"en": entry.source.en, "ja": entry.source.ja},
                }
                for name, entry in CATALOGUE.items()
            ]
        }
    )


def show_steps(
    console: Console, lecture: Lecture, language: Language, only: int | None, everything: bool
) -> None:
    """Print the steps: one after another on a terminal, all at once into a pipe."""
    from tatami.lectures.terminal import step_lines, title_lines

    width = shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns
    waits = only is None and not everything and sys.stdin.isatty() and sys.stdout.isatty()
    numbers = range(1, len(lecture.steps) + 1) if only is None else [only]
    for line in title_lines(lecture, language):
        console.line(line)
    for number in numbers:
        console.line()
        for line in step_lines(lecture, number, language, width):
            console.line(line)
        if waits and number < len(lecture.steps) and wants_to_end(language):
            return


def wants_to_end(language: Language) -> bool:
    """Wait for Enter; say whether the reader has seen enough."""
    prompt = click.style(f"— {words.GO_ON.read(language)} ", dim=True)
    click.echo(prompt, nl=False, color=colour_wanted(error_stream=False))
    answer = sys.stdin.readline()
    return not answer or answer.strip().lower() in ("q", "quit")
