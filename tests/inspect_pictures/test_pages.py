"""The diagram, the figures, the report and the commands that write them."""

import contextlib
import io
import json
import re
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from tests.browser import visit

import tatami
from tatami.cli.main import main
from tatami.inspect import figures
from tatami.inspect.activations import activation_histograms, feature_maps
from tatami.inspect.colours import coloured, laid_over, png
from tatami.inspect.diagram import network_diagram, skipping_edges, write_diagram
from tatami.inspect.filter_banks import filters
from tatami.inspect.filter_growth import filter_growth
from tatami.inspect.markup import Markup, element
from tatami.inspect.methods import METHODS
from tatami.inspect.reliability import calibration
from tatami.inspect.report import Subject, report_page
from tatami.inspect.report.page import SECTIONS
from tatami.layers import Add, Concatenate, Convolution, Dense, Flatten, MaxPool, ReLU
from tatami.training.run import train

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(drawing):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


def residual(name="residual"):
    return tatami.Network(
        {
            "conv1": Convolution(8, 3, padding="same"),
            "relu1": ReLU(),
            "conv2": Convolution(8, 3, padding="same"),
            "add1": (Add(), ("conv2", "relu1")),
            "all": (Concatenate(), ("add1", "input")),
            "pool1": MaxPool(2),
            "flatten1": Flatten(),
            "dense1": Dense(10),
        },
        (1, 8, 8),
        name=name,
    )


class TestDiagram:
    @pytest.mark.parametrize("name", ["arai", "lenet5", "ox", "mlp", "perceptron"])
    def test_every_layer_is_there_with_its_shape_and_parameters(self, name):
        network = tatami.build(name)
        texts = texts_of(network_diagram(network))
        for node in network.nodes:
            assert any(text.startswith(node.name) for text in texts)
            assert "×".join(map(str, network.shapes[node.name])) in texts
        assert f"{network.name}: {len(network.nodes)} layers, {network.parameter_count:,} parameters" in texts

    def test_skip_connections_are_drawn_and_do_not_lie_on_one_another(self):
        network = residual()
        edges = skipping_edges(network)
        assert [(edge.source, edge.target) for edge in edges] == [(2, 4), (0, 5)]
        assert edges[0].lane != edges[1].lane
        assert network_diagram(network).count('class="skip"') == 2

    def test_every_text_is_escaped(self, tmp_path):
        network = residual('<script>alert("&")</script>')
        write_diagram(network, tmp_path / "network.svg")
        text = (tmp_path / "network.svg").read_text(encoding="utf-8")
        assert "<script>" not in text
        assert ElementTree.fromstring(text).find(f"{SVG}title").text.startswith('<script>alert("&")</script>')

    def test_it_asks_for_nothing_from_elsewhere(self):
        text = network_diagram(residual())
        assert re.findall(r'(?:href|src|url)\s*[=(]\s*"?(?!#)', text) == []

    def test_a_deep_network_stays_within_its_frame(self):
        layers = {"first": ReLU()} | {
            f"a rather long name of layer {number}": ReLU() for number in range(120)
        }
        drawing = ElementTree.fromstring(network_diagram(tatami.Network(layers, (3, 500, 500))))
        _, _, width, height = map(float, drawing.get("viewBox").split())
        for box in drawing.iter(f"{SVG}rect"):
            assert float(box.get("x")) + float(box.get("width")) <= width
            assert float(box.get("y")) + float(box.get("height")) <= height


def test_markup_escapes_what_is_not_markup():
    assert (
        element("a", "<b>", href='"x"', title=None, hidden=True)
        == '<a href="&quot;x&quot;" hidden>&lt;b&gt;</a>'
    )
    assert element("p", Markup("<b>1</b>"), ["&", [" 2"]]) == "<p><b>1</b>&amp; 2</p>"


class TestColours:
    def test_signed_numbers_have_white_at_zero_and_gaps_are_transparent(self):
        pixels = coloured(np.array([[-2.0, 0.0, 1.0, np.nan]]), "RdBu_r")[0]
        assert pixels[1, :3].min() > 240
        assert pixels[0, 2] > pixels[0, 0]  # blue
        assert pixels[2, 0] > pixels[2, 2]  # red
        assert pixels[3].tolist() == [0, 0, 0, 0]

    def test_constant_planes_and_planes_of_nan_do_no_harm(self):
        for value in (0.0, 3.0, np.nan):
            for scale in ("gray", "RdBu_r", "Reds"):
                assert coloured(np.full((2, 2), value), scale).shape == (2, 2, 4)

    def test_png_files_hold_the_pixels(self, tmp_path):
        pixels = coloured(np.arange(6.0).reshape(2, 3), "gray")
        (tmp_path / "a.png").write_bytes(png(pixels))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)

    def test_an_image_darkens_the_map_over_it(self):
        heat = coloured(np.ones((1, 2)), "Reds", low=0)
        mixed = laid_over(heat, coloured(np.array([[0.0, 1.0]]), "gray"))
        assert mixed[0, 0, 0] < heat[0, 0, 0]
        np.testing.assert_array_equal(mixed[0, 1], heat[0, 1])


class TestFigures:
    def test_each_is_drawn(self, model, run, digits, tmp_path):
        x = model.preprocessing.apply(digits.test.images[:50])
        maps = feature_maps(model.network, model.parameters, x[:1])
        probabilities = model.predict(digits.test.images)
        spreads = activation_histograms(model.network, model.parameters, x)
        drawn = [
            figures.filters_figure(filters(model.network, model.parameters)),
            figures.filters_figure(filters(model.network, model.parameters, "conv2")),
            figures.filters_figure(filters(model.network, model.parameters, "dense2")),
            figures.maps_figure(maps["conv1"][0]),
            figures.maps_figure(maps["relu3"][0]),
            figures.attribution_figure(x[0], {name: x[0, 0] for name in METHODS}, "All"),
            figures.attribution_figure(np.zeros((3, 8, 8)), {"saliency": np.zeros((8, 8))}),
            figures.examples_figure(list(x[:9]), list("abcdefghi")),
            figures.curves_figure(run.history, "A run"),
            figures.norms_figure([0, 1], {"conv1.weight": np.array([1.0, 2.0])}, "Norms"),
            figures.norms_figure([0, 1], {"conv1.bias": np.array([0.0, 2.0])}, "Norms"),
            figures.growth_figure(filter_growth(run.folder.path, "conv2[1,5]")),
            figures.growth_figure(filter_growth(run.folder.path), "Growth", "ja"),
            figures.calibration_figure(calibration(probabilities, digits.test.labels)),
            figures.histograms_figure({"relu1": spreads["relu1"], "dense2": spreads["dense2"]}),
        ]
        for number, figure in enumerate(drawn):
            path = tmp_path / f"{number}.png"
            figure.savefig(path, dpi=40)
            width, height = struct.unpack(">II", path.read_bytes()[16:24])
            assert width > 80
            assert height > 20

    def test_charts_for_pages_follow_the_pages_colours_and_come_out_the_same_again(self, run):
        one, two = (figures.figure_svg(figures.loss_figure(run.history), "Loss") for _ in range(2))
        assert one == two
        assert "var(--ink)" in one
        assert "#1f2933" not in one
        assert 'aria-label="Loss"' in one
        ElementTree.fromstring(one)

    def test_without_matplotlib_the_extra_is_named(self, model, monkeypatch, tmp_path, capsys):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(tatami.MissingExtraError, match=r"pip install 'tatami\[plot\]'"):
            figures.filters_figure(np.zeros((2, 1, 3, 3)))


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.references, self.identities, self.alts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.references += [named[key] for key in ("src", "href", "xlink:href") if key in named]
        if "id" in named:
            self.identities.append(named["id"])
        if tag == "img":
            self.alts.append(named.get("alt"))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(run):
    """The page of the run, written by the command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["report", str(run.folder.path), "--json"]) == 0
    result = json.loads(said.getvalue().splitlines()[-1])
    assert result["weights_sha256"] == run.weights_sha256
    assert Path(result["page"]) == run.folder.path / "report.html"
    return Path(result["page"])


class TestReport:
    def test_it_is_complete_and_refers_to_nothing_outside_itself(self, report, run):
        text = report.read_text(encoding="utf-8")
        page = Page(text)
        assert page.open == []
        for reference in page.references:
            assert reference.startswith(("data:image/png;base64,", "#"))
        for reference in page.references:
            if reference.startswith("#"):
                assert reference[1:] in page.identities
        assert all(page.alts)
        assert "<script" not in text
        assert not re.search(r"url\((?!['\"]?(#|data:))", text)
        for section in SECTIONS:
            assert f"<h2>{section.title.en}</h2>" in text
        assert f"{100 * run.test.accuracy:.2f} %" in text
        assert run.weights_sha256[:16] in text
        assert len(text) < 3_000_000

    def test_a_browser_opens_it_without_a_complaint_and_without_the_network(self, report, tmp_path):
        seen = visit(report, tmp_path)
        assert "<h2>Dead units</h2>" in seen.document
        assert seen.console == []
        assert seen.requests == []

    def test_the_browser_test_would_notice(self, tmp_path):
        page = tmp_path / "bad.html"
        page.write_text(
            '<p>x<img src="http://tatami.invalid/x.png"><script>missing()</script>', encoding="utf-8"
        )
        seen = visit(page, tmp_path)
        assert any("missing is not defined" in line for line in seen.console)
        assert seen.requests == ["http://tatami.invalid/x.png"]

    @pytest.mark.parametrize("width", [390, 1280])
    def test_the_page_does_not_scroll_sideways(self, report, tmp_path, width):
        text = report.read_text(encoding="utf-8")
        measured = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        frame = tmp_path / "measured.html"
        script = (
            "<script>document.title = document.documentElement.scrollWidth + ' in ' + "
            "document.documentElement.clientWidth</script>"
        )
        frame.write_text(measured.replace("</body>", script + "</body>"), encoding="utf-8")
        wide, room = re.search(
            r"<title>(\d+) in (\d+)</title>", visit(frame, tmp_path, width).document
        ).groups()
        assert int(wide) <= int(room)

    def test_it_speaks_japanese(self, run, digits, tmp_path):
        path = tmp_path / "report.ja.html"
        assert main(["report", str(run.folder.path), "--lang", "ja", "--out", str(path)]) == 0
        text = path.read_text(encoding="utf-8")
        assert '<html lang="ja">' in text
        for section in SECTIONS:
            assert f"<h2>{section.title.ja}</h2>" in text
        # Every sentence, caption and label has Japanese in it; names of layers, classes and settings stay as they are.
        told = re.findall(
            r'<(?:p|figcaption|summary|h2|title)\b[^>]*>([^<]*)|(?:aria-label|alt)="([^"]*)"', text
        )
        names = {layer.name for layer in run.model.network.nodes} | set(tatami.Layer.members)
        for sentence in filter(None, ("".join(pair) for pair in told)):
            words = {word for word in re.findall(r"[A-Za-z_]{3,}\d*", sentence) if word not in names}
            assert len(words) < 3 or re.search("[\u3040-\u30ff\u4e00-\u9fff]", sentence), sentence

    def test_it_is_made_for_outputs_that_are_no_probabilities(self, tmp_path):
        data = tatami.load("ox")
        run = train(
            "ox", data, epochs=2, batch_size=2, backend="reference", out=tmp_path / "ox", preprocessing="none"
        )
        text = report_page(Subject.of_run(run.folder.path, data.test))
        assert "<h2>Calibration</h2>" not in text
        assert "○" in text

    def test_many_classes_get_a_heat_map_in_place_of_a_table(self, tmp_path):
        names = tuple(f"class {number}" for number in range(40))
        images = np.repeat(np.arange(40 * 64).reshape(40, 1, 8, 8) % 251, 3, axis=0).astype(np.uint8)
        data = tatami.Dataset("many", images, np.repeat(np.arange(40), 3), names)
        run = train("perceptron", data, epochs=2, batch_size=8, backend="reference", out=tmp_path / "run")
        text = report_page(Subject.of_run(run.folder.path, data))
        assert 'class="heat"' in text
        assert 'class="confusion"' not in text
        assert text.count("class 39") >= 2
        assert "<h3>Most confused</h3>" in text

    def test_it_is_made_for_networks_without_maps_and_names_from_outside_are_escaped(self, tmp_path):
        images = (np.arange(40 * 64).reshape(40, 1, 8, 8) % 251).astype(np.uint8)
        data = tatami.Dataset("<i>set</i>", images, np.arange(40) % 2, ("<script>1</script>", "a & b"))
        run = train("perceptron", data, epochs=1, batch_size=8, backend="reference", out=tmp_path / "run")
        text = report_page(Subject.of_run(run.folder.path, data))
        assert "<script>" not in text
        assert "<i>set</i>" not in text
        assert "&lt;script&gt;1&lt;/script&gt;" in text
        assert "Grad-CAM" not in text
        assert "what each of 2 units looks for in the input" in text
        assert "<h2>Dead units</h2>" not in text

    def test_it_says_what_the_validation_part_keeps_together(self, tmp_path):
        images = (np.arange(40 * 64).reshape(40, 1, 8, 8) % 251).astype(np.uint8)
        writers = np.array([f"<b>{number // 8}</b>" for number in range(40)], dtype=object)
        data = tatami.Dataset("hands", images, np.arange(40) % 2, columns={"<i>writer</i>": writers})
        settings = {"validation": 0.2, "group_by": "<i>writer</i>", "backend": "reference"}
        run = train("perceptron", data, epochs=1, batch_size=8, out=tmp_path / "run", **settings)
        english, japanese = (
            report_page(Subject.of_run(run.folder.path, data, language)) for language in ("en", "ja")
        )
        assert "20 % of the training images, groups of &lt;i&gt;writer&lt;/i&gt; kept together" in english
        assert "訓練画像の 20 %(&lt;i&gt;writer&lt;/i&gt; ごとにまとめて分割)" in japanese


@pytest.fixture(scope="session")
def five(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "five.png"
    Image.fromarray((digits.test.images[5, 0] * 15.9).astype(np.uint8)).save(path)
    return path


class TestCommands:
    def test_inspect_draws_what_was_asked_for(self, run, five, tmp_path, capsys):
        words = [
            "inspect",
            str(run.folder.path),
            str(five),
            "--what",
            "filters,maps,saliency,grad-cam,network",
        ]
        assert main([*words, "--layer", "conv1", "--out", str(tmp_path / "out"), "--json"]) == 0
        said = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert said["asked"] == "5"
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == sorted(
            [
                "filters-conv1.png",
                "maps-conv1.png",
                "saliency.png",
                "grad-cam.png",
                "attributions.png",
                "network.svg",
            ]
        )
        assert sorted(Path(path).name for path in said["pictures"]) == names

    def test_inspect_without_an_image_draws_what_needs_none(self, run, tmp_path, capsys):
        assert main(["inspect", str(run.folder.path), "--out", str(tmp_path / "out")]) == 0
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == [
            "filters-conv1.png", "filters-conv2.png", "growth-conv1.png", "growth-conv2.png", "ideal.png",
            "network.svg",
        ]  # fmt: skip

    def test_inspect_draws_the_growth_of_chosen_filters(self, run, tmp_path, capsys):
        words = ["inspect", str(run.folder.path), "--what", "growth", "--out", str(tmp_path / "out")]
        assert main([*words, "--filters", "conv2[1,5]", "--filters", "conv2[7]"]) == 0
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["growth-conv2-2.png", "growth-conv2.png"]
        assert main([*words, "--filters", "conv2[8]"]) == 1
        assert "conv2: filter 8 was not recorded, 0 to 7 were" in capsys.readouterr().err

    def test_report_shows_the_filters_that_are_asked_for(self, run, tmp_path, capsys):
        path = tmp_path / "page.html"
        assert main(["report", str(run.folder.path), "--filters", "conv2[3,6]", "--out", str(path)]) == 0
        text = path.read_text(encoding="utf-8")
        assert "filters of conv2 over the epochs" in text
        assert "filters of conv1 over the epochs" not in text
        assert main(["report", str(run.folder.path), "--filters", "dense1", "--out", str(path)]) == 1
        assert "unknown layer whose filters were recorded 'dense1'" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--what", "saliency"], "name an IMAGE: this picture shows what the model sees in one"),
            (["--what", "salency"], "unknown picture 'salency': did you mean 'saliency'?"),
            (["IMAGE", "--class", "11"], "unknown class '11': did you mean '1'?"),
            (["IMAGE", "--unit", "conv1[6]"], r"conv1[6]: layer conv1 has outputs of shape (6, 8, 8)"),
            (
                ["IMAGE", "--unit", "conv1[x]"],
                "expected a unit such as conv1[3] or conv1[3,2,2], got 'conv1[x]'",
            ),
            (["--layer", "conv9"], "unknown layer of small 'conv9'"),
            (["IMAGE", "--what", "filters", "--layer", "relu1"], "unknown layer for this picture 'relu1'"),
            (["nothing.png", "--what", "saliency"], "nothing.png: no such file"),
        ],
    )
    def test_what_a_user_can_get_wrong_is_said_in_a_sentence(
        self, run, five, tmp_path, capsys, words, message
    ):
        given = [str(five) if word == "IMAGE" else word for word in words]
        assert main(["inspect", str(run.folder.path), *given, "--out", str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_report_of_a_run_that_was_begun_from_python_asks_for_the_data(self, digits, tmp_path, capsys):
        run = train("perceptron", digits.limited(50), epochs=1, backend="reference", out=tmp_path / "run")
        assert main(["report", str(run.folder.path)]) == 1
        assert "name the data set to measure on, such as digits" in capsys.readouterr().err
        assert main(["report", str(run.folder.path), "digits", "--out", str(tmp_path / "page.html")]) == 0
        assert "<h2>Confusion</h2>" in (tmp_path / "page.html").read_text(encoding="utf-8")

    def test_report_of_no_run(self, tmp_path, capsys):
        assert main(["report", str(tmp_path / "nothing")]) == 1
        assert "there is no run at" in capsys.readouterr().err
