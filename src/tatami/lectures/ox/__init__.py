"""The ○× exercise of the DSP slides: every number from the pixels to the weights after the update, and its errata."""

from functools import partial

from tatami.lectures.ox.backward import delta_of_the_filters, delta_of_the_output, twice_the_derivative
from tatami.lectures.ox.exercise import Exercise
from tatami.lectures.ox.forward import activation, cost, filtering, images_and_filters, output, pooling
from tatami.lectures.ox.training import five_thousand_updates
from tatami.lectures.ox.updates import after_one_update, one_by_one, one_update
from tatami.lectures.walkthrough import MakeStep, Request


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the exercise."""
    exercise = Exercise()
    return (
        images_and_filters,
        partial(filtering, exercise),
        partial(activation, exercise),
        partial(pooling, exercise),
        partial(output, exercise),
        partial(cost, exercise),
        partial(delta_of_the_output, exercise),
        partial(delta_of_the_filters, exercise),
        partial(twice_the_derivative, exercise),
        partial(one_update, exercise),
        partial(after_one_update, exercise),
        partial(one_by_one, request.updates),
        five_thousand_updates,
    )
