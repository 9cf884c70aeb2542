"""Whitened images from the command line: fitted, saved with the run, and used again."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.cli.small import SMALL

from tatami.data import PCAWhitening, ZCAWhitening, load
from tatami.training.model import load_model


@pytest.mark.parametrize(("name", "cls"), [("zca", ZCAWhitening), ("pca", PCAWhitening)])
def test_a_run_keeps_its_whitening(tatami, tmp_path, name, cls):
    ended = tatami("train", "digits", *SMALL, "--preprocessing", name, "--out", "run", "--json")
    assert ended.code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["preprocessing"]["type"] == cls.__name__
    model = load_model(tmp_path / "run")
    assert type(model.preprocessing) is cls
    assert model.evaluate(load("digits").test).accuracy == ended.json["accuracy"]
    assert tatami("evaluate", "run", "--json").json["accuracy"] == ended.json["accuracy"]
    more = tatami("train", "--resume", "run", "--epochs", 3, "--json")
    assert more.code == 0
    assert load_model(tmp_path / "run").preprocessing == model.preprocessing


def test_images_too_large_to_whiten_are_an_error_in_words(tatami, tmp_path):
    for kind in ("light", "dark"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for number in range(6):
            pixels = np.full((64, 64), 250 if kind == "light" else 5, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / kind / f"{number}.png")
    ended = tatami("train", "images", "--network", "mlp", "--preprocessing", "zca", "--validation", 0)
    assert ended.code == 1
    assert "4,096 features" in ended.err
    assert "make the images smaller, or use 'standardise'" in ended.err
    assert "Traceback" not in ended.err
