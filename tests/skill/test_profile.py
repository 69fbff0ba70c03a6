"""The profile and the universal page against the rules: the same ids, names and texts, both ways."""

import re
from pathlib import Path

import pytest

from remote_gpu_trainer.rules.base import Rule
from remote_gpu_trainer.rules.registry import ALL_RULES
from remote_gpu_trainer.rules.render import section

ROOT = Path(__file__).parents[2]
PAGES = {
    "VAST": (ROOT / "profiles" / "vastai.md").read_text(encoding="utf-8"),
    "U": (ROOT / "references" / "gotchas_universal.md").read_text(encoding="utf-8"),
}
HEADING = re.compile(r"^### ((?:VAST|U)\d+) (\S+)$", re.MULTILINE)
SECTIONS = (
    "1. Launch",
    "2. Storage",
    "3. Network",
    "4. Spot and resume",
    "5. Teardown and billing",
    "6. Daemon",
    "7. Top gotchas",
    "8. Script overrides",
)


def page_of(rule: Rule) -> str:
    return PAGES["VAST" if rule.id.startswith("VAST") else "U"]


def test_the_ids_of_the_pages_and_of_the_code_are_the_same_set() -> None:
    for kind, page in PAGES.items():
        documented = HEADING.findall(page)
        assert documented == [(rule.id, rule.name) for rule in ALL_RULES if rule.id.rstrip("0123456789") == kind]


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
def test_a_rules_section_on_the_page_is_the_text_of_the_rule(rule: Rule) -> None:
    assert section(rule) in page_of(rule)


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
def test_a_rules_anchor_leads_to_its_heading(rule: Rule) -> None:
    path, _, fragment = rule.anchor.partition("#")
    headings = HEADING.findall((ROOT / path).read_text(encoding="utf-8"))

    assert fragment in [f"{rule_id.lower()}-{name}" for rule_id, name in headings]


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_every_id_that_a_page_mentions_is_a_rule(page: str) -> None:
    known = {rule.id for rule in ALL_RULES}

    assert set(re.findall(r"\b(?:VAST|U)\d{1,2}\b", page)) <= known


def test_the_profile_has_its_eight_sections_in_order_and_each_of_1_to_6_a_check_to_run() -> None:
    page = PAGES["VAST"]
    assert tuple(re.findall(r"^## (.+)$", page, re.MULTILINE)) == SECTIONS
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:7]:
        assert "**Verify" in part
        assert "```bash" in part


def test_every_stated_conflict_says_which_reading_is_taken() -> None:
    conflicts = re.findall(r"[Cc]onflict: ([^\n]{0,200})", PAGES["VAST"])
    assert conflicts
    assert [one for one in conflicts if not re.search(r"taken|assume|reading|rebid|probed", one)] == []
