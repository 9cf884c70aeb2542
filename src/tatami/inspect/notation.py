r"""Formulas in one source, LaTeX, and two readings of it: a line of Unicode and MathML.

Explanations are written in a small part of LaTeX (fractions, roots, indices, sums, Greek). A terminal shows it as
text, a browser as MathML, which needs no script and no network; LaTeX itself goes into Markdown.

>>> unicode_formula(r"u(k, i) = \sum_{c} \sum_{\mu} F(k, c, \mu) \cdot x(c, i + \mu) + b(k)")
'u(k, i) = Σ_c Σ_μ F(k, c, μ)·x(c, i + μ) + b(k)'
>>> unicode_formula(r"\frac{\partial E}{\partial u(k)} = \frac{e^{x(k)}}{\sum_{j} e^{x(j)}} - r(k)")
'∂E/∂u(k) = e^(x(k))/(Σ_j e^(x(j))) − r(k)'
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite, isnan

SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "lambda": "λ",
    "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "psi": "ψ",
    "omega": "ω", "Delta": "Δ", "Phi": "Φ", "Sigma": "Σ", "partial": "∂", "infty": "∞", "ell": "ℓ", "kappa": "κ",
}  # fmt: skip
OPERATORS = {
    "cdot": "·", "times": "×", "odot": "∘", "le": "≤", "ge": "≥", "ne": "≠", "in": "∈", "pm": "±", "leftarrow": "←",
    "to": "→", "approx": "≈", "dots": "…", "lfloor": "⌊", "rfloor": "⌋", "sum": "Σ", "prod": "∏", "star": "⋆",
}  # fmt: skip
FUNCTIONS = (
    "max", "min", "exp", "log", "tanh", "sinh", "cosh", "sin", "cos", "erf", "mean", "sign", "softplus", "softmax",
    "clip", "round",
)  # fmt: skip
TEXTS = ("text", "mathrm", "operatorname", "mathit")
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}
SUPERSCRIPTS = dict(zip("0123456789+-n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", strict=True)) | {"−": "⁻"}
SUBSCRIPTS = dict(zip("0123456789+-", "₀₁₂₃₄₅₆₇₈₉₊₋", strict=True)) | {"−": "₋"}
RELATIONS = "=≈←→≤≥<>"
# A part of a formula with more pieces may end before the next + or -, and behind a sum sign before the next dot.
SHORT_PART, LONG_PART = 3, 9
LOOSE = frozenset("+-=<>≤≥≠≈←→∈±×…")
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[0-9]+(?:\.[0-9]+)?|[A-Za-z]+|\s+|.", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A piece of a parsed formula: its kind, the characters that it shows, and the pieces inside it."""

    kind: str
    shown: str = ""
    inside: tuple["Piece", ...] = ()


def parse(latex: str) -> Piece:
    """Parse a formula into pieces; an unknown command raises a ValueError, so that none is shown as a word."""
    tokens = TOKEN.findall(latex)
    row, rest = parse_row(tokens, 0)
    if rest != len(tokens):
        raise ValueError(f"a brace is closed that was not opened: {latex}")
    return row


def parse_row(tokens: Sequence[str], at: int) -> tuple[Piece, int]:
    """Parse up to the closing brace or the end."""
    pieces: list[Piece] = []
    while at < len(tokens) and tokens[at] != "}":
        if tokens[at].isspace():
            at += 1
            continue
        if tokens[at] in "^_" and len(tokens[at]) == 1:
            kind = "power" if tokens[at] == "^" else "index"
            script, at = parse_piece(tokens, at + 1)
            base = pieces.pop() if pieces else Piece("row")
            pieces.append(Piece(kind, inside=(base, script)))
            continue
        piece, at = parse_piece(tokens, at)
        if piece.kind != "nothing":
            pieces.append(piece)
    return (pieces[0] if len(pieces) == 1 else Piece("row", inside=tuple(pieces))), at


def parse_piece(tokens: Sequence[str], at: int) -> tuple[Piece, int]:
    """Parse one symbol, number, group or command with its arguments."""
    while at < len(tokens) and tokens[at].isspace():
        at += 1
    if at >= len(tokens):
        raise ValueError("the formula ends where something has to follow")
    token = tokens[at]
    if token == "{":
        group, at = parse_row(tokens, at + 1)
        return group, at + 1
    if not token.startswith("\\"):
        if token[0].isdigit():
            return Piece("number", token), at + 1
        if token[0].isalpha():
            return Piece("name", token), at + 1
        return Piece("operator", "−" if token == "-" else "′" if token == "'" else token), at + 1
    command = token[1:]
    if command in ("left", "right"):
        return Piece("nothing"), at + 1
    if command in (",", ";", " ", "quad"):
        return Piece("space", " "), at + 1
    if command in ("{", "}", "|", "_", "%", "&"):
        return Piece("operator", command), at + 1
    if command == "frac":
        top, at = parse_piece(tokens, at + 1)
        bottom, at = parse_piece(tokens, at)
        return Piece("fraction", inside=(top, bottom)), at
    if command == "sqrt":
        inside, at = parse_piece(tokens, at + 1)
        return Piece("root", inside=(inside,)), at
    if command in ACCENTS:
        inside, at = parse_piece(tokens, at + 1)
        return Piece("accent", ACCENTS[command], (inside,)), at
    if command in TEXTS:
        end = tokens.index("}", at)
        return Piece("text", "".join(unescaped(word) for word in tokens[at + 2 : end])), end + 1
    if command in SYMBOLS:
        return Piece("name", SYMBOLS[command]), at + 1
    if command in OPERATORS:
        return Piece("operator", OPERATORS[command]), at + 1
    if command in FUNCTIONS:
        return Piece("function", command), at + 1
    raise ValueError(f"unknown command \\{command} in a formula")


def unescaped(token: str) -> str:
    r"""Return the character that an escape such as ``\_`` stands for."""
    return token[1:] if token.startswith("\\") else token


def unicode_formula(latex: str) -> str:
    """Return a formula as one line of Unicode."""
    text = unicode_piece(parse(latex))
    return re.sub(r" +", " ", text).replace("( ", "(").replace(" )", ")").strip()


def unicode_piece(piece: Piece) -> str:
    """Return a piece as text."""
    if piece.kind == "row":
        return unicode_row(piece.inside)
    if piece.kind == "fraction":
        top, bottom = (grouped(part) for part in piece.inside)
        if (top, bottom) == ("1", "2"):
            return "½"
        return f"{top}/{bottom}" if " " not in outside_brackets(top + bottom) else f"{top} / {bottom}"
    if piece.kind == "root":
        return "√" + grouped(piece.inside[0])
    if piece.kind == "accent":
        return unicode_piece(piece.inside[0]) + piece.shown
    if piece.kind == "power":
        base, script = (unicode_piece(part) for part in piece.inside)
        if piece.inside[1].kind == "operator":
            return base + script
        base = grouped(piece.inside[0])
        raised = "".join(SUPERSCRIPTS.get(character, "") for character in script)
        return base + (raised if len(raised) == len(script) else f"^{grouped_script(script)}")
    if piece.kind == "index":
        base, script = (unicode_piece(part) for part in piece.inside)
        lowered = "".join(SUBSCRIPTS.get(character, "") for character in script)
        return base + (lowered if len(lowered) == len(script) else f"_{grouped_script(script)}")
    return piece.shown


def unicode_row(pieces: Sequence[Piece]) -> str:
    """Join the pieces of a row, with spaces where the eye needs them."""
    text = ""
    for number, piece in enumerate(pieces):
        word = unicode_piece(piece)
        binary = piece.kind == "operator" and (piece.shown in LOOSE or piece.shown == "−")
        sign = binary and piece.shown in "+−" and (number == 0 or ends_open(text))
        if binary and not sign:
            text = f"{text.rstrip()} {word} "
        elif piece.kind == "operator" and piece.shown == ",":
            text += ", "
        elif needs_space(pieces[number - 1] if number else None, piece):
            text = f"{text.rstrip()} {word}"
        else:
            text += word
    return text


def ends_open(text: str) -> bool:
    """Say whether a + or - behind this text is a sign and not an operation."""
    return not text.strip() or text.rstrip()[-1] in "([{,=+−·×←|≤≥<>/"


def needs_space(before: Piece | None, piece: Piece) -> bool:
    """Say whether two neighbours would run into each other."""
    if before is None:
        return False
    wordy = ("name", "number", "text", "function", "power", "index", "fraction", "root", "accent")
    if before.kind in ("index", "operator", "power") and first_operator(before) in ("Σ", "∏"):
        return True
    if before.kind == "function" or (before.kind == "index" and before.inside[0].kind == "function"):
        return piece.kind != "operator" or piece.shown not in "([{|^_"
    if before.shown in "∂Δ" and before.kind == "name":
        return False
    if piece.kind in ("index", "power") and first_operator(piece):
        return first_operator(piece) in ("Σ", "∏") and (before.kind != "operator" or before.shown in ")]")
    if before.kind == "operator" and before.shown in ")]⌋":
        return piece.kind in wordy or (piece.kind == "operator" and piece.shown in ("Σ", "["))
    return before.kind in wordy and piece.kind in wordy


def first_operator(piece: Piece) -> str:
    """Return the operator that carries indices, such as the Σ of a sum."""
    while piece.kind in ("index", "power"):
        piece = piece.inside[0]
    return piece.shown if piece.kind == "operator" else ""


def grouped(piece: Piece) -> str:
    """Return a piece as text, in parentheses unless it holds together by itself."""
    text = unicode_piece(piece).strip()
    if piece.kind in ("row", "fraction") and re.search(r"[ ·]|^[+−]", outside_brackets(text)):
        return f"({text})"
    return text


def grouped_script(text: str) -> str:
    """Put a raised or lowered text into parentheses unless it is a single word."""
    return text if re.fullmatch(r"\w+", text) else f"({text.strip()})"


def outside_brackets(text: str) -> str:
    """Drop what stands in brackets."""
    while True:
        shorter = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", text)
        if shorter == text:
            return text
        text = shorter


def mathml_formula(latex: str) -> str:
    """Return a formula as a MathML element, which browsers draw without a script.

    >>> mathml_formula("x^2")
    '<math><msup><mi>x</mi><mn>2</mn></msup></math>'
    """
    return f"<math>{mathml_piece(parse(latex))}</math>"


def mathml_parts(latex: str, *, large: bool = False) -> str:
    """Return a formula as several MathML elements, between which a line may end, so that it fits on a phone.

    It is cut before relations, + and -, behind spaces, and in a long product under a sum; never inside parentheses.

    Args:
        latex: the formula.
        large: whether fractions and limits are drawn as on a line of their own.

    >>> mathml_parts("a = b")
    '<math><mi>a</mi></math> <math><mrow><mo form="infix">=</mo><mi>b</mi></mrow></math>'
    """
    whole = parse(latex)
    opening = '<math displaystyle="true">' if large else "<math>"
    parts: list[str] = []
    for part in cut(whole.inside) if whole.kind == "row" else [(whole,)]:
        inside = "".join(mathml_piece(piece) for piece in part)
        # At the beginning of an element a sign would be set as that of a number, without the space around it.
        if parts and part[0].kind == "operator" and part[0].shown in RELATIONS + "+−·":
            inside = inside.replace("<mo>", '<mo form="infix">', 1)
        parts.append(f"{opening}{inside if len(part) == 1 else f'<mrow>{inside}</mrow>'}</math>")
    return " ".join(parts)


def cut(pieces: Sequence[Piece]) -> list[tuple[Piece, ...]]:
    """Cut a row where a line may end."""
    parts: list[list[Piece]] = [[]]
    depth = 0
    for piece in pieces:
        shown = piece.shown if piece.kind == "operator" else ""
        relation = shown in tuple(RELATIONS)
        sign = shown in ("+", "−") and len(parts[-1]) > SHORT_PART
        summed = any(first_operator(before) in ("Σ", "∏") for before in parts[-1])
        dot = shown == "·" and summed and len(parts[-1]) > LONG_PART
        if depth == 0 and parts[-1] and (relation or sign or dot):
            parts.append([])
        parts[-1].append(piece)
        depth += (shown in tuple("([{⌊")) - (shown in tuple(")]}⌋"))
        if depth == 0 and piece.kind == "space":
            parts.append([])
    return [tuple(part) for part in parts if part]


def mathml_piece(piece: Piece) -> str:
    """Return a piece as MathML."""
    inside = [mathml_piece(part) for part in piece.inside]
    if piece.kind == "row":
        return f"<mrow>{''.join(inside)}</mrow>"
    if piece.kind == "fraction":
        return f"<mfrac>{''.join(inside)}</mfrac>"
    if piece.kind == "root":
        return f"<msqrt>{inside[0]}</msqrt>"
    if piece.kind == "accent":
        mark = {"\u0302": "^", "\u0304": "¯", "\u0303": "~"}[piece.shown]
        return f"<mover>{inside[0]}<mo>{mark}</mo></mover>"
    if piece.kind == "power":
        return f"<msup>{''.join(inside)}</msup>"
    if piece.kind == "index":
        element = "munder" if first_operator(piece) in ("Σ", "∏") else "msub"
        return f"<{element}>{''.join(inside)}</{element}>"
    if piece.kind == "number":
        return f"<mn>{escape(piece.shown)}</mn>"
    if piece.kind == "operator":
        shown = {"Σ": "∑"}.get(piece.shown, piece.shown)
        return f"<mo>{escape(shown)}</mo>"
    if piece.kind == "text":
        return f"<mtext>{escape(piece.shown)}</mtext>"
    if piece.kind == "space":
        return '<mspace width="0.3em"/>'
    return f"<mi>{escape(piece.shown)}</mi>"


def number_latex(value: float, digits: int = 4) -> str:
    r"""Return a number as a formula shows it: with so many decimals, or fewer if it has no more.

    >>> number_latex(-1.0), number_latex(0.1), number_latex(0.98201379), number_latex(-0.0000161)
    ('-1', '0.1', '0.9820', '-1.61 \\times 10^{-5}')
    """
    if isnan(value):
        return r"\text{NaN}"
    if not isfinite(value):
        return r"\infty" if value > 0 else r"-\infty"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if 1e-3 <= abs(value) < 1e6:
        return without_idle_zeros(f"{value:.{digits}f}", value)
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return rf"{without_idle_zeros(mantissa, value, int(exponent))} \times 10^{{{int(exponent)}}}"


def without_idle_zeros(text: str, value: float, exponent: int = 0) -> str:
    """Drop the zeros at the end of decimals where nothing was rounded away, so that a zero left says something.

    >>> without_idle_zeros("0.1000", 0.1), without_idle_zeros("0.1000", 0.10001)
    ('0.1', '0.1000')
    """
    return text.rstrip("0").rstrip(".") if float(f"{text}e{exponent}") == value else text


def number_text(value: float, digits: int = 4) -> str:
    """Return a number as a line of text shows it.

    >>> number_text(-0.0091234), number_text(1.61e-7, 2)
    ('-0.0091', '1.61·10⁻⁷')
    """
    return unicode_formula(number_latex(value, digits)).replace("−", "-").replace(" × ", "·")


def text_latex(text: str) -> str:
    r"""Return any text as LaTeX that shows it as it is.

    >>> text_latex("dense_1")
    '\\text{dense\\_1}'
    """
    return r"\text{" + re.sub(r"([_%&{}#$])", r"\\\1", text.replace("\\", "/")) + "}"
