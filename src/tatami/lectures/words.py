"""The words around the walkthroughs, in both languages."""

from tatami.lectures.walkthrough import Text

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
