"""Which lectures there are. Their modules are imported, and their numbers computed, when one is opened."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from tatami.errors import unknown_name
from tatami.lectures.walkthrough import Lecture, MakeStep, Request, Steps, Text

Walk = Callable[[Request], tuple[MakeStep, ...]]

DSP = Text("DSP Laboratory, slides (2019)", "DSP研究室 スライド（2019）")
ARAI = Text("H. Arai, lecture on CNNs with a MATLAB program", "新井仁之「数学者が書いた深層学習講義 CNN篇」")
DAY4 = Text(
    "SkillUP AI, course on deep learning, day 4", "SkillUP AI 現場で使えるディープラーニング基礎講座 DAY4"
)
QIITA = Text("DeepTama, article on Qiita (2021)", "DeepTama Qiita記事（2021）")
HISTORY = Text("Slides on the evolution of neural networks", "スライド「Neural Networkの進化」")


def both(a: Text, b: Text) -> Text:
    """Return two sources as one."""
    return Text(f"{a.en}; {b.en}", f"{a.ja}、{b.ja}")


@dataclass(frozen=True)
class Entry:
    """A lecture in the list: its title, its source and the module that walks through it."""

    title: Text
    source: Text
    module: str


CATALOGUE: dict[str, Entry] = {
    "ox": Entry(
        Text("The ○× exercise: every number of one update", "○×判定：1回の更新をすべての数で追う"), DSP, "ox"
    ),
    "convolution": Entry(
        Text("Convolution, padding and stride", "畳み込み、パディング、ストライド"),
        both(ARAI, DAY4),
        "convolution",
    ),
    "pooling": Entry(
        Text("Pooling, and what a shift of one pixel changes", "プーリングと1画素のずれ"),
        both(DSP, DAY4),
        "pooling",
    ),
    "im2col": Entry(
        Text("im2col: convolution as one matrix product", "im2col：行列積ひとつで畳み込む"), DAY4, "im2col"
    ),
    "sobel": Entry(Text("The Sobel pair on a picture", "画像にソーベルフィルタをかける"), ARAI, "sobel"),
    "backprop": Entry(
        Text("Back-propagation: every δ of a small network", "誤差逆伝播：小さな網のすべてのδ"),
        both(ARAI, QIITA),
        "backprop",
    ),
    "arai": Entry(
        Text(
            "Arai's network: sizes, cost, program and training", "新井の網：サイズ、計算量、プログラム、学習"
        ),
        ARAI,
        "arai",
    ),
    "activations": Entry(
        Text("Activation functions and their slopes", "活性化関数とその傾き"), both(DSP, QIITA), "activations"
    ),
    "losses": Entry(Text("Losses and where δ begins", "損失関数とδの出発点"), both(QIITA, ARAI), "losses"),
    "optimizers": Entry(Text("Optimisers in a ravine", "谷を下る最適化法"), QIITA, "optimizers"),
    "initial-values": Entry(
        Text("Initial values: what arrives in the tenth layer", "初期値：10層目に届くもの"),
        QIITA,
        "initial_values",
    ),
    "overfitting": Entry(
        Text("Over-fitting, weight decay and dropout", "過学習、荷重減衰、ドロップアウト"),
        QIITA,
        "overfitting",
    ),
    "dropout": Entry(
        Text("Dropout: the rule for training and for testing", "ドロップアウト：学習時と推論時の規則"),
        both(QIITA, HISTORY),
        "dropout",
    ),
    "augmentation": Entry(
        Text("Augmentation: which policy suits katakana?", "データ拡張：カタカナに向くのはどれか"),
        DAY4,
        "augmentation",
    ),
    "history": Entry(
        Text("From the perceptron to AlexNet", "パーセプトロンからAlexNetまで"), HISTORY, "history"
    ),
}


def open_lecture(name: str, request: Request | None = None) -> Lecture:
    """Open a walkthrough; a step is computed when it is read.

    Raises:
        UnknownNameError: no lecture of that name; the nearest is suggested.

    >>> open_lecture("convolution").numbers["figure 2"][0].tolist()
    [40.0, 45.0, 50.0, 55.0]
    """
    if name not in CATALOGUE:
        raise unknown_name("lecture", name, CATALOGUE)
    entry = CATALOGUE[name]
    walk: Walk = importlib.import_module(f"tatami.lectures.{entry.module}").walk
    return Lecture(name, entry.title, entry.source, Steps(walk(request or Request())))
