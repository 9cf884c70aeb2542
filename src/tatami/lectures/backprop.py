"""Arai §3.3 on a network small enough to print: every δ, the full correlation with the turned kernel, a check."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tatami.gradient_check import check_gradients
from tatami.initializers import Given
from tatami.inspect.trace import trace
from tatami.layers import Convolution, Dense, Flatten, MaxPool, ReLU
from tatami.lectures.convolution import convolve
from tatami.lectures.explained import worked_line
from tatami.lectures.numerals import numeral
from tatami.lectures.walkthrough import (
    Erratum,
    Grid,
    Grids,
    MakeStep,
    Number,
    Numbers,
    Request,
    Step,
    Table,
    Text,
    Worked,
    same,
)
from tatami.network import Network, Parameters, Sequential
from tatami.program import Program
from tatami.random import RandomKey

Array = NDArray[np.float64]

DIFFERENCE = 1e-5
RIGHT_CLASS = 1


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through forward, every δ and every gradient."""
    pass_ = SmallPass(request.seed)
    return (
        partial(forward, pass_),
        partial(beginning, pass_),
        partial(dense, pass_),
        partial(second_convolution, pass_),
        partial(turned_kernel, pass_),
        partial(through_the_pooling, pass_),
        partial(first_filters, pass_),
        partial(checked, pass_),
    )


def small_network(seed: int) -> Network:
    """Two convolutions, ReLU, one pooling, two classes; weights drawn and rounded to one decimal."""
    key = RandomKey(seed)

    def drawn(name: str, *shape: int) -> Given:
        return Given(np.round(0.5 * key.normal(f"backprop.{name}", shape), 1).tolist())

    return Sequential(
        Convolution(2, 3, weight_initializer=drawn("F1", 2, 1, 3, 3)),
        ReLU(),
        MaxPool(2),
        Convolution(1, 2, weight_initializer=drawn("F2", 1, 2, 2, 2)),
        ReLU(),
        Flatten(),
        Dense(2, weight_initializer=drawn("W", 2, 4)),
        input_shape=(1, 8, 8),
        name="small",
    )


class SmallPass:
    """One image through the small network, forward and backward."""

    def __init__(self, seed: int) -> None:
        """Search, from the seed on, for weights that are undecided and let a gradient through to every filter."""
        for number in range(seed, seed + 200):
            self.network = small_network(number)
            self.program = Program(self.network, precision="f64")
            self.parameters = self.network.initialize(dtype="float64")
            self.image = np.round(2 * RandomKey(number).uniform("backprop.x", (1, 1, 8, 8)), 1)
            self.step = self.program.train_step(
                self.parameters, self.image, np.array([RIGHT_CLASS]), keep=True
            )
            alive = np.count_nonzero(self.step.value_gradients["conv2"]) >= 3
            filters = self.step.gradients["conv1"]["weight"]
            undecided = 0.5 < self.step.loss < 2 and np.all(self.parameters["conv2"]["weight"])
            through = all(np.any(filters[k]) for k in range(len(filters)))
            if alive and undecided and through and self.is_smooth():
                break
        self.trace = trace(self.network, self.parameters, self.image, RIGHT_CLASS)

    def is_smooth(self) -> bool:
        """Say whether no ReLU sits at its kink and no maximum is shared, where a derivative would not exist."""
        return all(
            np.allclose(gradient, self.difference(layer, parameter), atol=1e-7)
            for layer, entries in self.step.gradients.items()
            for parameter, gradient in entries.items()
        )

    def value(self, name: str) -> Array:
        """Return the output of a layer."""
        return np.asarray(self.step.values[name][0])

    def delta(self, name: str) -> Array:
        """Return the gradient of the error with respect to a layer's output."""
        return np.asarray(self.step.value_gradients[name][0])

    def difference(self, layer: str, parameter: str) -> Array:
        """Return the gradient of a parameter by central differences, one entry after the other."""
        array = self.parameters[layer][parameter]
        found = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            found[index] = (
                self.error_with(layer, parameter, index, DIFFERENCE)
                - self.error_with(layer, parameter, index, -DIFFERENCE)
            ) / (2 * DIFFERENCE)
        return found

    def error_with(self, layer: str, parameter: str, index: tuple[int, ...], change: float) -> float:
        """Return the error with one entry of a parameter changed."""
        moved: Parameters = {name: dict(entries) for name, entries in self.parameters.items()}
        moved[layer][parameter] = moved[layer][parameter].copy()
        moved[layer][parameter][index] += change
        return self.program.train_step(moved, self.image, np.array([RIGHT_CLASS])).loss


def forward(pass_: SmallPass) -> Step:
    """The forward pass."""
    probabilities = pass_.program.predict(pass_.parameters, pass_.image)[0]
    return Step(
        Text("Forward", "順伝播"),
        Text(
            "An image of 8×8, two filters 3×3, ReLU, max pooling, one filter of two channels 2×2, ReLU, and a"
            " dense layer for two"
            " classes. The right answer is class 2. All that follows is one question asked again and again: how does"
            " the error change with this number?",
            "8×8の画像、3×3のフィルタ2枚、ReLU、最大プーリング、2チャンネルの2×2フィルタ1枚、ReLU、"
            "2クラスの全結合層。正解はクラス2。"
            "以下は「この数を変えると誤差はどう変わるか」という問いの繰り返しである。",
        ),
        (
            r"u(k,i,j) = \sum_{c} \sum_{\mu} \sum_{\nu} F(k,c,\mu,\nu) \cdot x(c, i+\mu-1, j+\nu-1) + b(k)",
            r"E = -\sum_{k} r(k) \cdot \log v(k)",
        ),
        (
            Grids((Grid("x", "x", pass_.image[0, 0], decimals=1),)),
            Grids(
                (
                    Grid("F1 first", "F⁽¹⁾(1)", pass_.parameters["conv1"]["weight"][0, 0], decimals=1),
                    Grid("F1 second", "F⁽¹⁾(2)", pass_.parameters["conv1"]["weight"][1, 0], decimals=1),
                    Grid("F2 first", "F⁽²⁾(1,1)", pass_.parameters["conv2"]["weight"][0, 0], decimals=1),
                    Grid("F2 second", "F⁽²⁾(1,2)", pass_.parameters["conv2"]["weight"][0, 1], decimals=1),
                )
            ),
            Grids(
                (
                    Grid("p first", "pool (1)", pass_.value("pool1")[0], decimals=2),
                    Grid("p second", "pool (2)", pass_.value("pool1")[1], decimals=2),
                    "→",
                    Grid("u2", "u⁽²⁾", pass_.value("conv2")[0], decimals=2),
                )
            ),
            Numbers(
                (
                    Number("v", Text("probabilities v", "確率 v"), probabilities),
                    Number("E", Text("error E = -log v(2)", "誤差 E = -log v(2)"), pass_.step.loss),
                )
            ),
        ),
    )


def beginning(pass_: SmallPass) -> Step:
    """δ of the output."""
    v = pass_.program.predict(pass_.parameters, pass_.image)[0]
    return Step(
        Text("δ begins: v - r", "δの出発点：v − r"),
        Text(
            "Softmax and cross-entropy together have a derivative that a child can compute: probability minus"
            " target.",
            "ソフトマックスと交差エントロピーを合わせた微分は驚くほど簡単で、「確率−正解」になる。",
        ),
        (r"\delta(k) = \frac{\partial E}{\partial u(k)} = v(k) - r(k)",),
        (
            Worked(tuple(f"{numeral(p)} - {r} = {numeral(p - r)}" for p, r in zip(v, (0, 1), strict=True))),
            Numbers((Number("δ dense", same("δ"), pass_.delta("dense1")),)),
        ),
    )


def dense(pass_: SmallPass) -> Step:
    """The dense layer."""
    weight = pass_.parameters["dense1"]["weight"]
    return Step(
        Text("The dense layer", "全結合層"),
        Text(
            "A weight's gradient is δ where it arrives times the number it carries. The error goes back through"
            " the same"
            " weights, read in the other direction: through the transpose.",
            "重みの勾配は「到着先のδ×運んだ値」。誤差は同じ重みを逆向きに、つまり転置行列を通ってさかのぼる。",
        ),
        (
            r"\frac{\partial E}{\partial W(k,i)} = \delta(k) \cdot v(i)",
            r"\frac{\partial E}{\partial v(i)} = \sum_{k} W(k,i) \cdot \delta(k)",
        ),
        (
            Grids(
                (
                    Grid("W", "W", weight, decimals=1),
                    Grid("dW", "∂E/∂W", pass_.step.gradients["dense1"]["weight"]),
                )
            ),
            Grids((Grid("into flatten", "∂E/∂v", pass_.delta("flatten1")),)),
        ),
    )


def second_convolution(pass_: SmallPass) -> Step:
    """δ of conv2 and the gradient of its filter."""
    delta = pass_.delta("conv2")[0]
    gradient = pass_.step.gradients["conv2"]["weight"][0]
    return Step(
        Text("The second convolution", "2番目の畳み込み"),
        Text(
            "ReLU lets δ pass where its input was above zero. A filter weight met many windows; its gradient sums"
            " over all of"
            " them, and that sum is a convolution again: of the layer's input, with δ as the filter.",
            "ReLUは入力が正だった所だけδを通す。フィルタの重みは多くの窓と出会ったので、勾配はそのすべての和になる。"
            "この和もまた畳み込みで、層の入力をδをフィルタとして畳み込んだものになる。",
        ),
        (
            r"\delta(i,j) = f'(u(i,j)) \cdot \frac{\partial E}{\partial f}",
            r"\frac{\partial E}{\partial F(k,c,\mu,\nu)} = \sum_{i,j} \delta(k,i,j) \cdot x(c, i+\mu-1, j+\nu-1) ="
            r" (\delta(k) \star x(c))(\mu,\nu)",
        ),
        (
            Grids((Grid("δ conv2", "δ⁽²⁾", delta),)),
            Worked(
                (
                    worked_line(
                        r"\frac{\partial E}{\partial F(1,1,1,1)}",
                        pass_.trace.explain_gradient("conv2.weight", (0, 0, 0, 0)),
                    ),
                )
            ),
            Grids(
                (
                    Grid("dF2 first", "∂E/∂F⁽²⁾(1,1)", gradient[0]),
                    Grid("dF2 second", "∂E/∂F⁽²⁾(1,2)", gradient[1]),
                    "=",
                    Grid("δ ⋆ x first", "δ ⋆ x(1)", convolve(pass_.value("pool1")[0], delta)),
                    Grid("δ ⋆ x second", "δ ⋆ x(2)", convolve(pass_.value("pool1")[1], delta)),
                )
            ),
        ),
    )


def full_correlation(delta: Array, kernel: Array) -> Array:
    """Return δ, framed by zeros, convolved with the kernel turned by 180°.

    >>> full_correlation(np.array([[1.0]]), np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    frame = [(size - 1, size - 1) for size in kernel.shape]
    return convolve(np.pad(delta, frame), kernel[::-1, ::-1])


def turned_kernel(pass_: SmallPass) -> Step:
    """The gradient of the convolution's input."""
    delta, weight = pass_.delta("conv2")[0], pass_.parameters["conv2"]["weight"][0]
    erratum = Erratum(
        "Qiita-derivative",
        Text("§5 (2) ii, back-propagation of the convolution", "5章(2) ii、畳み込み層の誤差逆伝播"),
        Text(
            "convolution is not a function, so its backward pass cannot be had by differentiating",
            "畳み込み処理は関数ではないので微分では算出できない",
        ),
        Text(
            "it is a linear function, and turning the filter is what its derivative does",
            "畳み込みは線形な関数であり、フィルタの反転はその微分そのもの",
        ),
        Text(
            "The derivative of u(i,j) with respect to x(p,q) is the weight that joins them, F(p-i+1, q-j+1)."
            " Summing δ times"
            " that weight over all outputs reads the filter backwards: a full correlation with the filter turned by"
            " 180°. The central difference gives the same numbers.",
            "u(i,j)のx(p,q)による微分は、両者を結ぶ重みF(p−i+1, q−j+1)である。これとδの積をすべての出力で足すと、"
            "フィルタを逆から読むことになる。"
            "すなわち180°回したフィルタとの完全な（full）相関である。中心差分でも同じ数になる。",
        ),
        (
            r"\frac{\partial u(i,j)}{\partial x(p,q)} = F(p-i+1, q-j+1)",
            r"\frac{\partial E}{\partial x(p,q)} = \sum_{i,j} \delta(i,j) \cdot F(p-i+1, q-j+1)",
        ),
    )
    return Step(
        Text("Back through the filter: turned by 180°", "フィルタを逆に通る：180°回転"),
        Text(
            "A pixel of the layer's input was seen by several outputs, each time by another weight: by the last"
            " weight of the"
            " first window, by the first weight of the last. Adding up δ times those weights is a convolution of"
            " δ, framed"
            " by zeros, with the filter turned by 180°.",
            "入力の1画素は複数の出力から、毎回違う重みで見られている。最初の窓では最後の重み、"
            "最後の窓では最初の重みである。"
            "δとその重みの積を足すことは、0で囲んだδを180°回したフィルタで畳み込むことにほかならない。",
        ),
        (
            r"\frac{\partial E}{\partial x(c,p,q)} = \sum_{k} \sum_{\mu,\nu} \delta(k, p-\mu+1, q-\nu+1) \cdot"
            r" F(k,c,\mu,\nu)",
        ),
        (
            Grids(
                (
                    Grid("δ framed", "δ⁽²⁾ in zeros", np.pad(delta, 1), decimals=3),
                    "⋆",
                    Grid("turned F", "F⁽²⁾(1,1) 180°", weight[0, ::-1, ::-1], decimals=1),
                    "=",
                    Grid("full correlation", "full", full_correlation(delta, weight[0])),
                )
            ),
            Grids(
                (
                    Grid("into pool first", "∂E/∂x(1), backward", pass_.delta("pool1")[0]),
                    Grid("into pool second", "∂E/∂x(2), backward", pass_.delta("pool1")[1]),
                    Grid("full correlation second", "full, channel 2", full_correlation(delta, weight[1])),
                )
            ),
            Worked(
                (
                    worked_line(
                        r"\frac{\partial E}{\partial x(1,2,2)}",
                        pass_.trace.explain_gradient("pool1", (0, 1, 1)),
                    ),
                )
            ),
        ),
        (erratum,),
    )


def through_the_pooling(pass_: SmallPass) -> Step:
    """Unpooling."""
    delta = pass_.delta("conv1")
    marked = [tuple((int(i), int(j)) for i, j in np.argwhere(delta[k] != 0)) for k in range(2)]
    return Step(
        Text("Back through the pooling", "プーリングを逆に通る"),
        Text(
            "Every pooled number hands its δ to the place where the maximum stood; all other places get zero. Then"
            " ReLU closes"
            " the places that were not active. What is left is δ of the first convolution.",
            "各プーリング値は最大値のあった場所にδを渡し、ほかはすべて0になる。さらにReLUが、"
            "活動していなかった場所を閉じる。残るのが最初の畳み込みのδである。",
        ),
        (
            r"\delta(k,i,j) = f'(u(k,i,j)) \cdot \frac{\partial E}{\partial p} \text{ at the maximum, else } 0",
        ),
        (
            Grids(
                (
                    Grid("δ conv1 first", "δ⁽¹⁾(1)", delta[0], decimals=3, marked=marked[0]),
                    Grid("δ conv1 second", "δ⁽¹⁾(2)", delta[1], decimals=3, marked=marked[1]),
                )
            ),
        ),
    )


def first_filters(pass_: SmallPass) -> Step:
    """The gradients of the first filters."""
    gradient = pass_.step.gradients["conv1"]
    return Step(
        Text("The first filters", "最初のフィルタ"),
        Text(
            "The same rule once more: image convolved with δ. A bias was added everywhere, so its gradient is the"
            " sum of δ.",
            "同じ規則をもう一度使う。画像をδで畳み込む。バイアスはすべての場所に足されたので、勾配はδの和になる。",
        ),
        (r"\frac{\partial E}{\partial b(k)} = \sum_{i,j} \delta(k,i,j)",),
        (
            Grids(
                (
                    Grid("dF1 first", "∂E/∂F⁽¹⁾(1)", gradient["weight"][0, 0]),
                    Grid("dF1 second", "∂E/∂F⁽¹⁾(2)", gradient["weight"][1, 0]),
                )
            ),
            Numbers((Number("db1", same("∂E/∂b⁽¹⁾"), gradient["bias"]),)),
        ),
    )


def checked(pass_: SmallPass) -> Step:
    """Central differences for every parameter."""
    rows, worst = [], 0.0
    for layer, entries in pass_.step.gradients.items():
        for parameter, gradient in entries.items():
            difference = pass_.difference(layer, parameter)
            distance = float(np.max(np.abs(gradient - difference)))
            worst = max(worst, distance)
            at = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
            rows.append(
                (
                    f"{layer}.{parameter}",
                    str(gradient.size),
                    f"{gradient[at]:.8f}",
                    f"{difference[at]:.8f}",
                    f"{distance:.1e}",
                )
            )
    report = check_gradients(pass_.network)
    return Step(
        Text("The check", "検算"),
        Text(
            "Change one parameter by ±h, compute the error both times, divide by 2h: no calculus, only the forward"
            " pass. Every"
            " gradient above has to agree, and does. 'tatami gradcheck NETWORK' does this for any network.",
            "パラメータを1つだけ±h動かして誤差を2回計算し、差を2hで割る。微分の公式は使わず、順伝播だけで済む。"
            "上のすべての勾配がこれと一致する。'tatami gradcheck NETWORK' でどの網でも確かめられる。",
        ),
        (r"\frac{\partial E}{\partial w} \approx \frac{E(w+h) - E(w-h)}{2h}",),
        (
            Table(
                (
                    Text("parameter", "パラメータ"),
                    Text("entries", "個数"),
                    Text("backward, its largest", "逆伝播（最大の要素）"),
                    Text("difference", "差分"),
                    Text("largest distance", "最大のずれ"),
                ),
                tuple(rows),
            ),
            Numbers(
                (
                    Number("worst distance", Text("largest distance of all", "全体で最大のずれ"), worst),
                    Number(
                        "random upstream",
                        Text(
                            "derivatives that disagree, with a random upstream gradient",
                            "乱数の上流勾配で一致しない微分の数",
                        ),
                        len(report.failures),
                    ),
                )
            ),
        ),
    )
