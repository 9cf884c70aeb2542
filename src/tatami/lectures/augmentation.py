"""Augmentation: what turns twenty samples of each katakana into thousands, and which policy suits them.

DAY4 gives its groups fifteen katakana and asks which kinds of augmentation suit their classification; here every kind
that it names is trained and compared.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tatami import native
from tatami.data import Dataset
from tatami.data.augmentation import Elastic, Pipeline, Rotate
from tatami.lectures.augmentation_trial import (
    EACH,
    EPOCHS,
    POLICIES,
    SIZE,
    TEST_EACH,
    Trial,
    answers,
    data,
    trials,
)
from tatami.lectures.walkthrough import (
    MakeStep,
    Number,
    Numbers,
    Pictures,
    Plot,
    Request,
    Series,
    Step,
    Table,
    Text,
    Worked,
    same,
)

NAMES = {
    "none": Text("nothing", "なし"),
    "shift": Text("shift", "平行移動"),
    "rotate": Text("rotation", "回転"),
    "stretch": Text("stretching and slanting", "伸縮と傾き"),
    "flip": Text("mirror image", "反転"),
    "elastic": Text("elastic distortion", "弾性変形"),
    "noise": Text("noise", "ノイズ"),
    "hide": Text("hiding a part", "部分的に隠す"),
    "mix": Text("mixing two images", "2枚を混ぜる"),
    "all": Text("all but mirroring and mixing", "反転と混合のほかすべて"),
}
ROWS, COLUMNS = 3, 5
# Without the native backend a training takes ten times as long.
SEEDS = {True: 3, False: 1}
WORKED_ANGLE = 30.0
AMOUNTS = (0.02, 0.04, 0.08)


def walk(request: Request) -> tuple[MakeStep, ...]:
    """Walk through the comparison."""
    count = request.seeds or SEEDS[native.is_built()]

    def results() -> dict[str, list[Trial]]:
        """Train with every policy."""
        return {policy: trials(policy, request.seed, count) for policy in POLICIES}

    learning, testing = data(request.seed)
    return (
        partial(twenty_of_each, learning, testing),
        partial(moved_points, learning, request.seed),
        partial(elastic, learning, request.seed),
        partial(drawn_again, learning, request.seed),
        lambda: courses(results()),
        lambda: compared(results(), count),
        lambda: mirrored(trials("none", request.seed, count), testing, request.seed),
    )


def sheet(images: NDArray[np.generic], rows: int, columns: int) -> NDArray[np.float64]:
    """Put images (N, 1, H, W) side by side, dark ink on light paper."""
    tiles = np.asarray(images[: rows * columns, 0], dtype=np.float64)
    grid = tiles.reshape(rows, columns, SIZE, SIZE).transpose(0, 2, 1, 3)
    return 255.0 - grid.reshape(rows * SIZE, columns * SIZE)


def twenty_of_each(learning: Dataset, testing: Dataset) -> Step:
    """The task."""
    return Step(
        Text("Twenty of each", "1文字20枚"),
        Text(
            f"Fifteen katakana, {EACH} samples of each, by careful people who write much alike. The {len(testing)}"
            " images to test on are by others: thick and thin pens, slanted, turned, small, with joins that are missed."
            " What the samples do not show, augmentation has to add: it makes copies of them and changes them, so that"
            " the network learns what a character may look like and still be the same.",
            f"カタカナ15文字、各{EACH}枚。書いたのは癖の少ない丁寧な人たちである。テスト用の{len(testing)}枚は別の人たちが"
            "書いたもので、太いペンも細いペンもあり、傾き、回り、小さく、線の離れたものもある。手元の例にない変化を"
            "補うのがデータ拡張である。例を加工複製し、どこまで変わっても同じ文字なのかを網に教える。",
        ),
        (),
        (
            Pictures(
                (
                    (Text("to learn from", "学習用"), sheet(learning.images, ROWS, COLUMNS)),
                    (Text("to test on", "テスト用"), sheet(testing.images, ROWS, COLUMNS)),
                )
            ),
            Numbers(
                (
                    Number(
                        "images to learn from", Text("images to learn from", "学習用の枚数"), len(learning)
                    ),
                    Number("images to test on", Text("images to test on", "テスト用の枚数"), len(testing)),
                    Number("classes", Text("classes", "クラス数"), len(learning.class_names)),
                )
            ),
        ),
    )


def varied(policy: Pipeline, learning: Dataset, seed: int, epoch: int = 0) -> NDArray[np.float32]:
    """Return the first image of each class as a policy shows it in an epoch."""
    return policy.apply(learning, np.arange(ROWS * COLUMNS), seed, epoch).images


def moved_points(learning: Dataset, seed: int) -> Step:
    """Geometric transforms."""
    angle = np.radians(WORKED_ANGLE)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    read = matrix @ np.array([4.0, 2.0])
    shown = tuple(
        (NAMES[name], sheet(varied(policy, learning, seed), ROWS, COLUMNS))
        for name, policy in POLICIES.items()
        if policy is not None
    )
    return Step(
        Text("Where a point is read", "画素をどこから読むか"),
        Text(
            "Rotation, mirror image, stretching, noise, hiding a part: these are the ways that DAY4 lists; shifts,"
            " elastic distortion and mixing are added. A geometric change asks for every point of the new image where"
            " it lies in the old one, counted from the middle, and takes the mean of the four points around that place."
            " A rotation by θ is the matrix below; stretching, slanting and shifting are matrices too, so several in a"
            " row are multiplied first and the image is read only once.",
            "回転、反転、伸縮、ノイズを加える、部分的に隠す。これがDAY4の挙げる拡張方法で、ここでは平行移動、弾性変形、混合を"
            "加える。幾何的な変形では、新しい画像の各点が元の画像のどこにあたるかを中心からの座標で求め、"
            "まわりの4点から補間する。角θの回転は下の行列で表される。伸縮、傾き、平行移動も行列なので、続けて行うときは"
            "先に掛け合わせ、画像を読むのは1回で済ませる。",
        ),
        (
            r"x = \cos \theta \cdot x' - \sin \theta \cdot y'",
            r"y = \sin \theta \cdot x' + \cos \theta \cdot y'",
        ),
        (
            Worked(
                (
                    rf"x = {matrix[0, 0]:.4f} \cdot 4 - {matrix[1, 0]:.4f} \cdot 2 = {read[0]:.4f}",
                    rf"y = {matrix[1, 0]:.4f} \cdot 4 + {matrix[0, 0]:.4f} \cdot 2 = {read[1]:.4f}",
                )
            ),
            Numbers(
                (
                    Number(
                        "point read",
                        Text("for (4, 2), turned by 30°, is read", "(4, 2)を30°回すときに読む点"),
                        read,
                    ),
                    Number(
                        "largest angle",
                        Text("largest angle of the policy, in degrees", "この比較での最大の角度（度）"),
                        rotation_of("rotate").degrees,
                    ),
                )
            ),
            Pictures(shown),
        ),
    )


def rotation_of(policy: str) -> Rotate:
    """Return the rotation in a policy."""
    pipeline = POLICIES[policy]
    assert pipeline is not None
    return next(step for step in pipeline.steps if isinstance(step, Rotate))


def elastic(learning: Dataset, seed: int) -> Step:
    """Simard's distortion."""
    pictures = tuple(
        (
            same(f"{amount:g}"),
            sheet(varied(Pipeline((Elastic(amount=amount),)), learning, seed), ROWS, COLUMNS),
        )
        for amount in AMOUNTS
    )
    return Step(
        Text("A hand that trembles", "震える手"),
        Text(
            "A matrix moves all points alike; a hand does not. Simard, Steinkraus and Platt (2003) draw a random"
            " displacement for every point, blur it with a Gaussian so that neighbours move together, and scale it."
            " Too little changes nothing, too much changes the character. Below, the amount is the root mean square of"
            " the displacement as a share of the image's side.",
            "行列はすべての点を一様に動かすが、手はそう動かない。Simardら（2003）は点ごとに乱数で変位を決め、"
            "ガウス関数でぼかして隣どうしがほぼ同じに動くようにし、大きさを整える。小さすぎれば何も変わらず、大きすぎれば"
            "別の字になる。下の数は変位の二乗平均平方根で、画像の一辺に対する割合である。",
        ),
        (r"d(j,k) = \alpha \cdot \sum_{\mu,\nu} G_{\sigma}(\mu,\nu) \cdot u(j+\mu,k+\nu)",),
        (Pictures(pictures),),
    )


def drawn_again(learning: Dataset, seed: int) -> Step:
    """Every number is a function of seed, epoch, sample and step."""
    policy = POLICIES["all"]
    assert policy is not None
    first, again = varied(policy, learning, seed), varied(policy, learning, seed)
    alone = policy.apply(learning, np.array([7]), seed, 0).images[0]
    every = np.arange(len(learning))
    kinds = {
        image.tobytes()
        for epoch in range(EPOCHS)
        for image in policy.apply(learning, every, seed, epoch).images
    }
    pictures = tuple(
        (
            Text(f"epoch {epoch + 1}", f"エポック {epoch + 1}"),
            sheet(varied(policy, learning, seed, epoch), ROWS, COLUMNS),
        )
        for epoch in range(3)
    )
    return Step(
        Text(
            "Another image in every epoch, and always the same one",
            "毎エポック違う画像、しかもいつも同じ画像",
        ),
        Text(
            "DAY4 has its groups compare two libraries, Augmentor and ImageDataGenerator, by how"
            " they are used. Another question is whether an image can be had again: drawn from one running generator it"
            " depends on all that were drawn before it. Here every random number is a function"
            " of seed, epoch, sample and step of the pipeline. Drawn again, alone or among others, on one thread or"
            " eight, an image is the same to the last bit; yet in the course of training no image comes twice. That is"
            " why 'tatami data replay' can show what a network saw in any step of a run.",
            "DAY4ではAugmentorとImageDataGeneratorの使い勝手を比べる。もう1つ問うべきことは、同じ画像をもう一度得られるか"
            "である。1つの乱数列から順に引けば、画像はそれまでに引かれたものすべてに左右される。ここでは乱数はすべて種、エポック、サンプル番号、手順の番号の関数"
            "である。引き直しても、1枚だけでも大勢の中でも、スレッドが1本でも8本でも、画像は最後のビットまで同じになる。"
            "それでいて学習の間に同じ画像は二度と現れない。だから tatami data replay は、学習のどの段階で網が何を見たか"
            "を描き直せる。",
        ),
        (),
        (
            Pictures(pictures),
            Numbers(
                (
                    Number(
                        "drawn again",
                        Text("largest difference when drawn again", "引き直したときの差の最大"),
                        float(np.abs(first - again).max()),
                        None,
                        1,
                    ),
                    Number(
                        "drawn alone",
                        Text("largest difference when drawn alone", "1枚だけ引いたときの差の最大"),
                        float(np.abs(first[7] - alone).max()),
                        None,
                        1,
                    ),
                    Number(
                        "images shown",
                        Text("images shown in all epochs", "全エポックで見せた枚数"),
                        EPOCHS * len(every),
                    ),
                    Number(
                        "different images",
                        Text("different ones among them", "そのうち異なるもの"),
                        len(kinds),
                    ),
                )
            ),
        ),
    )


def mean_course(results: list[Trial]) -> NDArray[np.float64]:
    """Return the mean of several curves."""
    return np.asarray(np.mean([result.test for result in results], axis=0), dtype=np.float64)


def courses(results: dict[str, list[Trial]]) -> Step:
    """How some of the trainings went."""
    shown = ("none", "elastic", "flip", "all")
    return Step(
        Text("Slower, but further", "遅く、しかし先まで"),
        Text(
            f"The same network is trained for {EPOCHS} epochs with each policy. Without augmentation it soon knows its"
            f" {EACH} samples of each and has nothing more to learn. With all of it every epoch is harder than the one"
            " before it would have been, and the curve rises longer.",
            f"同じ網をそれぞれの方法で{EPOCHS}エポック学習する。拡張がなければ、各{EACH}枚をすぐに覚えてしまい、"
            "もう学ぶことがない。すべてを使えば学習は難しくなるが、曲線はより長く伸び続ける。",
        ),
        (),
        (
            Plot(
                Text("accuracy on the other writers", "別の書き手での正解率"),
                tuple(
                    Series(NAMES[name], results[name][0].epochs, mean_course(results[name])) for name in shown
                ),
                Text("epoch", "エポック"),
                Text("share right", "正解率"),
                y_range=(0.5, 1.0),
            ),
        ),
    )


def deviation(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of a sample; of one value 0."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def compared(results: dict[str, list[Trial]], count: int) -> Step:
    """The table."""
    accuracies = {name: np.array([one.accuracy for one in found]) for name, found in results.items()}
    plain = float(accuracies["none"].mean())
    rows = tuple(
        (
            NAMES[name],
            f"{100 * found.mean():.1f} %",
            f"± {100 * deviation(found):.1f}" if count > 1 else "",
            f"{100 * (found.mean() - plain):+.1f}",
        )
        for name, found in accuracies.items()
    )
    places = np.arange(1, len(rows) + 1, dtype=np.float64)
    means = np.array([found.mean() for found in accuracies.values()])
    spread = np.array([deviation(found) for found in accuracies.values()])
    around = (
        Series(Text("mean less deviation", "平均−標準偏差"), places, means - spread, faint=True),
        Series(Text("mean plus deviation", "平均＋標準偏差"), places, means + spread, faint=True),
    )
    return Step(
        Text("Which policy suits katakana?", "カタカナに向くのはどれか"),
        Text(
            "The question of the group work, answered by trying. Whatever people really do differently helps most: they"
            " write elsewhere on the paper, larger, wider, slanted, with a trembling hand. Noise and hiding a part"
            " hardly help where the test images have neither. Each seed draws other samples, first weights and"
            " variations; a difference smaller than the deviation between seeds says nothing. More seeds: --seeds N.",
            "グループワークの問いに、試して答える。人によって実際に違うことを真似るものが最も効く。書く位置、大きさ、幅、傾き、"
            "手の震えである。ノイズを加えることや部分的に隠すことは、テスト画像がそうでなければほとんど役に立たない。種を変えると例も初期値も変形も変わる。種によるばらつきより小さい差は何も語らない。"
            "種を増やすには --seeds N を使う。",
        ),
        (),
        (
            Table(
                (
                    Text("augmentation", "データ拡張"),
                    Text("right", "正解率"),
                    Text("deviation", "標準偏差"),
                    Text("gain", "増減"),
                ),
                rows,
            ),
            Plot(
                Text("accuracy by the row of the table", "表の行ごとの正解率"),
                (*around, Series(Text("mean", "平均"), places, means, dots=True)),
                Text("row of the table", "表の行"),
                Text("share right", "正解率"),
                y_range=(0.8, 1.0),
            ),
            Numbers(
                tuple(
                    Number(f"accuracy {name}", NAMES[name], float(found.mean()))
                    for name, found in accuracies.items()
                )
            ),
        ),
    )


def mirrored(plain: list[Trial], testing: Dataset, seed: int) -> Step:
    """Why mirror images do harm."""
    seen = answers(plain[0].parameters, testing.images[..., ::-1])
    right = float((seen == testing.labels).mean())
    return Step(
        Text("What must not change", "変えてはいけないもの"),
        Text(
            "A cat in the mirror is a cat; a character in the mirror is another one or none. Below is what a network"
            " that was trained without augmentation makes of mirrored test images: it is right to reject most of them."
            " To train on them with the label unchanged teaches something false and costs capacity. Choose what leaves"
            " the label true: look at it first with 'tatami data preview', then train with 'tatami train katakana"
            " --augment handwriting', and with '--data FONT' test on a printed font, a style that no hand in the"
            " data has.",
            "猫は鏡に映しても猫だが、文字は鏡に映せば別の字か、字でないものになる。下は拡張なしで学んだ網が左右反転した"
            "テスト画像をどう読むかである。読めないほうが正しい。ラベルをそのままにして学ばせれば、偽りを教え、網の容量を"
            "むだにする。ラベルが正しいままの変形を選ぶこと。まず tatami data preview で見てから、tatami train katakana"
            " --augment handwriting で学習し、--data FONT を付ければ、データのどの書き手とも違う活字で試せる。",
        ),
        (),
        (
            Pictures(
                (
                    (Text("test images", "テスト画像"), sheet(testing.images, ROWS, COLUMNS)),
                    (
                        Text("in the mirror", "左右反転"),
                        sheet(testing.images[..., ::-1], ROWS, COLUMNS),
                    ),
                )
            ),
            Numbers(
                (
                    Number("mirrored", Text("share read as the same character", "同じ字と読む割合"), right),
                    Number(
                        "upright",
                        Text("share of the images as they are", "反転しない画像での正解率"),
                        plain[0].accuracy,
                    ),
                    Number("mirrored images", Text("images", "枚数"), TEST_EACH * len(testing.class_names)),
                )
            ),
        ),
    )
