"""The scripts in examples/ run as their first lines say."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not beside the tests")
def test_autoencoder_pictures(tmp_path, monkeypatch, capsys):
    script = EXAMPLES / "autoencoder_pictures.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--epochs", "2", "--out", str(tmp_path / "pictures")])
    runpy.run_path(str(script), run_name="__main__")
    assert "denoised" in capsys.readouterr().out
    for name in ("denoising", "samples", "plane"):
        with Image.open(tmp_path / "pictures" / f"{name}.png") as picture:
            assert picture.size[0] > 300
