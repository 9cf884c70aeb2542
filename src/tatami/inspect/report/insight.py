"""Sections on what the network sees: feature maps, attributions, exciting and ideal images."""

from collections.abc import Sequence

import numpy as np

from tatami.errors import SettingError
from tatami.inspect.activations import feature_maps
from tatami.inspect.class_activation import last_maps
from tatami.inspect.colours import GREY, SIGNED, coloured, heat_over
from tatami.inspect.exciting import Excitement, most_exciting, seen_patch
from tatami.inspect.grids import picture, plane, tile
from tatami.inspect.markup import Markup, element
from tatami.inspect.maximisation import Ascent, maximise_activation
from tatami.inspect.methods import METHODS, attribution_map
from tatami.inspect.rectified import deconvolution
from tatami.inspect.report.parts import captioned, example_image, gallery, grid_image, image, introduced
from tatami.inspect.report.subject import Subject
from tatami.inspect.units import Unit
from tatami.layers import Dropout, Flatten
from tatami.network import shape_text

MOST_MAPS = 64
MOST_UNITS = 8
EXCITING_IMAGES = 6
MOST_IDEAL = 20


def maps_section(subject: Subject) -> Markup:
    """Return what every layer makes of one image."""
    number = subject.shown[0]
    values = feature_maps(
        subject.network, subject.parameters, subject.seen(np.array([number])), subject.model.state
    )
    figures = [captioned(image(subject.picture_of(number), "input"), subject.say("the image", "画像"))]
    for node in subject.network.nodes:
        if isinstance(node.layer, Flatten | Dropout):
            continue  # the same numbers again
        output = values[node.name][0]
        grid = plane(output) if output.ndim == 1 else tile(output[:MOST_MAPS])
        scale = GREY if output.min() >= 0 else SIGNED
        shape = shape_text(output.shape).replace("x", "×")
        cut = output.ndim > 1 and len(output) > MOST_MAPS
        more = subject.say(f", the first {MOST_MAPS} maps", f"、最初の {MOST_MAPS} 枚") if cut else ""
        picture_of_maps = grid_image(
            grid, subject.say(f"outputs of {node.name}", f"{node.name} の出力"), scale
        )
        figures.append(
            captioned(picture_of_maps, f"{node.name} {shape}{more}", "strip" if output.ndim == 1 else None)
        )
    introduction = subject.say(
        f"What every layer makes of one test image, a {subject.caption(number)}. Grey: black is 0. Coloured: red is "
        f"positive, blue negative.",
        f"1枚のテスト画像 ({subject.caption(number)}) から各層が作るもの。灰色: 黒が 0。色つき: 赤が正、青が負。",
    )
    return introduced(introduction, gallery(figures, "gallery large"))


def attributions_section(subject: Subject) -> Markup:
    """Return for some images which pixels speak for the class that the model saw."""
    methods = [name for name, method in METHODS.items() if not method.needs_maps or has_convolution(subject)]
    numbers = np.array(subject.shown)
    x = subject.seen(numbers)
    targets = subject.judged.predicted[numbers]
    maps = {
        name: attribution_map(name, subject.network, subject.parameters, x, targets, subject.model.state)
        for name in methods
    }
    parts = []
    for at, number in enumerate(subject.shown):
        shown = picture(subject.test.images[number])
        test_image = subject.image_name(number)
        plain = image(subject.picture_of(number), test_image)
        figures = [captioned(plain, element("b", subject.say("Image", "画像")))]
        for name in methods:
            drawn = heat_over(maps[name][at], shown, signed=METHODS[name].signed, as_ink=subject.as_ink)
            title = METHODS[name].title.read(subject.language)
            figures.append(captioned(image(drawn, f"{title}: {test_image}"), title))
        parts.append(element("h3", f"{test_image}: {subject.caption(number)}"))
        parts.append(gallery(figures))
    meanings = [
        element(
            "div",
            element("dt", METHODS[name].title.read(subject.language)),
            element("dd", METHODS[name].meaning.read(subject.language)),
        )
        for name in methods
    ]
    introduction = subject.say(
        "Which pixels speak for the class that the model saw. Red: for it, blue: against it; in the methods without a "
        "sign, the redder the more. They are different questions and give different answers.",
        "モデルが判断したクラスを、どの画素が支持しているか。赤は賛成、青は反対。符号のない方法では、赤いほど強い。"
        "それぞれ別の問いなので、答えも違う。",
    )
    summary = element("summary", subject.say("What each of them shows", "それぞれが示すもの"))
    legend = element("details", summary, element("dl", meanings))
    return introduced(introduction, legend, parts)


def has_convolution(subject: Subject) -> bool:
    """Say whether the network has a convolution."""
    try:
        last_maps(subject.network)
    except SettingError:
        return False
    return True


def exciting_section(subject: Subject) -> Markup | None:
    """Return the images that excite the channels of the last maps most; None for a network without maps."""
    if not has_convolution(subject) or len(subject.network.input_shape) != 3:
        return None
    layer = last_maps(subject.network)
    found = most_exciting(
        subject.network,
        subject.parameters,
        subject.sampled,
        layer,
        count=EXCITING_IMAGES,
        state=subject.model.state,
    )
    strongest = np.argsort(-found.scores[:, 0], kind="stable")[:MOST_UNITS]
    rows = []
    for channel in strongest:
        rows.append(element("h3", f"{layer}[{channel}]"))
        rows.append(gallery(exciting_figures(subject, layer, found, int(channel)), "gallery small"))
    count = f"{len(subject.sample):,}"
    introduction = subject.say(
        f"For the {len(strongest)} most active of the {len(found.images)} channels of {layer}, the images that excite "
        f"them most among {count} test images; the frame is the part that the unit sees. The last picture is what the "
        f"deconvolution network rebuilds in the first frame.",
        f"{layer} の {len(found.images)} チャンネルのうち最も活発な {len(strongest)} 個について、テスト画像 {count} "
        f"枚の中で最も興奮させる画像。枠はユニットが見ている部分。最後の絵は、最初の枠をデコンボリューションで復元したもの。",
    )
    return introduced(introduction, rows)


def exciting_figures(subject: Subject, layer: str, found: Excitement, channel: int) -> Sequence[Markup]:
    """Return the images that excite a channel, with the part that the unit sees, and its deconvolution."""
    figures = []
    size = subject.network.input_shape[1:]
    for rank, sampled in enumerate(found.images[channel]):
        number = int(subject.sample[sampled])
        position = tuple(int(at) for at in found.positions[channel, rank])
        seen = seen_patch(subject.network, layer, position)
        top, left = (100 * part.start / whole for part, whole in zip(seen, size, strict=True))
        tall, wide = (100 * (part.stop - part.start) / whole for part, whole in zip(seen, size, strict=True))
        frame = element(
            "span",
            class_="seen",
            style=f"top: {top:.1f}%; left: {left:.1f}%; height: {tall:.1f}%; width: {wide:.1f}%",
        )
        pixels = image(subject.picture_of(number), subject.image_name(number))
        text = f"{subject.class_names[subject.test.labels[number]]}: {found.scores[channel, rank]:.2f}"
        figures.append(captioned(element("div", pixels, frame, class_="framed"), text))
    first = subject.seen(subject.sample[found.images[channel, :1]])
    unit = Unit(layer, (channel,), over="maximum")
    rebuilt = deconvolution(subject.network, subject.parameters, first, unit, state=subject.model.state)
    patch = seen_patch(subject.network, layer, tuple(int(at) for at in found.positions[channel, 0]))
    drawn = coloured(rebuilt[0].sum(axis=0)[patch], SIGNED)
    title = METHODS["deconvnet"].title.read(subject.language)
    return [*figures, captioned(image(drawn, f"{title}: {unit}"), subject.say("rebuilt", "復元"))]


def ideal_section(subject: Subject) -> Markup:
    """Return an image made for every class."""
    ascent = Ascent(low=float(subject.sampled.min()), high=float(subject.sampled.max()))
    classes = list(range(min(len(subject.class_names), MOST_IDEAL)))
    maximum = maximise_activation(
        subject.network, subject.parameters, classes, ascent=ascent, state=subject.model.state
    )
    ideal = subject.say("ideal image", "理想の画像")
    figures = [
        captioned(
            example_image(pixels, f"{ideal}: {subject.class_names[label]}", as_ink=subject.as_ink),
            f"{subject.class_names[label]}: {value:.1f}",
        )
        for label, pixels, value in zip(classes, maximum.images, maximum.scores, strict=True)
    ]
    introduction = subject.say(
        "Images made by climbing the gradient of each class's score from noise, kept smooth by blur, jitter and an L2 "
        "penalty; below each, the score that it reaches. The network has seen none of them.",
        "雑音から始めて、各クラスのスコアの勾配を登って作った画像。ぼかし、揺らし、L2 の罰則で滑らかに保つ。"
        "下の数は到達したスコア。どれもネットワークが見たことのない画像である。",
    )
    return introduced(introduction, gallery(figures))
