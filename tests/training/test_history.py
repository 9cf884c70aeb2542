"""What a run measured is written and read back exactly."""

import json

import pytest

from tatami.errors import CheckpointError
from tatami.training.history import EpochRecord, History, RunningSums


def record(epoch, validation_loss=None, loss=0.1 + 0.2):
    return EpochRecord(
        epoch=epoch,
        step=10 * epoch,
        loss=loss,
        accuracy=1 / 3,
        validation_loss=validation_loss,
        validation_accuracy=None if validation_loss is None else 0.5,
        learning_rate=0.01,
        seconds=1.25,
        images_per_second=1000.0,
    )


def history(*validation_losses):
    return History(tuple(record(epoch, loss) for epoch, loss in enumerate(validation_losses, start=1)))


def test_through_json_and_back():
    before = history(0.3, 0.1 + 0.2, None)
    assert History.from_json(json.loads(json.dumps(before.to_json()))) == before
    assert [json.loads(line) for line in before.to_lines().splitlines()] == before.to_json()


def test_sums_through_json_and_back():
    sums = (
        RunningSums()
        .plus(loss=0.1, correct=3, images=4, seconds=0.5)
        .plus(loss=0.2, correct=4, images=4, seconds=0.5)
    )
    assert RunningSums.from_json(json.loads(json.dumps(sums.to_json()))) == sums
    assert (sums.loss, sums.accuracy, sums.images_per_second) == (0.1 + 0.2, 0.875, 8.0)


@pytest.mark.parametrize(
    ("losses", "best", "without"),
    [((None, None), None, 0), ((0.3, 0.2, 0.25), 2, 1), ((0.2, 0.2), 1, 1), ((0.5,), 1, 0)],
)
def test_the_best_epoch_is_the_first_with_the_lowest_validation_loss(losses, best, without):
    assert history(*losses).best_epoch == best
    assert history(*losses).epochs_without_improvement() == without


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 2}, "do not count from 1"),
        ({"epoch": 1.0}, "'epoch' holds 1.0"),
        ({"loss": "low"}, "'loss' holds 'low'"),
        ({"loss": None}, "'loss' holds None"),
        ({"colour": 3}, "colour"),
    ],
)
def test_a_history_that_cannot_be_is_refused(change, message):
    with pytest.raises(CheckpointError, match=message):
        History.from_json([{**record(1).to_json(), **change}])


@pytest.mark.parametrize("values", [{}, {"loss": 0.0, "correct": 0.5, "images": 1, "seconds": 0.0}])
def test_sums_that_cannot_be_are_refused(values):
    with pytest.raises(CheckpointError, match="running sums"):
        RunningSums.from_json(values)


def test_equal_runs_have_equal_histories_apart_from_the_clock():
    slow = History((record(1), record(2)))
    fast = History.from_json(
        [{**entry, "seconds": 0.5, "images_per_second": 9.0} for entry in slow.to_json()]
    )
    assert slow != fast
    assert slow.without_clock() == fast.without_clock()
