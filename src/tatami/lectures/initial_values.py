"""Initial values: what ten layers make of random inputs, for each activation and each width of the weights."""

from functools import partial
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from tatami.initializers import He, Initializer, Normal, ParameterSpec, Xavier, Zeros
from tatami.layers import Dense, Layer, ReLU, Sigmoid, Tanh
from tatami.lectures.walkthrough import (
    Erratum,
    Histograms,
    MakeStep,
    Number,
    Numbers,
    Plot,
    Request,
    Series,
    Step,
    Text,
    same,
)
from tatami.network import Sequential
from tatami.program import Program
from tatami.random import RandomKey

Array = NDArray[np.float64]

LAYERS, UNITS, EXAMPLES, BINS = 10, 100, 500, 20
SHOWN_LAYERS = (1, 2, 5, 10)
INITIALIZERS: dict[str, Initializer] = {
    "σ = 1": Normal(1.0),
    "σ = 0.01": Normal(0.01),
    "Xavier": Xavier(),
    "He": He(),
}


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the activations."""
    return (
        partial(problem, request.seed),
        partial(
            histograms,
            "sigmoid",
            Sigmoid(),
            request.seed,
            Text(
                "With σ = 1 the units sit at 0 and 1, where the slope is zero: no gradient comes back. With σ ="
                " 0.01 all"
                " units of a layer say 0.5: a hundred units that know as much as one. Xavier's width keeps them"
                " apart. But"
                " read the last lines: the units differ from each other, yet each says nearly the same for every"
                " input,"
                " because the sigmoid's slope of a quarter shrinks differences in every layer, whatever the width.",
                "σ=1ではユニットが0と1に張り付き、傾きが0なので勾配が戻らない。"
                "σ=0.01ではすべてのユニットが0.5と答え、100個いても1個と同じ。"
                "Xavierの幅ならユニットどうしの違いが保たれる。ただし最後の行を見よ。ユニットは互いに違っても、"
                "どの入力にもほぼ同じ答えを返す。"
                "シグモイドの傾き1/4が、幅によらず層ごとに差を縮めるからである。",
            ),
            (0.0, 1.0),
        ),
        partial(
            histograms,
            "tanh",
            Tanh(),
            request.seed,
            Text(
                "The same around 0. Xavier's 1/√n is derived for functions that are straight around 0 with slope"
                " 1, as tanh is.",
                "0を中心に同じことが起こる。Xavierの1/√nは、"
                "tanhのように0のまわりで傾き1の直線になる関数について導かれている。",
            ),
            (-1.0, 1.0),
        ),
        partial(
            histograms,
            "ReLU",
            ReLU(),
            request.seed,
            Text(
                "ReLU throws half of the sums away, and with them half of the mean square. With Xavier the signal"
                " fades by √2 in"
                " every layer; He's √(2/n) makes up for exactly that.",
                "ReLUは和の半分を捨て、二乗平均も半分になる。Xavierでは層ごとに√2ずつ弱まるが、"
                "Heの√(2/n)がちょうど補う。",
            ),
            (0.0, 2.0),
        ),
        partial(spread, request.seed),
        partial(formula, request.seed),
    )


def activations_of(layer: Layer, initializer: Initializer, seed: int) -> list[Array]:
    """Return the outputs of all ten layers for 500 normal inputs."""
    layers: list[Layer] = []
    for number in range(1, LAYERS + 1):
        layers.append(Dense(UNITS, weight_initializer=initializer, name=f"dense{number}"))
        layers.append(type(layer)(name=f"activation{number}"))
    network = Sequential(*layers, input_shape=(UNITS,), name="deep")
    program = Program(network, precision="f64")
    x = RandomKey(seed).normal("initial values.x", (EXAMPLES, UNITS))
    kept = program.forward(network.initialize(seed, "float64"), x, keep=True)
    return [np.asarray(kept.values[f"activation{number}"]) for number in range(1, LAYERS + 1)]


def problem(seed: int) -> Step:
    """What is asked."""
    zero = activations_of(Sigmoid(), Zeros(), seed)
    different = len(np.unique(np.round(zero[-1], 12)))
    return Step(
        Text("The question", "問い"),
        Text(
            f"{LAYERS} layers of {UNITS} units, {EXAMPLES} inputs drawn from the normal distribution, no training"
            " at all. How wide"
            " should the first weights be? All zero is wrong for certain: all units of a layer answer the same,"
            " get the same"
            " gradient, and stay equal for ever.",
            f"{UNITS}ユニットの層を{LAYERS}層重ね、正規分布の入力を{EXAMPLES}個流す。学習はしない。"
            "最初の重みはどれくらいの幅がよいか。"
            "すべて0は確実に誤りで、層のユニットがみな同じ答えと同じ勾配をもち、ずっと等しいままになる。",
        ),
        (
            r"u(k) = \sum_{i=1}^{n} W(k,i) \cdot x(i), \quad \text{var } u = n \cdot \sigma^2 \cdot \text{mean of"
            r" } x^2",
        ),
        (
            Numbers(
                (
                    Number(
                        "different answers",
                        Text(
                            "different answers in layer 10, all weights zero",
                            "重みがすべて0のとき、10層目の答えの種類",
                        ),
                        different,
                    ),
                )
            ),
        ),
    )


def histograms(name: str, layer: Layer, seed: int, prose: Text, extent: tuple[float, float]) -> Step:
    """Histograms of one activation for every initial value."""
    rows, shares, numbers, between = [], [], [], []
    low, high = extent
    for label, initializer in INITIALIZERS.items():
        outputs = activations_of(layer, initializer, seed)
        rows.append(same(label))
        shares.append(tuple(share_of_bins(outputs[number - 1], low, high) for number in SHOWN_LAYERS))
        numbers.append(
            Number(
                f"{name} {label}",
                Text(f"{label}: spread (σ) in layers 1, 2, 5, 10", f"{label}：1、2、5、10層目の広がり（σ）"),
                [float(np.std(outputs[number - 1])) for number in SHOWN_LAYERS],
            )
        )
        between.append(
            Number(
                f"{name} {label} between",
                Text(f"{label}: of that, between the inputs", f"{label}：そのうち入力による違い"),
                [float(np.mean(np.std(outputs[number - 1], axis=0))) for number in SHOWN_LAYERS],
            )
        )
    return Step(
        Text(f"{name}: what arrives", f"{name}：届くもの"),
        prose,
        (),
        (
            Histograms(
                Text(f"outputs of {name} from {low:g} to {high:g}", f"{name}の出力（{low:g}から{high:g}）"),
                tuple(rows),
                tuple(Text(f"layer {number}", f"{number}層目") for number in SHOWN_LAYERS),
                tuple(shares),
                low,
                high,
            ),
            Numbers((*numbers, *between)),
        ),
    )


def share_of_bins(values: Array, low: float, high: float) -> Array:
    """Return the share of the values in each of the bins; what lies outside counts in the outermost.

    >>> share_of_bins(np.array([0.1, 0.1, 5.0]), 0.0, 1.0)[[2, -1]].round(2).tolist()
    [0.67, 0.33]
    """
    counts, _ = np.histogram(np.clip(values, low, high), bins=BINS, range=(low, high))
    return np.asarray(counts / values.size, dtype=np.float64)


def spread(seed: int) -> Step:
    """The mean square through the layers with ReLU."""
    layers = np.arange(1, LAYERS + 1, dtype=np.float64)
    roots = {
        label: np.array([np.sqrt(np.mean(a**2)) for a in activations_of(ReLU(), initializer, seed)])
        for label, initializer in INITIALIZERS.items()
        if label != "σ = 1"
    }
    fade = float((roots["Xavier"][-1] / roots["Xavier"][0]) ** (1 / (LAYERS - 1)))
    keep = float((roots["He"][-1] / roots["He"][0]) ** (1 / (LAYERS - 1)))
    return Step(
        Text("Layer by layer", "層を追って"),
        Text(
            "The size of ReLU's outputs (root of the mean square) on a logarithmic axis: straight lines, because"
            " every layer"
            " multiplies by nearly the same factor. With 100 units the draw wobbles around the theory, which is"
            " for many.",
            "ReLUの出力の大きさ（二乗平均の平方根）を対数軸で見る。どの層もほぼ同じ倍率を掛けるので直線になる。"
            "100個では、多数について成り立つ理論値のまわりで揺れる。",
        ),
        (r"\text{factor of a layer} = \sigma \cdot \sqrt{\frac{n}{2}}",),
        (
            Plot(
                Text("size of the outputs", "出力の大きさ"),
                tuple(Series(same(label), layers, values) for label, values in roots.items()),
                Text("layer", "層"),
                Text("root mean square", "二乗平均の平方根"),
                logarithmic=True,
            ),
            Numbers(
                (
                    Number(
                        "factor Xavier",
                        Text(
                            "factor of a layer, Xavier (theory 0.7071)", "1層の倍率、Xavier（理論値0.7071）"
                        ),
                        fade,
                    ),
                    Number(
                        "factor He",
                        Text("factor of a layer, He (theory 1)", "1層の倍率、He（理論値1）"),
                        keep,
                    ),
                )
            ),
        ),
    )


def formula(seed: int) -> Step:
    """He's formula as printed."""
    n = UNITS
    spec = ParameterSpec((1000, n), He(), fan_in=n, fan_out=1000)
    key = RandomKey(seed)
    drawn = {
        name: float(np.std(kind.draw(spec, "w", key))) for name, kind in (("Xavier", Xavier()), ("He", He()))
    }
    wrong = activations_of(ReLU(), Normal(sqrt(2) / n), seed)
    right = activations_of(ReLU(), He(), seed)
    erratum = Erratum(
        "Qiita-he",
        Text("§5 (4) ii, He's initial value", "5章(4) ii、Heの初期値"),
        Text("the deviation is √2/n", "標準偏差は√2/n"),
        Text("it is √(2/n)", "√(2/n)"),
        Text(
            "The article itself says that He doubles, which is meant of the variance: 1/n for Xavier becomes 2/n."
            " With √2/n, for"
            " a hundred inputs ten times too narrow, the signal is gone after a few layers.",
            "記事にあるとおりHeは「2倍」だが、それは分散の話で、Xavierの1/nが2/nになる。"
            "√2/nでは入力100個のとき10倍狭く、数層で信号が消える。",
        ),
        (
            r"\text{mean of } \text{ReLU}(u)^2 = \frac{1}{2} \text{var } u = \frac{n}{2} \cdot \sigma^2 \cdot"
            r" \text{mean"
            r" of } x^2",
            r"\frac{n}{2} \cdot \sigma^2 = 1 \quad \to \quad \sigma = \sqrt{\frac{2}{n}}",
        ),
        (
            Numbers(
                (
                    Number("He right", Text("√(2/n), n = 100", "√(2/n)、n = 100"), sqrt(2 / n)),
                    Number("He printed", Text("√2/n, n = 100", "√2/n、n = 100"), sqrt(2) / n),
                    Number(
                        "layer 10 right",
                        Text("spread in layer 10 with √(2/n)", "10層目の広がり、√(2/n)"),
                        float(np.std(right[-1])),
                    ),
                    Number(
                        "layer 10 printed",
                        Text("spread in layer 10 with √2/n", "10層目の広がり、√2/n"),
                        float(np.std(wrong[-1])),
                    ),
                )
            ),
        ),
    )
    return Step(
        Text("The two formulas", "2つの公式"),
        Text(
            "n is the number of inputs of a unit: of a convolution, channels times the filter's area.",
            "nはユニットの入力の数。畳み込みでは「チャンネル数×フィルタの面積」。",
        ),
        (r"\text{Xavier: } \sigma = \frac{1}{\sqrt{n}}", r"\text{He: } \sigma = \sqrt{\frac{2}{n}}"),
        (
            Numbers(
                (
                    Number("Xavier", same("1/√100"), 1 / sqrt(n)),
                    Number(
                        "Xavier drawn",
                        Text("deviation of 100,000 drawn by Xavier()", "Xavier()で引いた10万個の標準偏差"),
                        drawn["Xavier"],
                    ),
                    Number(
                        "He drawn",
                        Text("deviation of 100,000 drawn by He()", "He()で引いた10万個の標準偏差"),
                        drawn["He"],
                    ),
                )
            ),
        ),
        (erratum,),
    )
