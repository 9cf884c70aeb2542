"""Text in columns of a terminal, where Japanese characters are two columns wide."""

import unicodedata

# Signs that must not begin a line.
CLOSING = "、。，．・：；！？」』）】〕〉》ー,.:;!?)]}"
OPENING = "「『（【〔〈《([{"


def width_of(text: str) -> int:
    """Return how many columns a text takes.

    >>> width_of("filter"), width_of("畳み込み"), width_of("x̂")
    (6, 8, 1)
    """
    return sum(column_width(character) for character in text)


def column_width(character: str) -> int:
    """Return 2 for wide characters, 0 for marks above others, else 1."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def filled(text: str, width: int, *, right: bool = False) -> str:
    """Fill a text with spaces to a width.

    >>> filled("δ", 3), filled("畳", 4, right=True)
    ('δ  ', '  畳')
    """
    space = " " * max(0, width - width_of(text))
    return space + text if right else text + space


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines, at spaces or between Japanese characters.

    >>> wrapped("one two three", 8)
    ['one two', 'three']
    >>> wrapped("畳み込みは、和です。", 8)
    ['畳み込み', 'は、和で', 'す。']
    """
    lines: list[str] = []
    line = ""
    for word in words_of(text):
        if line and width_of(line + word.rstrip()) > width and word[0] not in CLOSING:
            lines.append(line.rstrip())
            line = word.lstrip()
        else:
            line += word
    if line.strip():
        lines.append(line.rstrip())
    return lines or [""]


def words_of(text: str) -> list[str]:
    """Cut a text into the pieces between which a line may end."""
    words: list[str] = []
    for character in text:
        wide = column_width(character) == 2
        before = words[-1][-1] if words else ""
        joins = (
            bool(words)
            and (not wide or character in CLOSING or before in OPENING)
            and not (before == " " and character != " ")
            and not (
                column_width(before) == 2 and not wide and before not in OPENING and character not in CLOSING
            )
        )
        if joins or (words and character == " "):
            words[-1] += character
        else:
            words.append(character)
    return words
