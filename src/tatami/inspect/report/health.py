"""Sections on how the layers work: how their outputs are spread, and units that do nothing."""

from tatami.inspect.activations import activation_histograms, dead_units
from tatami.inspect.figures import figure_svg, spread_figure
from tatami.inspect.markup import Markup, element, together
from tatami.inspect.report.parts import introduced, table
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
        figure_svg(
            spread_figure(name, spreads[name], subject.language),
            subject.say(f"Outputs of {name}", f"{name} の出力"),
        )
        for name in names[:MOST_HISTOGRAMS]
    ]
    count = f"{len(subject.sample):,}"
    introduction = subject.say(
        f"How the outputs of every layer are spread over {count} test images: share of the outputs, "
        f"mean ± standard deviation. The axis is logarithmic above 1 %.",
        f"テスト画像 {count} 枚での各層の出力の分布: 出力の割合と、平均 ± 標準偏差。縦軸は 1 % より上で対数。",
    )
    return introduced(introduction, element("div", together(figures), class_="charts small"))


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
    count = f"{len(subject.sample):,}"
    introduction = subject.say(
        f"{total:,} of {units:,} units let no gradient through on any of {count} test images: a ReLU that is never "
        f"above 0, a sigmoid or tanh that is always saturated. They can neither help nor learn.",
        f"{units:,} 個のユニットのうち {total:,} 個は、テスト画像 {count} 枚のどれでも勾配を通さない: 0 を超えない "
        f"ReLU、飽和したままのシグモイドや tanh。役に立たず、学習もできない。",
    )
    header = (
        subject.say("layer", "層"),
        subject.say("units", "ユニット"),
        subject.say("dead", "死んだ数"),
        subject.say("which", "番号"),
        subject.say("awake on average", "働く割合の平均"),
    )
    return introduced(introduction, table(header, rows, left=(0, 3)))
