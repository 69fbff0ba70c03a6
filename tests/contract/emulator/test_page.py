"""The page about the emulator says what the code does: options, quirks, faults, scenes, endpoints."""

from pathlib import Path

from remote_gpu_trainer.emulator import faults, linefaults, quirks, scenarios
from remote_gpu_trainer.emulator.__main__ import parser
from remote_gpu_trainer.emulator.http.app import ENDPOINTS
from remote_gpu_trainer.emulator.puppet import VERBS

PAGE = (Path(__file__).parents[3] / "docs" / "emulator.md").read_text()


def test_every_quirk_fault_and_scene_is_told_in_its_own_words() -> None:
    for quirk in quirks.ALL:
        assert f"| `{quirk.name}` | {'on' if quirk.default else 'off'} | {quirk.what} |" in PAGE
    for name, what in {**faults.KINDS, **linefaults.KINDS}.items():
        assert f"| `{name}` | {what} |" in PAGE
    for scene in scenarios.ALL:
        assert f"| {scene.id} `{scene.name}` | {scene.symptom} |" in PAGE


def test_every_endpoint_is_listed_with_its_interval_and_rights_and_no_other() -> None:
    rows = {f"| {e.method} | `{e.path}` | {e.threshold_s or '-'} | `{e.right}` | `{e.name}` |" for e in ENDPOINTS}
    listed = {line for line in PAGE.splitlines() if line.startswith(("| GET |", "| POST |", "| PUT |", "| DELETE |"))}
    assert listed == rows


def test_every_option_and_verb_is_told() -> None:
    options = [word for line in parser().format_help().split() if (word := line.strip("[],")).startswith("--")]
    assert [
        option for option in options if option != "--help" and f"`{option}" not in PAGE and f", {option}" not in PAGE
    ] == []
    assert [verb for verb in VERBS if verb not in PAGE and verb != "line-fault"] == []
