"""No fact of the platform gets lost from the profile when it is rewritten."""

import re
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "profiles" / "vastai.md").read_text(encoding="utf-8")
FACTS: dict[str, dict[str, list[list[str]]]] = tomllib.loads((HERE / "facts.toml").read_text(encoding="utf-8"))


def folded(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\*\*|`|(?<![\w*])\*(?=\w)|(?<=\w)\*(?![\w*.])", "", text))


def sections() -> dict[str, str]:
    head, *rest = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    return {"front": folded(head), **{part[0]: folded(part) for part in rest}}


SECTIONS = sections()
LISTED = [(section, fact, needle) for section, table in FACTS.items() for fact, needle in table["facts"]]


def test_at_least_90_facts_are_listed() -> None:
    assert len(LISTED) >= 90
    assert len({needle for _, _, needle in LISTED}) == len(LISTED)


@pytest.mark.parametrize(("section", "fact", "needle"), LISTED, ids=[f"{row[0]}-{row[1]}" for row in LISTED])
def test_a_fact_stands_in_its_section(section: str, fact: str, needle: str) -> None:
    assert re.search(needle, SECTIONS[section]), fact
