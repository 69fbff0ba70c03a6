"""Text from outside, made harmless to look at: nothing in it can hide, reorder or pass for our own words."""

import unicodedata
from collections.abc import Iterable

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5")
_MARKS = frozenset({"Mn", "Me", "Mc"})
_MARKS_IN_A_ROW = 2
"""Scripts that stack vowel signs need two; more pile up over other lines."""


def visible(text: str) -> str:
    """The text with every character that cannot be seen as itself written out, for example ``\\u{202e}``.

    Controls, line ends, bidirectional and zero-width characters, unusual spaces, fillers, variation selectors and
    piled-up marks are written out; a backslash is doubled, so that what is written out cannot be forged.
    """
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in _MARKS else 0
        if character == "\\":
            shown.append("\\\\")
        elif character == " ":
            shown.append(character)
        elif category in _INVISIBLE_CATEGORIES or character in _INVISIBLE_LETTERS or marks > _MARKS_IN_A_ROW:
            shown.append(_written_out(character))
        elif "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
            shown.append(_written_out(character))
        else:
            shown.append(character)
    return "".join(shown)


def fenced(lines: Iterable[str], *, source: str) -> str:
    """Lines as one block that says where they come from; nothing in them can close it.

    Args:
        lines: One item each; they are made visible here.
        source: Our own words for who wrote them, for example ``names as the machine reported them``.
    """
    content = [visible(line) for line in lines]
    ticks = max((_longest_run(line, "`") for line in content), default=0)
    fence = "`" * max(3, ticks + 1)
    return "\n".join([f"{fence}text untrusted: {source}", *content, fence])


def _written_out(character: str) -> str:
    return f"\\u{{{ord(character):04x}}}"


def _longest_run(text: str, of: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == of else 0
        longest = max(longest, run)
    return longest
