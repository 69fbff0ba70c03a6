"""rgt doctor says what the set-up really gives, and rgt policy check what the policy is."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from remote_gpu_trainer.cli.app import app
from remote_gpu_trainer.cli.assurance import assurance
from remote_gpu_trainer.settings import load


def said(home: Path, policy: str, **env: str) -> str:
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "policy.toml").write_text(policy, encoding="utf-8")
    variables = {"RGT_HOME": str(home), "HOME": str(home.parent), **env}
    return "\n".join(f"{'WRONG' if one.bad else 'ok'} {one.text}" for one in assurance(load(variables), variables))


def test_the_default_is_said_for_what_it_is(tmp_path: Path) -> None:
    text = said(tmp_path / "home", "", VAST_API_KEY="k")
    assert "imitate you" in text and "an agent's shell included" in text
    assert "policy.toml" in text and "user of its own, or on another machine" in text
    assert "WRONG" not in text


@pytest.mark.parametrize(
    ("policy", "missing"),
    [
        ('approval_level = "sealed"\n', "no key is sealed: rgt approve --enroll sealed"),
        ('approval_level = "hardware"\n', "no factor is registered"),
        ('[[approval]]\naction = "rent"\nlevel = "hardware"\n', "no factor is registered"),
    ],
)
def test_a_level_that_cannot_be_reached_is_wrong(tmp_path: Path, policy: str, missing: str) -> None:
    wrong = [line for line in said(tmp_path / "home", policy).splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 1 and missing in wrong[0]


def test_a_key_in_the_environment_beside_a_sealed_one_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "destroy-key.json").write_text("{}", encoding="utf-8")
    assert "must not be the key that destroys" in said(home, 'approval_level = "sealed"\n', VAST_API_KEY="k")


def test_policy_check_says_every_cap_and_level(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        'max_usd_total = 50\nover_caps = "refuse"\n[[approval]]\naction = "destroy"\nabove_usd_per_hour = 2\n'
        'level = "sealed"\n',
        encoding="utf-8",
    )
    shown = CliRunner().invoke(app, ["policy", "check", str(file)])
    assert shown.exit_code == 0
    for words in (
        "$50 in all (never asked about)",
        "not asked: it is refused",
        "destroy above $2 an hour: level sealed",
    ):
        assert words in shown.output


@pytest.mark.parametrize("line", ["max_usd_per_hour = -1", 'over_caps = "maybe"', "unknown = 1", "max_usd_total = 0"])
def test_a_policy_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(f"{line}\n", encoding="utf-8")
    shown = CliRunner().invoke(app, ["policy", "check", str(file)])
    assert shown.exit_code != 0 and "nothing runs" in str(shown.exception)


def test_the_schema_explains_each_key_and_holds_the_defaults() -> None:
    shown = CliRunner().invoke(app, ["policy", "schema"])
    assert shown.exit_code == 0
    assert '"default": "ask"' in shown.output and "Nobody is asked about this one" in shown.output
