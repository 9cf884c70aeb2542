"""The pages: well-formed, escaped, self-contained, and without complaint in a browser at two widths."""

import json
import re
import subprocess
from html import unescape
from xml.etree import ElementTree

import pytest
from tests.browser import browser_or_skip

from tatami.lectures.catalogue import CATALOGUE
from tatami.lectures.page import lecture_page
from tatami.lectures.walkthrough import (
    Erratum,
    Grid,
    Grids,
    Lecture,
    Number,
    Numbers,
    Step,
    Table,
    Text,
    printed,
)

LANGUAGES = ("en", "ja")
PHONE, DESKTOP = 390, 1280


def parsed(page):
    assert page.startswith("<!DOCTYPE html>\n")
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CATALOGUE)
def test_the_page_is_well_formed_and_complete(lecture, name, language):
    walkthrough = lecture(name)
    root = parsed(lecture_page(walkthrough, language))
    assert root.get("lang") == language
    assert root.findtext(".//h1") == walkthrough.title.read(language)
    assert len(root.findall(".//section")) == len(walkthrough.steps)
    assert len(root.findall(".//aside")) == len(walkthrough.errata)
    formulas = sum(
        len(step.formulas) + sum(len(erratum.formulas) for erratum in step.errata)
        for step in walkthrough.steps
    )
    assert len(root.findall(".//math")) >= formulas


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_link_leads_to_a_place_on_the_page(lecture, name):
    root = parsed(lecture_page(lecture(name), "en"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for link in root.iter("a"):
        assert link.get("href", "").removeprefix("#") in ids


@pytest.mark.parametrize("name", CATALOGUE)
def test_nothing_is_loaded_from_elsewhere(lecture, name):
    page = lecture_page(lecture(name), "en")
    assert "Content-Security-Policy" in page
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page
    for attribute in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert attribute.startswith(("#", "data:")), attribute


def test_texts_are_escaped():
    hostile = '<script>alert("&")</script>'
    text = Text(hostile, hostile)
    step = Step(
        text,
        text,
        (),
        (
            Numbers((Number("n", text, 1.0, printed(2.0), erratum="X"),)),
            Grids((Grid("g", hostile, [[1.0]]), hostile)),
            Table((text,), ((hostile,),)),
        ),
        (Erratum("X", text, text, text, text),),
    )
    page = lecture_page(Lecture("hostile", text, text, (step,)), "en")
    assert "<script" not in page
    assert hostile in [element.text for element in parsed(page).iter("p")]


def test_one_step_alone_keeps_its_number(lecture):
    root = parsed(lecture_page(lecture("ox"), "en", only=9))
    (section,) = root.findall(".//section")
    assert section.get("id") == "step9"
    assert [aside.get("id") for aside in root.findall(".//aside")] == ["DSP-a", "DSP-f"]


# Each page in a frame of the width of a phone and of a desktop; what sticks out to the side is reported.
FRAMES = """<!DOCTYPE html><meta charset="utf-8"/><title>frames</title><body><pre id="found">[]</pre><script>
const found = [];
let open = 0;
for (const [name, width] of %s) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.src = name; open += 1;
  frame.onload = () => {
    const page = frame.contentDocument;
    const math = page.querySelector("math");
    found.push({name, width, sections: page.querySelectorAll("section").length,
      over: page.documentElement.scrollWidth - page.documentElement.clientWidth,
      smallest: Math.min(...[...page.querySelectorAll("p, td, figcaption")].map(
        (element) => parseFloat(frame.contentWindow.getComputedStyle(element).fontSize))),
      formula: math ? math.getBoundingClientRect().height : 99,
      pictures: [...page.images].every((image) => image.naturalWidth > 0)});
    document.getElementById("found").textContent = JSON.stringify(found);
  };
  document.body.append(frame);
}
</script></body>"""


def test_a_browser_shows_every_page_without_complaint_at_both_widths(lecture, tmp_path):
    program = browser_or_skip()
    frames = []
    for name in CATALOGUE:
        for language in LANGUAGES:
            file = f"{name}.{language}.html"
            (tmp_path / file).write_text(lecture_page(lecture(name), language), encoding="utf-8")
            frames.append((file, PHONE if language == "ja" else DESKTOP))
        frames.append((f"{name}.en.html", PHONE))
    (tmp_path / "frames.html").write_text(FRAMES % json.dumps(frames), encoding="utf-8")
    ended = subprocess.run(
        [
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
            "--dump-dom",
            (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0
    complaints = [line for line in ended.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    assert not complaints, complaints
    match = re.search(r'<pre id="found">(.*?)</pre>', ended.stdout.decode(), re.DOTALL)
    assert match is not None
    found = json.loads(unescape(match[1]))
    assert len(found) == len(frames)
    for page in found:
        assert page["sections"] == len(lecture(page["name"].split(".")[0]).steps)
        assert page["over"] <= 0, f"{page['name']} is {page['over']} pixels wider than {page['width']}"
        assert page["smallest"] >= 12, page
        assert page["formula"] > 8, page
        assert page["pictures"], page
