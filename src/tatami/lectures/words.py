"""The words around the walkthroughs, in both languages."""

import re
from html import escape

from tatami.lectures.walkthrough import Language, Text

COMPUTED = Text("computed", "計算値")
LECTURE = Text("lecture", "講義の値")
AGREES = Text("agrees", "一致")
DIFFERS = Text("differs", "不一致")
SEE = Text("see", "参照")
ERRATUM = Text("Erratum", "訂正")
THE_LECTURE_SAYS = Text("The lecture", "講義")
RIGHT_IS = Text("Right", "正しくは")
WHY = Text("Why", "理由")
STEP = Text("Step", "ステップ")
SOURCE = Text("Source", "出典")
CONTENTS = Text("Contents", "目次")
GO_ON = Text("Enter: next step, q: end", "Enterで次へ、qで終了")
LECTURES = Text("Lectures", "講義")
HOW_TO_OPEN = Text("Open one with: tatami lecture NAME", "開くには: tatami lecture NAME")
MADE_BY = Text(
    "Every number on this page was computed when it was made; those under 'lecture' are what the lecture prints.",
    "このページの数はすべて作成時に計算したもの。「講義の値」は講義に印刷されている値。",
)

# The words inside formulas; names that are the same in both languages are left out.
IN_FORMULAS = {
    " at the maximum, else ": " 最大値の位置で、それ以外は ",
    " columns leaves: ": " 列のうち1列が出る: ",
    " else ": " それ以外は ",
    " for ": " ただし ",
    " if ": " ただし ",
    " is the maximum, else ": " が最大のとき、それ以外は ",
    " nearby": " の近く",
    " of ": " ",
    " of image ": " の窓、画像 ",
    " the window of output ": " 出力の位置 ",
    " with probability ": " 確率 ",
    "answer: ": "解答: ",
    "definition: ": "定義: ",
    "factor of a layer": "1層の倍率",
    "images": "画像",
    "kept": "残る数",
    "mean of ": "平均 ",
    "mean: ": "平均: ",
    "on one ○:": "○1枚:",
    "one of ": "",
    "right": "正解",
    "row ": "行 ",
    "shifted": "ずれる",
    "sigmoid: ": "シグモイド: ",
    "test: ": "テスト時: ",
    "training: mean of ": "学習時の平均: ",
    "var ": "分散 ",
}


def shown(text: str) -> str:
    """Return a text for a page, with the index of the total cost as an index.

    >>> shown("C_T < 1")
    'C<sub>T</sub> &lt; 1'
    """
    return escape(text).replace("C_T", "C<sub>T</sub>")


def drawn(text: str) -> str:
    """Return a text for a drawing, likewise.

    >>> drawn("C_T")
    'C<tspan dy="3" font-size="9">T</tspan>'
    """
    return escape(text).replace("C_T", 'C<tspan dy="3" font-size="9">T</tspan>')


def formula_in(latex: str, language: Language) -> str:
    r"""Return a formula with the words inside it in a language.

    >>> formula_in(r"\text{mean of } x", "ja")
    '\\text{平均 } x'
    """
    if language == "en":
        return latex
    return re.sub(
        r"\\text\{([^}]*)\}", lambda found: rf"\text{{{IN_FORMULAS.get(found[1], found[1])}}}", latex
    )
