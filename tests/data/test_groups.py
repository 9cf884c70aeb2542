"""Validation that does not tear groups apart: where groups may lie, what is divided, and what cannot be."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tatami.data import Dataset, split_off_validation
from tatami.data.groups import groups_of, numbered_groups, split_off_validation_groups
from tatami.errors import CheckpointError, DataError, SettingError
from tatami.training.interruption import TrainingInterrupted
from tatami.training.progress import Progress
from tatami.training.run import identity, resume, split, train
from tatami.training.settings import TrainingSettings


def numbered(labels, groups=None):
    """Return a data set whose images hold their place in it, with the groups as the column 'writer'."""
    labels = np.asarray(labels)
    images = np.arange(len(labels), dtype=np.float64)[:, None]
    columns = {} if groups is None else {"writer": np.array(groups, dtype=object)}
    return Dataset("toy", images, labels, tuple("abcd")[: labels.max() + 1], columns=columns)


def places(data):
    return data.images[:, 0].astype(int).tolist()


SAMPLES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=2, max_size=90)


@given(samples=SAMPLES, fraction=st.floats(0.05, 0.9), seed=st.integers(0, 2**64 - 1))
def test_no_group_is_on_both_sides(samples, fraction, seed):
    labels, groups = map(list, zip(*samples, strict=True))
    data = numbered(labels)
    try:
        learn, validate = split_off_validation_groups(data, groups, fraction, seed)
    except DataError:
        # It is refused only where there is nothing to choose: without any one group a class is gone.
        for group in set(groups):
            left = {label for label, other in samples if other != group}
            assert left < set(labels)
        return
    assert not {groups[at] for at in places(learn)} & {groups[at] for at in places(validate)}
    assert sorted(places(learn) + places(validate)) == list(range(len(data)))
    assert len(validate)
    assert set(learn.labels) == set(labels)
    for part in (learn, validate):
        assert places(part) == sorted(places(part))
    again = split_off_validation_groups(data, [f"writer {group}" for group in groups], fraction, seed)
    assert places(again[1]) == places(validate)


@given(
    labels=st.lists(st.integers(0, 3), min_size=8, max_size=80),
    fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**64 - 1),
)
def test_groups_of_one_are_as_stratified_as_no_groups(labels, fraction, seed):
    data = numbered(labels)
    try:
        expected = split_off_validation(data, fraction, seed)[1].class_counts()
    except DataError:
        return
    found = split_off_validation_groups(data, range(len(data)), fraction, seed)[1]
    assert found.class_counts().tolist() == expected.tolist()


def test_the_part_is_stratified_where_groups_allow_it():
    # Twenty writers for each class, of five images.
    labels = np.repeat([0, 1], 100)
    groups = np.arange(200) // 5
    for seed in range(5):
        validate = split_off_validation_groups(numbered(labels), groups.tolist(), 0.2, seed)[1]
        assert validate.class_counts().tolist() == [20, 20]
    parts = {
        tuple(places(split_off_validation_groups(numbered(labels), groups.tolist(), 0.2, seed)[1]))
        for seed in range(5)
    }
    assert len(parts) == 5


@pytest.mark.parametrize("seed", range(4))
def test_no_single_group_would_come_nearer(seed):
    random = np.random.default_rng(seed)
    labels, groups = random.integers(0, 3, 300), random.integers(0, 25, 300)
    validate = split_off_validation_groups(numbered(labels), groups.tolist(), 0.3, seed)[1]
    wanted = np.round(0.3 * np.bincount(labels))
    taken = set(groups[places(validate)])

    def distance(chosen):
        counts = np.bincount(labels[np.isin(groups, list(chosen))], minlength=3)
        return ((wanted - counts) ** 2).sum()

    assert all(distance(taken ^ {group}) >= distance(taken) for group in range(25))


def test_groups_larger_than_wanted_are_validated_on_all_the_same():
    learn, validate = split_off_validation_groups(numbered([0, 1] * 30), ["x"] * 40 + ["y"] * 20, 0.1, 0)
    assert (len(learn), len(validate)) == (40, 20)
    assert places(validate) == list(range(40, 60))


def test_divisions_that_leave_nothing_are_refused():
    data = numbered([0, 0, 1, 1])
    with pytest.raises(
        DataError,
        match=r"toy: all 4 images are of one group, 'anna'; validating on it leaves none to learn from\. Group by",
    ):
        split_off_validation_groups(data, ["anna"] * 4, 0.5, 0)
    with pytest.raises(
        DataError,
        match="toy: none of 2 groups can be validated on, as each holds all images of a class, such as group "
        "'(anna' those of class 'a'|ben' those of class 'b'); group by something that divides the classes",
    ):
        split_off_validation_groups(data, ["anna", "anna", "ben", "ben"], 0.5, 0)
    with pytest.raises(SettingError, match="the validation fraction must be above 0 and below 1, got 1"):
        split_off_validation_groups(data, ["a", "b"] * 2, 1, 0)
    with pytest.raises(SettingError, match="toy: 4 samples need as many groups, got 3"):
        numbered_groups(data, ["a", "b", "c"])


WRITERS = [f"{['anna', 'ben', 'cleo', 'dora', 'emil'][at // 12]}{at % 12}" for at in range(60)]
LEARNT = {
    "validation": 0.4, "group_by": "writer:[a-z]+", "epochs": 2, "batch_size": 8, "preprocessing": "none",
    "backend": "reference", "seed": 5,
}  # fmt: skip


class Stopped(Progress):
    """Stop in the second epoch, as Ctrl-C does."""

    def step(self, *words):
        super().step(*words)
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 6:
            raise KeyboardInterrupt


def written(labels=None):
    return numbered(np.arange(60) % 2 if labels is None else labels, WRITERS)


def test_settings_keep_the_groups():
    settings = TrainingSettings(validation=0.2, group_by="writer", backend="reference")
    read = TrainingSettings.from_json(json.loads(json.dumps(settings.to_json())))
    assert read.group_by == "writer" == read.validation_groups
    assert TrainingSettings(group_by="writer", backend="reference").validation_groups is None
    older = settings.to_json()
    del older["group_by"]
    assert TrainingSettings.from_json(older).group_by is None
    with pytest.raises(SettingError, match="group_by must be the name of a column or None, got 3"):
        TrainingSettings(group_by=3)
    with pytest.raises(CheckpointError, match="group_by must be the name of a column"):
        TrainingSettings.from_json({**settings.to_json(), "group_by": ""})


def test_without_groups_the_parts_are_those_of_the_plain_split():
    data = written()
    settings = TrainingSettings(validation=0.2, seed=9, backend="reference")
    for found, expected in zip(split(data, settings), split_off_validation(data, 0.2, 9), strict=True):
        assert places(found) == places(expected)
    assert split(data, TrainingSettings(group_by="writer", backend="reference"))[1] is None
    plain, grouped = identity(data), identity(data, "writer")
    assert grouped == plain | {"groups_sha256": grouped["groups_sha256"]}


def test_a_resumed_run_validates_on_the_same_groups(tmp_path):
    data = written()
    whole = train("perceptron", data, **LEARNT)
    validate = split(data, whole.checkpoint.settings)[1]
    assert len(validate) == 24
    assert len({groups_of(data, "writer:[a-z]+")[at] for at in places(validate)}) == 2
    with pytest.raises((TrainingInterrupted, KeyboardInterrupt)):
        train("perceptron", data, out=tmp_path / "run", progress=Stopped(), checkpoint_steps=1, **LEARNT)
    resumed = resume(tmp_path / "run", data)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.history.without_clock() == whole.history.without_clock()
    assert places(split(data, resumed.checkpoint.settings)[1]) == places(validate)


def test_a_run_does_not_go_on_with_other_groups(tmp_path):
    train("perceptron", written(), out=tmp_path / "run", **LEARNT)
    other = numbered(np.arange(60) % 2, WRITERS[::-1])
    with pytest.raises(SettingError, match="was trained on other data: .*groups_sha256"):
        resume(tmp_path / "run", other, epochs=3)
    with pytest.raises(SettingError, match="group_by cannot change when a run is resumed"):
        resume(tmp_path / "run", written(), group_by="writer")
    plain = {name: value for name, value in LEARNT.items() if name != "group_by"}
    train("perceptron", written(), out=tmp_path / "plain", **plain)
    assert len(resume(tmp_path / "plain", other, epochs=3).history) == 3
