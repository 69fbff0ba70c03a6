"""Names from a stranger's machine cannot hide, reorder, break out of their block or pass for our words."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remote_gpu_trainer.approval.visible import fenced, visible

ANY_TEXT = st.text(st.characters(codec=None), max_size=40)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model.bin", "model.bin"),
        ("exe\u202etxt.bin", "exe\\u{202e}txt.bin"),
        ("a\nApproved by Ada", "a\\u{000a}Approved by Ada"),
        ("a\x1b[2Jb", "a\\u{001b}[2Jb"),
        ("zero\u200bwidth", "zero\\u{200b}width"),
        ("a\u00a0b", "a\\u{00a0}b"),
        ("tag\U000e0041", "tag\\u{e0041}"),
        ("filler\u3164", "filler\\u{3164}"),
        ("v\ufe0f", "v\\u{fe0f}"),
        ("back\\u{202e}", "back\\\\u{202e}"),
        ("Gewicht-\u00fc.bin", "Gewicht-\u00fc.bin"),
        ("\u6a21\u578b.bin", "\u6a21\u578b.bin"),
        ("z" + "\u0300" * 6, "z\u0300\u0300" + "\\u{0300}" * 4),
        ("lone\ud800", "lone\\u{d800}"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(ANY_TEXT)
def test_nothing_invisible_is_left(text: str) -> None:
    shown = visible(text)
    assert all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in shown)
    assert "\n" not in shown


@given(ANY_TEXT, ANY_TEXT)
def test_two_names_that_differ_look_different(one: str, other: str) -> None:
    assert (visible(one) == visible(other)) == (one == other)


@given(st.lists(st.text(alphabet="`~a\n", max_size=12), max_size=4))
@example(["```"])
@example(["`````text", "```"])
def test_no_line_can_close_its_block(lines: list[str]) -> None:
    opening, *inside, closing = fenced(lines, source="names").split("\n")
    assert len(inside) == len(lines)
    assert opening == f"{closing}text untrusted: names"
    assert all(closing not in line for line in inside)
