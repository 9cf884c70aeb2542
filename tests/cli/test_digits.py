"""The first command of a newcomer."""

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 16])  # 16 was the worst of twenty
def test_the_defaults_reach_98_percent_on_the_reference_backend(tatami, seed):
    ended = tatami("train", "--backend", "reference", "--seed", seed, "--json")
    assert ended.code == 0
    assert ended.json["accuracy"] >= 0.98
    assert ended.json["network"] == "small_convnet"
