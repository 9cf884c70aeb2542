"""Arai's network and program: sizes, multiply-adds, the rule of its updates, its errata, and a short training."""

from functools import partial

import numpy as np

from tatami.layers import Dense, Dropout, Flatten, ReLU
from tatami.lectures.training import Examples, digits, scaled, train
from tatami.lectures.walkthrough import (
    Erratum,
    Grid,
    Grids,
    MakeStep,
    Number,
    Numbers,
    Plot,
    Request,
    Series,
    Step,
    Table,
    Text,
    printed,
    same,
)
from tatami.models import build
from tatami.network import Sequential
from tatami.optimizers import SGD
from tatami.program import Program
from tatami.random import RandomKey

SECONDS, ACCURACY, EPOCHS, IMAGES = 805.452498, 0.971, 4, 60_000
SUMMED_RATE, BATCH, BETA = 1e-4, 100, -0.2
MNIST_IMAGES = 1000


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the network and the program."""
    return (
        sizes,
        cost,
        partial(update_rule, request),
        filter_matrix,
        partial(forgotten_mask, request),
        partial(exact_dropout, request),
        labels,
        partial(short_training, request),
    )


def sizes() -> Step:
    """The layers."""
    network = build("arai")
    rows = tuple(
        (
            str(row["name"]),
            f"{row['type']} {row['settings']}".strip(),
            "×".join(map(str, row["output_shape"])),
            f"{row['parameters']:,}",
            f"{row['multiply_adds']:,}",
        )
        for row in network.summary_rows()
    )
    shape = network.shapes
    return Step(
        Text("The network", "網の構成"),
        Text(
            "Twice a convolution that keeps the size, ReLU, and a pooling that halves it; then three dense layers,"
            " the last of"
            " them with dropout before it. 28 is halved to 14 and 7, and 64 maps of 7×7 give 3136 numbers.",
            "サイズを保つ畳み込み、ReLU、半分にするプーリングを2回。その後に全結合層が3つあり、"
            "最後の手前にドロップアウトが入る。"
            "28は14、7と半分になり、7×7のマップ64枚で3136個の数になる。",
        ),
        (),
        (
            Table(
                (
                    Text("layer", "層"),
                    Text("what", "内容"),
                    Text("output", "出力"),
                    Text("parameters", "パラメータ"),
                    Text("multiply-adds", "積和"),
                ),
                rows,
                left=2,
            ),
            Numbers(
                (
                    Number("conv1 size", same("conv 1"), shape["conv1"], printed([32, 28, 28])),
                    Number("pool1 size", same("pool 1"), shape["pool1"], printed([32, 14, 14])),
                    Number("conv2 size", same("conv 2"), shape["conv2"], printed([64, 14, 14])),
                    Number("pool2 size", same("pool 2"), shape["pool2"], printed([64, 7, 7])),
                    Number("flat size", Text("flattened", "ベクトル化"), shape["flatten1"], printed([3136])),
                    Number(
                        "dense sizes",
                        Text("dense layers", "全結合層"),
                        [shape[f"dense{n}"][0] for n in (1, 2, 3)],
                        printed([100, 200, 10]),
                    ),
                    Number("parameters", Text("parameters", "パラメータの総数"), network.parameter_count),
                )
            ),
        ),
    )


def cost() -> Step:
    """Multiply-adds and what the program took."""
    rows = {row["name"]: row["multiply_adds"] for row in build("arai").summary_rows()}
    forward = sum(rows.values())
    whole = 3 * forward - rows["conv1"]
    speed = EPOCHS * IMAGES / SECONDS
    return Step(
        Text("What an image costs", "画像1枚の計算量"),
        Text(
            "The backward pass computes two gradients with as many multiply-adds as the forward pass each; only"
            " the first layer"
            " needs no gradient of its input. The program reports its time, so its speed follows.",
            "逆伝播では順伝播と同じ積和の勾配を2種類計算する（最初の層は入力の勾配が不要）。"
            "プログラムは実行時間を表示しているので、速さも分かる。",
        ),
        (r"K \cdot OH \cdot OW \cdot C \cdot FH \cdot FW = 64 \cdot 14 \cdot 14 \cdot 32 \cdot 3 \cdot 3",),
        (
            Numbers(
                (
                    Number(
                        "conv2 MFLOP",
                        Text("convolution 2 forward, MFLOP", "畳み込み2の順伝播（MFLOP）"),
                        2 * rows["conv2"] / 1e6,
                        None,
                        2,
                    ),
                    Number(
                        "forward MFLOP", Text("forward, MFLOP", "順伝播（MFLOP）"), 2 * forward / 1e6, None, 2
                    ),
                    Number(
                        "MFLOP",
                        Text("forward and backward, MFLOP", "順伝播と逆伝播（MFLOP）"),
                        2 * whole / 1e6,
                        None,
                        2,
                    ),
                    Number(
                        "seconds",
                        Text("seconds of training, as reported", "学習時間（秒、報告値）"),
                        SECONDS,
                        None,
                        2,
                    ),
                    Number(
                        "images per second",
                        Text("4 epochs of 60,000 images: images/s", "4エポック×60,000枚：毎秒の枚数"),
                        speed,
                        None,
                        1,
                    ),
                    Number("GFLOP per second", Text("GFLOP/s", "GFLOP/s"), speed * 2 * whole / 1e9, None, 2),
                )
            ),
        ),
    )


def update_rule(request: Request) -> Step:
    """The learning rate on the sum, and the sign of Beta."""
    g = RandomKey(request.seed).normal("arai.gradients", (3,))
    moment, weight = 0.0, 1.0
    for gradient in g:
        moment = 0.1 * float(gradient) - BETA * moment
        weight -= moment
    ours = {"dense1": {"weight": np.array([1.0])}}
    optimizer = SGD(0.1, momentum=-BETA)
    state = optimizer.initialize(ours)
    for gradient in g:
        ours, state = optimizer.update(ours, {"dense1": {"weight": np.array([gradient])}}, state)
    return Step(
        Text("How it learns", "更新の規則"),
        Text(
            "Two things to know before comparing with other programs. The learning rate 0.0001 multiplies the"
            " gradient summed"
            " over a mini-batch of 100: on the mean that is 0.01. And Beta = -0.2, subtracted, is a momentum of"
            " +0.2: both"
            " programs below end at the same weight.",
            "ほかのプログラムと比べる前に知っておくべきことが2つある。"
            "学習率0.0001はミニバッチ100枚の勾配の「和」に掛かり、平均なら0.01にあたる。"
            "また Beta = −0.2 は引かれるので、慣性は+0.2である。下の2つの計算は同じ重みに至る。",
        ),
        (
            r"v \leftarrow \eta \cdot g - \beta \cdot v, \quad w \leftarrow w - v \quad (\beta = -0.2)",
            r"v \leftarrow \alpha \cdot v - \eta \cdot g, \quad w \leftarrow w + v \quad (\alpha = 0.2)",
        ),
        (
            Numbers(
                (
                    Number(
                        "rate on the mean",
                        Text("rate on the mean of the batch", "平均に対する学習率"),
                        SUMMED_RATE * BATCH,
                        None,
                        3,
                    ),
                    Number(
                        "Beta",
                        Text("three updates with Beta = -0.2", "Beta = −0.2で3回更新"),
                        weight,
                        None,
                        8,
                    ),
                    Number(
                        "momentum",
                        Text("three updates with momentum 0.2", "慣性0.2で3回更新"),
                        ours["dense1"]["weight"][0],
                        None,
                        8,
                    ),
                )
            ),
        ),
    )


def filter_matrix() -> Step:
    """Cnv2 transposes once too often."""
    positions, inputs, filters = 2 * 14 * 14, 32 * 9, 64
    image, kernel = np.ones((positions, inputs)), np.ones((inputs, filters))
    try:
        _ = image @ kernel.T
        fits = 1
    except ValueError:
        fits = 0
    erratum = Erratum(
        "Arai-b",
        Text("Appendix, function Cnv2", "付録、関数Cnv2"),
        Text(
            "the filters are folded to (C·FH·FW)×K, then transposed, then handed to affine_product, which computes"
            " A·B",
            "フィルタを(C·FH·FW)×Kにした後、転置してからA·Bを計算するaffine_productに渡す",
        ),
        Text("hand them over without the transposition", "転置せずに渡す"),
        Text(
            "im2col gives one row for each window, so A is (N·OH·OW)×(C·FH·FW). A product A·B needs as many rows"
            " in B as A has"
            " columns. The folded filters have them; transposed they do not, and the program as printed stops here.",
            "im2colは窓ごとに1行を作るのでAは(N·OH·OW)×(C·FH·FW)。積A·BにはAの列数と同じ行数がBに要る。"
            "畳んだフィルタはそうなっているが、転置すると合わず、印刷どおりのプログラムはここで止まる。",
        ),
        (r"(N \cdot OH \cdot OW \times C \cdot FH \cdot FW) \cdot (C \cdot FH \cdot FW \times K)",),
        (
            Numbers(
                (
                    Number("A shape", Text("A for two images, layer 2", "A（画像2枚、第2層）"), image.shape),
                    Number("B shape", Text("filters, folded", "畳んだフィルタ"), kernel.shape),
                    Number(
                        "B transposed shape",
                        Text("filters, folded and transposed", "さらに転置したフィルタ"),
                        kernel.T.shape,
                    ),
                    Number(
                        "product fits",
                        Text(
                            "the printed product exists (1 yes, 0 no)",
                            "印刷どおりの積が存在する（1：はい、0：いいえ）",
                        ),
                        fits,
                    ),
                    Number(
                        "right product",
                        Text("shape of the right product", "正しい積の形"),
                        (image @ kernel).shape,
                    ),
                )
            ),
        ),
    )
    return Step(
        Text("A transposition too many", "余分な転置"),
        Text("Sizes tell it without running anything.", "動かさなくても、サイズを見れば分かる。"),
        errata=(erratum,),
    )


def forgotten_mask(request: Request) -> Step:
    """Backward leaves the dropout mask out of δ."""
    network = Sequential(
        Flatten(), Dense(8), ReLU(), Dropout(0.5), Dense(2), input_shape=(1, 2, 3), name="small"
    )
    program = Program(network, precision="f64")
    parameters = network.initialize(request.seed, "float64")
    for number in range(1000):
        key = RandomKey(request.seed, step=number)
        x = key.normal("arai.x", (1, 1, 2, 3))
        step = program.train_step(parameters, x, np.array([1]), key=key, keep=True)
        u = step.values["dense1"][0]
        kept = key.keep_mask("dropout1", (8,), 0.5)
        # Two active units that are kept and two that are not show the mistake well.
        if min(np.sum(kept & (u > 0)), np.sum(~kept & (u > 0))) >= 2:
            break
    right = step.value_gradients["dense1"][0]
    forgotten = (u > 0) * step.value_gradients["dropout1"][0]
    measured = np.zeros(8)
    for unit in range(8):
        costs = []
        for change in (1e-6, -1e-6):
            moved = {name: dict(entries) for name, entries in parameters.items()}
            moved["dense1"]["bias"] = parameters["dense1"]["bias"].copy()
            moved["dense1"]["bias"][unit] += change
            costs.append(program.train_step(moved, x, np.array([1]), key=key).loss)
        measured[unit] = (costs[0] - costs[1]) / 2e-6
    erratum = Erratum(
        "Arai-c",
        Text("Appendix, function Backward", "付録、関数Backward"),
        Text(
            "δ of a dense layer is (Z > 0).*(δ·W), dropout or not",
            "ドロップアウトの有無によらず、全結合層のδは (Z > 0).*(δ·W)",
        ),
        Text("it is mask·(Z > 0).*(δ·W) / (1 - ratio)", " mask·(Z > 0).*(δ·W) / (1 − ratio)"),
        Text(
            "Forward multiplies the layer's output by mask / (1 - ratio), so by the chain rule backward has to"
            " multiply by the"
            " same. A unit that was switched off had no part in the error; the program gives it blame all the"
            " same, as"
            " the central difference shows. With a ratio of 0.2 the slip costs little, and the program still learns.",
            "順伝播は出力に mask / (1−ratio) を掛けているので、連鎖律により逆伝播でも同じものを掛けなければならない。"
            "消されたユニットは誤差に関わっていないのに、プログラムは責任を負わせてしまう（中心差分で分かる）。"
            "割合0.2では影響は小さく、学習はできる。",
        ),
        (r"\delta(k) = \frac{m(k)}{1 - ratio} \cdot f'(u(k)) \cdot \sum_{j} W(j,k) \cdot \delta(j)",),
        (
            Grids(
                (
                    Grid("u", "u", u),
                    Grid("mask", "mask / (1 - ratio)", kept / 0.5, decimals=1),
                )
            ),
            Grids(
                (
                    Grid("measured δ", "(E(u+h) - E(u-h)) / 2h", measured),
                    Grid("right δ", "δ with the mask", right),
                    Grid("forgotten δ", "δ without", forgotten),
                )
            ),
        ),
    )
    return Step(
        Text("The forgotten mask", "忘れられたマスク"),
        Text(
            "A dense layer of eight units with dropout of one half, to see the mistake in full.",
            "8ユニットの全結合層に割合1/2のドロップアウトを付け、誤りをはっきり見る。",
        ),
        errata=(erratum,),
    )


def exact_dropout(request: Request) -> Step:
    """An exact count, against independent draws."""
    key = RandomKey(request.seed)
    shape = (100, 200)
    independent = int(key.keep_mask("dropout1", shape, 0.2).sum())
    layer = Dropout(0.2, exact=True, name="dropout1")
    from tatami.backends import ReferenceBackend
    from tatami.layers.base import Context

    forward = layer.forward(ReferenceBackend(), (np.ones(shape),), {}, Context(training=True, key=key))
    exact = int(np.count_nonzero(forward.output))
    note = Erratum(
        "Arai-e",
        Text("Appendix, function Dropout", "付録、関数Dropout"),
        Text(
            "randperm chooses an exact number of units over the whole batch",
            "randpermでバッチ全体からちょうど決まった数を選ぶ",
        ),
        Text(
            "the dropout of the literature draws every unit by itself",
            "文献のドロップアウトは各ユニットを独立に選ぶ",
        ),
        Text(
            "No mistake, but another rule: the count kept does not vary, and units depend on each other slightly."
            " Tatami draws"
            " independently; Dropout(exact=True) is the program's rule. Both divide by 1 - ratio while training.",
            "誤りではないが別の規則である。残る数は変動せず、ユニットどうしがわずかに依存する。Tatamiは独立に選び、"
            "Dropout(exact=True)でこのプログラムの規則になる。どちらも学習時に1−ratioで割る。",
        ),
        (r"\text{kept} = \text{round}(m \cdot n \cdot (1 - ratio))",),
        (
            Numbers(
                (
                    Number(
                        "exact count",
                        Text("kept of 100×200, exact", "100×200のうち残る数（ちょうど）"),
                        exact,
                    ),
                    Number(
                        "independent count", Text("kept, drawn one by one", "独立に選んだ場合"), independent
                    ),
                )
            ),
        ),
    )
    return Step(
        Text("An exact number is dropped", "ちょうど決まった数を消す"),
        Text("A difference worth knowing.", "知っておくとよい違い。"),
        errata=(note,),
    )


def labels() -> Step:
    """Digit 0 is class 10."""
    digits_ = np.array([5, 0, 4])
    theirs = np.where(digits_ == 0, 10, digits_)
    erratum = Erratum(
        "Arai-d",
        Text("Program, vector of the right answers", "プログラム、正解データのベクトル"),
        Text("digit 0 is class 10, because MATLAB counts from 1", "MATLABは1から数えるので、数字0はクラス10"),
        Text("in Tatami digit d is class d, 0 to 9", "Tatamiでは数字dはクラスd（0から9）"),
        Text(
            "Nothing is lost either way, but columns of a confusion matrix or of a saved output have another order.",
            "どちらでも失われるものはないが、混同行列や出力の列の順序が変わる。",
        ),
        (),
        (
            Grids(
                (
                    Grid("digits", "digits", digits_),
                    Grid("Arai's classes", "Arai", theirs, printed([5, 10, 4])),
                    Grid("our classes", "Tatami", digits_),
                )
            ),
        ),
    )
    return Step(
        Text("Where the 0 is", "0はどこか"),
        Text("The first three training images show 5, 0 and 4.", "最初の3枚の学習画像は5、0、4。"),
        errata=(erratum,),
    )


def short_training(request: Request) -> Step:
    """Train on MNIST if its files are there, else on the digits."""
    train_images, test_images, name, epochs, batch = data_for(request)
    network = build("arai", input_shape=train_images.images.shape[1:])
    rate = SUMMED_RATE * BATCH
    course = train(
        network,
        SGD(rate, momentum=-BETA),
        train_images,
        test_images,
        epochs=epochs,
        batch=batch,
        seed=request.seed,
    )
    return Step(
        Text("A short training", "短い学習"),
        Text(
            f"The network on {name.en}, {len(train_images.labels)} images, {epochs} epochs with the program's rate"
            " and momentum"
            f" on mini-batches of {batch}. The whole of MNIST is one command: tatami train mnist --network arai",
            f"この網を{name.ja}の{len(train_images.labels)}枚で{epochs}エポック、プログラムの学習率と慣性、"
            f"ミニバッチ{batch}枚で学習する。"
            "MNIST全体なら tatami train mnist --network arai の一言でよい。",
        ),
        (),
        (
            Plot(
                Text("accuracy over the epochs", "エポックと正解率"),
                (
                    Series(Text("training", "学習"), course.epochs, course.training),
                    Series(Text("test", "テスト"), course.epochs, course.test),
                ),
                Text("epoch", "エポック"),
                Text("share right", "正解率"),
            ),
            Numbers(
                (
                    Number(
                        "test accuracy",
                        Text("test accuracy at the end", "最後のテスト正解率"),
                        course.test[-1],
                    ),
                    Number(
                        "reported accuracy",
                        Text(
                            "the program on 1000 MNIST images after 4 epochs",
                            "プログラムの報告（MNIST 1000枚、4エポック後）",
                        ),
                        ACCURACY,
                        None,
                        3,
                    ),
                )
            ),
        ),
    )


def data_for(request: Request) -> tuple[Examples, Examples, Text, int, int]:
    """Return what to train and test on, what it is called, the epochs and the size of a mini-batch."""
    if request.data_folder is not None:
        from tatami.data import load

        splits = load("mnist", request.data_folder)
        some, tests = splits.train.first(MNIST_IMAGES), splits.test.first(500)
        return (
            scaled(some.images, some.labels, 255),
            scaled(tests.images, tests.labels, 255),
            same("MNIST"),
            2,
            10,
        )
    data, test = digits()
    return data, test, Text("the 8×8 digits of the package", "同梱の8×8数字"), EPOCHS, 10
