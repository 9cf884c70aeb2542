"""Over-fitting on purpose: few digits, one label in five wrong, then weight decay and dropout against it."""

from functools import cache, partial

import numpy as np

from tatami.layers import Dense, Dropout, Flatten, Layer, ReLU
from tatami.lectures.training import Course, Examples, digits, train
from tatami.lectures.walkthrough import (
    MakeStep,
    Number,
    Numbers,
    Plot,
    Request,
    Series,
    Step,
    Text,
    Worked,
    same,
)
from tatami.network import Network, Sequential
from tatami.optimizers import SGD
from tatami.random import RandomKey

IMAGES, EPOCHS, BATCH, LOOK = 200, 120, 20, 4
WRONG = 0.2
RATE, MOMENTUM, DECAY, RATIO = 0.05, 0.9, 0.03, 0.5


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the three trainings."""
    plain = partial(trained, request.seed, 0.0, 0.0)
    decayed = partial(trained, request.seed, DECAY, 0.0)
    dropped = partial(trained, request.seed, 0.0, RATIO)
    return (
        lambda: by_heart(plain()),
        lambda: weight_decay(plain(), decayed()),
        lambda: dropout(plain(), dropped()),
        lambda: compared(plain(), decayed(), dropped()),
    )


def network(ratio: float) -> Network:
    """Return a network with far more parameters than there are pixels to learn from."""
    hidden: list[Layer] = []
    for _ in range(2):
        hidden.extend([Dense(128), ReLU()])
        if ratio:
            hidden.append(Dropout(ratio))
    return Sequential(Flatten(), *hidden, Dense(10), input_shape=(1, 8, 8), name="too large")


def few_digits(seed: int) -> tuple[Examples, Examples]:
    """Return the first digits to train on, one label in five moved to another class, and the digits to test on."""
    data, test = digits(IMAGES)
    key = RandomKey(seed)
    wrong = key.uniform("overfitting.wrong", (IMAGES,)) < WRONG
    step = 1 + (key.bits("overfitting.step", IMAGES) % 9).astype(np.int64)
    return Examples(data.images, np.where(wrong, (data.labels + step) % 10, data.labels)), test


@cache
def trained(seed: int, decay: float, ratio: float) -> Course:
    """Train on the first few digits."""
    data, test = few_digits(seed)
    optimizer = SGD(RATE, momentum=MOMENTUM, weight_decay=decay)
    return train(
        network(ratio), optimizer, data, test, epochs=EPOCHS, batch=BATCH, seed=seed, look_every=LOOK
    )


def curves(course: Course, title: Text) -> Plot:
    """Draw both accuracies."""
    return Plot(
        title,
        (
            Series(Text("training", "学習"), course.epochs, course.training),
            Series(Text("test", "テスト"), course.epochs, course.test),
        ),
        Text("epoch", "エポック"),
        Text("share right", "正解率"),
        y_range=(0.0, 1.02),
    )


def by_heart(plain: Course) -> Step:
    """Without anything against it."""
    parameters = network(0.0).parameter_count
    return Step(
        Text("Learned by heart", "丸暗記"),
        Text(
            f"{IMAGES} digits, {parameters:,} parameters, and one label in five is wrong, as happens with labels."
            " Soon every training"
            " image is 'right', the wrong ones included, while the test images get worse again: the network has"
            " learned the"
            " examples, not the digits. The gap between the curves is the over-fitting.",
            f"数字{IMAGES}枚、パラメータ{parameters:,}個、そして現実によくあるように5つに1つはラベルが誤っている。"
            "やがて学習画像は誤ったものまで「正解」になり、テストの成績は下がり始める。"
            "網が覚えたのは数字ではなく例である。2つの曲線の差が過学習を表す。",
        ),
        (),
        (
            curves(plain, Text("without remedy", "対策なし")),
            Numbers(
                (
                    Number(
                        "training plain",
                        Text("training accuracy at the end", "最後の学習正解率"),
                        plain.training[-1],
                    ),
                    Number(
                        "test plain", Text("test accuracy at the end", "最後のテスト正解率"), plain.test[-1]
                    ),
                    Number("parameters", Text("parameters", "パラメータ"), parameters),
                    Number(
                        "pixels", Text("pixels of all training images", "学習画像の全画素数"), IMAGES * 64
                    ),
                )
            ),
        ),
    )


def weight_decay(plain: Course, decayed: Course) -> Step:
    """L2."""
    w = {"dense1": {"weight": np.array([2.0])}}
    optimizer = SGD(0.1, weight_decay=0.5)
    updated, _ = optimizer.update(w, {"dense1": {"weight": np.array([0.0])}}, optimizer.initialize(w))
    return Step(
        Text("Weight decay", "荷重減衰"),
        Text(
            "Every weight pays for its size: ½λw² is added to the loss, so λw to the gradient, and a weight that"
            " nothing needs"
            " shrinks by the factor 1 - ηλ in every step. Biases are left alone. Smaller weights, smoother answers.",
            "重みはその大きさに応じて代価を払う。損失に½λw²を、したがって勾配にλwを足すので、"
            "必要とされない重みは毎回1−ηλ倍に縮む。バイアスは対象外。"
            "重みが小さければ、答えは滑らかになる。",
        ),
        (r"E + \frac{1}{2} \lambda \sum w^2, \quad w \leftarrow w - \eta \cdot (g + \lambda w)",),
        (
            Worked((r"2 - 0.1 \cdot (0 + 0.5 \cdot 2) = " + f"{updated['dense1']['weight'][0]:.1f}",)),
            curves(decayed, Text(f"with weight decay {DECAY:g}", f"荷重減衰 {DECAY:g}")),
            Numbers(
                (
                    Number(
                        "decayed weight",
                        Text("the weight above after one step", "上の重みの1回更新後"),
                        updated["dense1"]["weight"][0],
                        None,
                        1,
                    ),
                    Number(
                        "training decay",
                        Text("training accuracy at the end", "最後の学習正解率"),
                        decayed.training[-1],
                    ),
                    Number(
                        "test decay", Text("test accuracy at the end", "最後のテスト正解率"), decayed.test[-1]
                    ),
                )
            ),
        ),
    )


def dropout(plain: Course, dropped: Course) -> Step:
    """Dropout."""
    return Step(
        Text("Dropout", "ドロップアウト"),
        Text(
            "In every step half of the hidden units are switched off at random. No unit can rely on a certain"
            " other one, so each has"
            " to be useful by itself; in the end all of them vote. The lecture 'dropout' has the rule.",
            "毎回、中間ユニットの半分を無作為に消す。"
            "特定の相手に頼れないので各ユニットが単独でも役立つようになり、最後は全員で投票する。規則は講義"
            " dropout にある。",
        ),
        (),
        (
            curves(dropped, Text(f"with dropout {RATIO:g}", f"ドロップアウト {RATIO:g}")),
            Numbers(
                (
                    Number(
                        "training dropout",
                        Text("training accuracy at the end", "最後の学習正解率"),
                        dropped.training[-1],
                    ),
                    Number(
                        "test dropout",
                        Text("test accuracy at the end", "最後のテスト正解率"),
                        dropped.test[-1],
                    ),
                )
            ),
        ),
    )


def compared(plain: Course, decayed: Course, dropped: Course) -> Step:
    """All test curves."""
    named = (
        ("plain", Text("without remedy", "対策なし"), plain),
        ("decay", Text("weight decay", "荷重減衰"), decayed),
        ("dropout", same("dropout"), dropped),
    )
    return Step(
        Text("Compared", "比較"),
        Text(
            "Test accuracy of the three, averaged over the last ten looks. The best remedy is not in the list:"
            " more examples, and"
            " labels that are right.",
            "3つのテスト正解率を最後の10回で平均した。最良の対策はこの中にない。例を増やし、ラベルを正すことである。",
        ),
        (),
        (
            Plot(
                Text("test accuracy", "テスト正解率"),
                tuple(Series(label, course.epochs, course.test) for _, label, course in named),
                Text("epoch", "エポック"),
                Text("share right", "正解率"),
                y_range=(0.4, 0.9),
            ),
            Numbers(
                tuple(
                    Number(f"mean test {key}", label, float(np.mean(course.test[-10:])))
                    for key, label, course in named
                )
            ),
        ),
    )
