"""Sections on how the layers work: how their outputs are spread, and units that do nothing."""

from tatami.inspect.activations import activation_histograms, dead_units
from tatami.inspect.figures import figure_svg, spread_figure
from tatami.inspect.markup import Markup, element, together
from tatami.inspect.report.parts import section, table
from tatami.inspect.report.subject import Subject
from tatami.layers import Flatten
from tatami.network import INPUT

MOST_HISTOGRAMS = 24
MOST_NAMED = 12


def histograms_section(subject: Subject) -> Markup:
    """Return how the outputs of the layers are spread."""
    network = subject.network
    spreads = activation_histograms(network, subject.parameters, subject.sampled, state=subject.model.state)
    names = [INPUT, *(node.name for node in network.nodes if not isinstance(node.layer, Flatten))]
    figures = [
        figure_svg(spread_figure(name, spreads[name]), f"Outputs of {name}")
        for name in names[:MOST_HISTOGRAMS]
    ]
    introduction = (
        f"How the outputs of every layer are spread over {len(subject.sample):,} test images: share of the outputs, "
        f"mean ± standard deviation. The axis is logarithmic above 1 %."
    )
    return section(
        "histograms", "Activations", introduction, element("div", together(figures), class_="charts small")
    )


def dead_section(subject: Subject) -> Markup | None:
    """Return which units let no gradient through, or None if there are no activations."""
    activities = dead_units(subject.network, subject.parameters, subject.sampled, state=subject.model.state)
    if not activities:
        return None
    rows = []
    for name, activity in activities.items():
        dead = activity.dead
        named = ", ".join(str(unit) for unit in dead[:MOST_NAMED]) + (" …" if len(dead) > MOST_NAMED else "")
        rows.append(
            (
                name,
                f"{len(activity.awake):,}",
                f"{len(dead):,}",
                named,
                f"{100 * float(activity.awake.mean()):.0f} %",
            )
        )
    total = sum(len(activity.dead) for activity in activities.values())
    units = sum(len(activity.awake) for activity in activities.values())
    introduction = (
        f"{total:,} of {units:,} units let no gradient through on any of {len(subject.sample):,} test images: a "
        f"ReLU that is never above 0, a sigmoid or tanh that is always saturated. They can neither help nor learn."
    )
    header = ("layer", "units", "dead", "which", "awake on average")
    return section("dead", "Dead units", introduction, table(header, rows, left=(0, 3)))
