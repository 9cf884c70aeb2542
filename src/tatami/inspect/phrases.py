"""The words of explanations, one table for each language."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tatami.errors import unknown_name

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")


@dataclass(frozen=True)
class Text:
    """The same text in English and in Japanese.

    >>> Text("filter", "フィルタ").read("ja")
    'フィルタ'
    """

    en: str
    ja: str

    def read(self, language: Language) -> str:
        """Return the text in a language."""
        return self.ja if language == "ja" else self.en


def same(text: str) -> Text:
    """Return a text that needs no translation, such as a symbol."""
    return Text(text, text)


ENGLISH: dict[str, str] = {
    # headings
    "formula": "formula",
    "entries": "entries",
    "numbers": "numbers",
    "where": "where",
    "terms": "terms",
    "term": "term",
    "value": "value",
    "so_far": "sum so far",
    "check": "check",
    "notes": "notes",
    "more": "… {count:,} more …",
    "stored": "stored: {value}",
    "padding": "padding",
    # how terms combine
    "combine_sum": "{count:,} terms, added in this order",
    "combine_maximum": "the largest of {count:,} entries",
    "combine_product": "a product",
    "combine_quotient": "a quotient",
    "combine_power": "a power",
    "combine_function": "a function of what follows",
    "combine_copy": "copied from another entry",
    "combine_constant": "a constant",
    "combine_given": "given from outside, not computed",
    # what was given
    "given_value": "a pixel of the input, after the preprocessing if there is one",
    "given_parameter": "a parameter: an initial value, or what training has made of it",
    "given_target": "a target",
    "given_saved": "noted or drawn in the forward pass",
    "given_state": "what the layer carries from the steps before",
    "given_slot": "what the optimiser remembers from the updates before",
    # checks
    "exact": "The reference adds in this order: the result is the stored number bit for bit.",
    "exact_copy": "The result is the stored number bit for bit.",
    "bound_sum": "Another order of the additions is allowed: within n·ε·Σ|terms| = {bound} of the stored number "
    "(n = {count:,}, ε = 2⁻⁵²). Difference here: {difference}.",
    "bound": "Within the rounding bound of this formula, {bound}, of the stored number. Difference here: {difference}.",
    "passed": "holds",
    "failed": "DOES NOT HOLD",
    # remarks
    "order_channels_taps": "Order of the terms: channel c, then the filter's rows and columns, then the bias.",
    "order_filters_taps": "Order of the terms: filter k, then the filter's rows and columns.",
    "handed_back": "Every output that saw this entry hands its gradient back, times the weight it saw it with.",
    "stamps": "Every input stamps the filter, times its value, into the output; where stamps overlap they add up.",
    "table": "Only the channels that the table names are connected.",
    "matrix_product": "The matrix product chooses its own order of the additions.",
    "flatten": "Maps are laid out channel by channel, row by row, column by column.",
    "several_readers": "Several layers read this value; their gradients are added.",
    "chain_rule": "The chain rule: for every output the slope with which this entry acts on it, times that output's "
    "gradient. The slopes are those of the layer's own backward pass; outputs with slope 0 are left out.",
    "settings": "Settings: {settings}.",
    "maximum_taken_off": "The largest entry m is taken off first, so that no exponential overflows; it cancels out.",
    "first_maximum": "Of several equal maxima the first in row order wins.",
    "won": "This entry was the maximum: it gets the whole gradient.",
    "lost": "Another entry was the maximum: this one gets nothing.",
    "ties_first": "The gradient goes to the first maximum of every window, the others get 0.",
    "ties_all": "Every entry that equals the maximum gets the whole gradient (the slide's rule).",
    "ties_even": "Entries that equal the maximum share the gradient.",
    "switches": "The switches say where the pooling had found its maxima.",
    "switches_constant": "This input only says where the maxima stood; the places do not change with small changes.",
    "exponent": "p = {p}.",
    "largest_taken_out": "The largest |x| = M of the window is taken out of the root, so that no power overflows.",
    "prediction_copies": "At prediction this layer only copies.",
    "ratio": "Drop ratio r = {ratio}; kept units are scaled by 1/(1 - r).",
    "same_mask": "The same mask as in the forward pass.",
    "drawn": "Drawn from the counter-based generator by seed, epoch, step and the layer's name.",
    "concatenated": "The inputs stand one behind the other along the channels.",
    "running_moments": "μ and σ² are the running values: constants at prediction.",
    "batch_moments": "μ and σ² are those of the batch.",
    "unbiased": "The running variance follows Σ(x - μ)²/(m - 1), which is not too small on average.",
    "state_stays": "At prediction nothing is taken over: the value stays.",
    "own_rate": "This layer moves with {factor} times the learning rate.",
    "frozen": "This layer is frozen: its learning rate is 0.",
    "three_ways": "x acts in three ways: directly, through μ, and through σ².",
    "right_class": "k is the right class r.",
    "other_class": "k is not the right class.",
    "update_number": "Update number t = {t}.",
    "max_norm": "The weights of this unit are scaled back to the norm {norm}.",
    "reconstruction": "This output belongs to the reconstruction.",
    "steps": "Time step t = {t} of a sequence of {count}.",
    "token": "The token is {token}.",
    "no_quantity": "Small changes of this entry change nothing, or it is no quantity: its gradient is 0.",
    "back_in_time": "What the output sends down, plus what the next step sends back.",
    "every_step": "The same weight is used at every step, so its gradient is a sum over time.",
    "masked": "Behind the end of this sequence: the state is kept.",
    # im2col
    "im2col_title": "im2col of {layer}: {rows:,} rows (windows) × {columns:,} columns (taps)",
    "im2col_row": "row: the window of output (i, j)",
    "im2col_column": "column: channel c and tap (μ, ν)",
    "im2col_product": "times the filters as columns, plus the bias, gives the outputs",
    "im2col_own_filters": "times the filters of its own position, plus the bias, every row gives the outputs there",
    "im2col_pooled": "the columns of a channel, pooled, give its output",
    "im2col_between": "times the depthwise filters as columns gives v, the maps between the two steps",
    "im2col_funnel": "times the filters as columns, plus the bias, gives the funnel T that x is compared with",
    "im2col_stamp": "row: the stamp of input (i, j): its values x times their filters",
    "im2col_stamps": "entries that land on the same output are added (col2im), then the bias",
    "im2col_padding": "· marks padding",
    "im2col_cut": "· marks what falls beside the output",
    "window": "window",
}

JAPANESE: dict[str, str] = {
    "formula": "公式",
    "entries": "要素",
    "numbers": "数値",
    "where": "ただし",
    "terms": "項",
    "term": "項",
    "value": "値",
    "so_far": "ここまでの和",
    "check": "検算",
    "notes": "備考",
    "more": "… ほか {count:,} 項 …",
    "stored": "保存値: {value}",
    "padding": "パディング",
    "combine_sum": "{count:,} 項をこの順に足す",
    "combine_maximum": "{count:,} 個のうちの最大値",
    "combine_product": "積",
    "combine_quotient": "商",
    "combine_power": "べき",
    "combine_function": "次の値の関数",
    "combine_copy": "ほかの要素の写し",
    "combine_constant": "定数",
    "combine_given": "計算した値ではなく, 外から与えられた値",
    "given_value": "入力の画素 (前処理があればその後の値)",
    "given_parameter": "パラメータ: 初期値, または学習で得た値",
    "given_target": "教師データ",
    "given_saved": "順伝播で記録した値, または乱数で引いた値",
    "given_state": "この層が前のステップから持ち越した値",
    "given_slot": "オプティマイザがこれまでの更新から覚えている値",
    "exact": "参照実装もこの順に足すので, 結果は保存値とビット単位で一致する.",
    "exact_copy": "結果は保存値とビット単位で一致する.",
    "bound_sum": "足す順序は実装に任される: 保存値との差は n·ε·Σ|項| = {bound} 以内 (n = {count:,}, ε = 2⁻⁵²). "
    "ここでの差: {difference}.",
    "bound": "保存値との差は, この式の丸め誤差の限界 {bound} 以内. ここでの差: {difference}.",
    "passed": "成り立つ",
    "failed": "成り立たない",
    "order_channels_taps": "項の順序: チャンネル c, フィルタの行, 列, 最後にバイアス.",
    "order_filters_taps": "項の順序: フィルタ k, その行, 列.",
    "handed_back": "この要素を見た出力はそれぞれ, 見たときの重みを掛けて勾配を返す.",
    "stamps": "入力はそれぞれ, 自分の値を掛けたフィルタを出力に押す. 重なったところは足し合わせる.",
    "table": "結合表にあるチャンネルだけがつながっている.",
    "matrix_product": "足す順序は行列積に任される.",
    "flatten": "チャンネル, 行, 列の順に並べる (ベクトル化).",
    "several_readers": "この値は複数の層が読む. それらの勾配を足し合わせる.",
    "chain_rule": "連鎖律: この要素が各出力に効く傾きと, その出力の勾配との積の和. "
    "傾きはこの層の逆伝播そのものから求めた. 傾き 0 の出力は省く.",
    "settings": "設定: {settings}.",
    "maximum_taken_off": "指数関数があふれないように, 先に最大値 m を引く. 結果は変わらない.",
    "first_maximum": "最大値が複数あれば, 行の順で最初のものを選ぶ.",
    "won": "この要素が最大だったので, 勾配をすべて受け取る.",
    "lost": "最大だったのは別の要素なので, 何も受け取らない.",
    "ties_first": "勾配は各窓の最初の最大値に渡り, ほかは 0 になる.",
    "ties_all": "最大値に等しい要素はすべて, 勾配をそのまま受け取る (スライドの規則).",
    "ties_even": "最大値に等しい要素で, 勾配を等分する.",
    "switches": "スイッチは, プーリングがどこで最大値を見つけたかを示す.",
    "switches_constant": "この入力は最大値の位置を示すだけで, 小さな変化では位置は変わらない.",
    "exponent": "p = {p}.",
    "largest_taken_out": "べきがあふれないように, 窓の中の最大の |x| = M を根号の外に出す.",
    "prediction_copies": "予測時には, この層は写すだけである.",
    "ratio": "ドロップ率 r = {ratio}; 残したユニットは 1/(1 - r) 倍する.",
    "same_mask": "順伝播と同じマスク.",
    "drawn": "シード, エポック, ステップ, 層の名前で決まるカウンタ型乱数から引いた.",
    "concatenated": "入力をチャンネル方向に並べる.",
    "running_moments": "μ と σ² は移動平均で, 予測時には定数である.",
    "batch_moments": "μ と σ² はバッチの平均と分散.",
    "unbiased": "移動平均の分散は, 平均して偏りのない Σ(x - μ)²/(m - 1) を追う.",
    "state_stays": "予測時には何も取り込まず, 値はそのまま残る.",
    "own_rate": "この層は学習率の {factor} 倍で動く.",
    "frozen": "この層は凍結されている (学習率 0).",
    "three_ways": "x は三通りに効く: 直接, μ を通して, σ² を通して.",
    "right_class": "k は正解クラス r である.",
    "other_class": "k は正解クラスではない.",
    "update_number": "t = {t} 回目の更新.",
    "max_norm": "このユニットの重みはノルム {norm} に縮められる.",
    "reconstruction": "この出力は再構成に属する.",
    "steps": "長さ {count} の系列の時刻 t = {t}.",
    "token": "トークンは {token}.",
    "no_quantity": "この要素の小さな変化は何も変えない (または量ではない) ので, 勾配は 0 である.",
    "back_in_time": "出力から来る勾配と, 次の時刻から戻る勾配の和.",
    "every_step": "同じ重みをすべての時刻で使うので, 勾配は時刻についての和になる.",
    "masked": "系列の終わりより後なので, 状態はそのまま残る.",
    "im2col_title": "{layer} の im2col: {rows:,} 行 (窓) × {columns:,} 列 (タップ)",
    "im2col_row": "行: 出力 (i, j) の窓",
    "im2col_column": "列: チャンネル c とタップ (μ, ν)",
    "im2col_product": "フィルタを列に並べた行列を掛けてバイアスを足すと出力になる",
    "im2col_own_filters": "各行にその位置のフィルタを掛けてバイアスを足すと, そこの出力になる",
    "im2col_pooled": "各チャンネルの列をプーリングすると, その出力になる",
    "im2col_between": "チャンネルごとのフィルタを列に並べた行列を掛けると, 二段の間のマップ v になる",
    "im2col_funnel": "フィルタを列に並べた行列を掛けてバイアスを足すと, x と比べる T になる",
    "im2col_stamp": "行: 入力 (i, j) のスタンプ. その値 x にフィルタを掛けたもの",
    "im2col_stamps": "同じ出力に落ちる要素を足し合わせ (col2im), バイアスを足す",
    "im2col_padding": "· はパディング",
    "im2col_cut": "· は出力の外に落ちるもの",
    "window": "窓",
}

PHRASES: dict[str, dict[str, str]] = {"en": ENGLISH, "ja": JAPANESE}

# What classes are called in Japanese; in English they keep their names.
JAPANESE_CLASSES: dict[str, str] = {
    "Convolution": "畳み込み層",
    "TransposedConvolution": "転置畳み込み層",
    "LocallyConnected": "局所結合層",
    "SeparableConvolution": "分離可能畳み込み層",
    "TableConvolution": "結合表つき畳み込み層",
    "MaxPool": "最大プーリング層",
    "AveragePool": "平均プーリング層",
    "LpPool": "Lp プーリング層",
    "L2Pool": "L2 プーリング層",
    "GlobalMaxPool": "大域最大プーリング層",
    "GlobalAveragePool": "大域平均プーリング層",
    "AdaptiveMaxPool": "適応最大プーリング層",
    "AdaptiveAveragePool": "適応平均プーリング層",
    "StochasticPool": "確率的プーリング層",
    "MaxUnpool": "アンプーリング層",
    "Dense": "全結合層",
    "Flatten": "ベクトル化",
    "Dropout": "ドロップアウト",
    "ChannelDropout": "チャンネルドロップアウト",
    "DropConnect": "ドロップコネクト",
    "GaussianNoise": "ガウス雑音",
    "Identity": "恒等関数",
    "Step": "ステップ関数",
    "Sigmoid": "シグモイド関数",
    "Tanh": "双曲線正接",
    "ReLU": "ReLU 関数",
    "Softmax": "ソフトマックス関数",
    "Add": "加算",
    "Multiply": "乗算",
    "Concatenate": "連結",
    "Pad": "パディング",
    "Upsample": "アップサンプリング",
    "BatchNormalization": "バッチ正規化",
    "LayerNormalization": "レイヤー正規化",
    "InstanceNormalization": "インスタンス正規化",
    "GroupNormalization": "グループ正規化",
    "LocalResponseNormalization": "局所応答正規化",
    "SquaredError": "二乗誤差",
    "SoftmaxCrossEntropy": "ソフトマックス交差エントロピー",
    "WeightedCrossEntropy": "重みつき交差エントロピー",
    "Focal": "フォーカル損失",
    "Hinge": "ヒンジ損失",
    "Dice": "ダイス損失",
    "Huber": "フーバー損失",
    "BinaryCrossEntropy": "二値交差エントロピー",
    "KLDivergence": "カルバック・ライブラー情報量",
    "EvidenceBound": "変分下界",
    "SparseReconstruction": "スパース再構成誤差",
    "Embedding": "埋め込み",
    "PaddingMask": "パディングマスク",
    "Reshape": "形の変更",
    "Permute": "軸の入れ替え",
    "RNN": "単純再帰層",
    "FilterBank": "固定フィルタ",
    "ShortTimeFourier": "短時間フーリエ変換",
    "GaussianSample": "正規分布からの標本",
    "FReLU": "FReLU 関数",
    "HardSigmoid": "ハードシグモイド関数",
    "Maxout": "マックスアウト",
    "Softplus": "ソフトプラス関数",
    "Network": "ネットワーク",
}


def phrase(language: str, key: str, values: Mapping[str, object] | None = None) -> str:
    """Return a phrase in a language, filled in.

    >>> phrase("ja", "combine_sum", {"count": 5})
    '5 項をこの順に足す'
    """
    if language not in PHRASES:
        raise unknown_name("language", language, PHRASES)
    return PHRASES[language][key].format(**(values or {}))


def class_in_words(language: str, name: str) -> str:
    """Return what a layer, loss or optimiser class is called.

    >>> class_in_words("ja", "Convolution"), class_in_words("ja", "Adam")
    ('畳み込み層', 'Adam')
    """
    return JAPANESE_CLASSES.get(name, name) if language == "ja" else name
