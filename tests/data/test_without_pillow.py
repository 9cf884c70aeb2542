import sys

import pytest

from tatami.data.pillow import pillow
from tatami.errors import MissingExtraError


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)

    with pytest.raises(
        MissingExtraError,
        match=r"Pillow is needed to read and write pictures and is not installed; install it with: "
        r"pip install 'tatami\[images\]'",
    ):
        pillow("Image")
