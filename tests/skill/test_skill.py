"""The skill as it is installed: one folder, valid front matter, small, every link alive."""

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
import skills_ref
import yaml

from remote_gpu_trainer.cli.skill import assemble
from remote_gpu_trainer.rules.diagnosis import Cause
from remote_gpu_trainer.rules.registry import ALL_RULES
from tests.tools.test_tool_list import NAMES

ROOT = Path(__file__).parents[2]
NAME = "remote-gpu-trainer"
TASK_KEYS = {"id", "prompt", "expected_output", "files", "expectations", "tools", "never", "rules", "scene", "calls"}
KEYS = {"name", "description", "license", "allowed-tools", "metadata", "compatibility"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(tmp_path_factory.mktemp("skills"))


def parts_of(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, body = (folder / "SKILL.md").read_text(encoding="utf-8").split("---\n", 2)
    return cast(dict[str, Any], yaml.safe_load(front)), body


def test_the_front_matter_has_the_keys_of_the_specification_and_nothing_else(folder: Path) -> None:
    front, _ = parts_of(folder)

    assert set(front) <= KEYS
    assert front["name"] == folder.name == NAME
    assert 200 < len(front["description"]) <= 1024
    assert "<" not in front["description"]
    assert not re.search(r"\b(I|you|we)\b", front["description"])
    assert " Use when " in front["description"]
    assert len(front["compatibility"]) <= 500
    assert all(isinstance(value, str) for value in front["metadata"].values())


def test_the_official_validator_passes(folder: Path) -> None:
    assert skills_ref.validate(folder) == []


def test_the_body_is_small_enough_to_be_read_each_time(folder: Path) -> None:
    _, body = parts_of(folder)

    assert len(body.splitlines()) < 500
    # A token of English prose and tables is over three characters; three keeps a margin under 5,000 tokens.
    assert len(body) / 3 < 5000


def test_all_tools_are_named_fully_qualified_and_no_others(folder: Path) -> None:
    _, body = parts_of(folder)

    assert set(re.findall(rf"{NAME}:([a-z_]+)", body)) == NAMES


def slugs(page: str) -> set[str]:
    headings = re.findall(r"^#{1,6} (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_link_in_the_folder_leads_somewhere(folder: Path) -> None:
    dead: list[str] = []
    for page in sorted(folder.rglob("*.md")):
        for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            path, _, fragment = link.partition("#")
            if "://" in path:
                continue
            target = page if not path else (page.parent / path).resolve()
            inside = target.is_relative_to(folder.resolve()) or target == page
            if not inside or not target.is_file():
                dead.append(f"{page.name}: {link}")
            elif fragment and fragment not in slugs(target.read_text(encoding="utf-8")):
                dead.append(f"{page.name}: {link} (no such heading)")
    assert dead == []


def test_every_reference_is_linked_from_the_skill_itself_and_says_when_to_read_it(folder: Path) -> None:
    _, body = parts_of(folder)
    pages = sorted((folder / "references").glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert f"(references/{page.name}" in body
        assert re.search(r"^Read this ", text, re.MULTILINE), page.name
        assert len(text.splitlines()) <= 250, page.name
        if len(text.splitlines()) > 100:
            assert re.search(r"^Contents: ", text, re.MULTILINE), page.name


def test_no_page_names_a_tool_or_a_rule_that_does_not_exist(folder: Path) -> None:
    known = {rule.id for rule in ALL_RULES}
    for page in sorted(folder.rglob("*.md")):
        assert set(re.findall(r"\b(?:VAST|U)\d{1,2}\b", page.read_text(encoding="utf-8"))) <= known, page.name


def test_the_causes_in_the_failure_table_are_those_of_the_diagnosis(folder: Path) -> None:
    _, body = parts_of(folder)
    named = set(re.findall(r"`cause: ([a-z-]+)`", body))
    assert named
    assert named <= {cause.value for cause in Cause}


def test_the_evals_are_complete_and_name_only_real_tools_and_rules(folder: Path) -> None:
    evals = cast(dict[str, Any], json.loads((folder / "evals" / "evals.json").read_text(encoding="utf-8")))
    rules = {rule.id for rule in ALL_RULES}
    tasks, queries = evals["evals"], evals["trigger_queries"]

    assert evals["skill_name"] == NAME
    assert len(tasks) >= 12
    assert len({task["id"] for task in tasks}) == len(tasks)
    for task in tasks:
        assert set(task) == TASK_KEYS
        assert task["expectations"]
        assert set(task["tools"]) | set(task["never"]) <= NAMES
        assert not set(task["tools"]) & set(task["never"])
        assert set(task["rules"]) <= rules
        made = {call["tool"] for call in task["calls"] if "tool" in call}
        assert set(task["tools"]) <= made <= NAMES
        assert [call for call in task["calls"] if call.get("tool") in task["never"] and call["ends"] == "ok"] == []
    assert len(queries) >= 20
    assert sum(not query["should_trigger"] for query in queries) >= 8
    assert set().union(*(task["tools"] for task in tasks)) == NAMES
