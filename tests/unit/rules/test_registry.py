"""The registry: ids, names, documentation, and how findings are lifted."""

import re
from collections import Counter
from typing import cast

import pytest

from remote_gpu_trainer.domain.offers import RentalType
from remote_gpu_trainer.errors import ConfigError, InvalidRequest, RuleViolation
from remote_gpu_trainer.rules.base import Rule, Severity, Stage, Standing
from remote_gpu_trainer.rules.registry import ALL_RULES, check, enforce, rule
from tests.unit.rules import samples


def test_ids_are_of_one_form_unique_and_without_gaps_for_the_platform() -> None:
    assert all(re.fullmatch(r"(VAST|U)[1-9]\d?", one.id) for one in ALL_RULES)
    assert max(Counter(one.id for one in ALL_RULES).values()) == 1
    numbers = [int(one.id.removeprefix("VAST")) for one in ALL_RULES if one.id.startswith("VAST")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_names_are_kebab_case_and_unique() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", one.name) for one in ALL_RULES)
    assert max(Counter(one.name for one in ALL_RULES).values()) == 1


@pytest.mark.parametrize("one", ALL_RULES, ids=lambda one: one.id)
def test_every_rule_has_all_its_texts_and_either_a_predicate_or_the_reason_why_not(one: Rule) -> None:
    assert bool(one.checks) != bool(one.unchecked)
    assert re.search(r"\b(19|20)\d\d\b|general|POSIX|Linux|PyTorch", one.source, re.IGNORECASE)
    for text in (one.symptom, one.cause, one.example, one.fix, one.unless):
        assert text == text.strip()
        assert text


@pytest.mark.parametrize("rule_id", ["U6", "U7", "U12", "U14", "U15", "U28", "U31", "U34"])
def test_the_universal_ids_that_the_profile_points_to_exist(rule_id: str) -> None:
    assert rule(rule_id.lower()).id == rule_id


def test_an_acknowledgement_lifts_what_can_be_acknowledged_and_nothing_else() -> None:
    facts = samples.rent(direct=False, offer=samples.offer(verified=False))

    findings = {f.rule: f for f in check(Stage.RENT, facts, acknowledged=["VAST8", "VAST7"])}

    assert findings["VAST8"].standing is Standing.ACKNOWLEDGED
    assert not findings["VAST8"].blocks
    assert findings["VAST7"].standing is Standing.OPEN
    assert findings["VAST7"].blocks


def test_the_persons_waiver_lifts_a_block() -> None:
    facts = samples.rent(offer=samples.offer(verified=False))

    assert enforce(Stage.RENT, facts, effect="", waived=["VAST7"])[0].standing is Standing.WAIVED


@pytest.mark.parametrize("rule_id", ["VAST2", "VAST14", "VAST19", "VAST28", "VAST29", "VAST30", "VAST31"])
def test_what_guards_against_loss_cannot_be_waived(rule_id: str) -> None:
    with pytest.raises(ConfigError, match=rule_id):
        check(Stage.RENT, samples.rent(), waived=[rule_id])


def test_an_acknowledged_id_that_names_no_rule_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="VAST99"):
        check(Stage.RENT, samples.rent(), acknowledged=["VAST99"])


def test_a_waived_id_that_names_no_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="all"):
        check(Stage.RENT, samples.rent(), waived=["all"])


def test_facts_of_another_stage_are_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="stage"):
        check(Stage.STOP, samples.rent())


def test_a_refusal_names_rules_numbers_fix_and_effect() -> None:
    facts = samples.bid(offer=samples.offer(cuda_max=12.1, rental=RentalType.INTERRUPTIBLE), resumes=False)

    with pytest.raises(RuleViolation) as caught:
        enforce(Stage.RENT, facts, effect="Nothing was rented.")

    text = str(caught.value)
    assert "VAST5 image-cuda-newer-than-driver: the image brings CUDA 12.4; the host's driver runs at most 12.1" in text
    assert "VAST4" in text
    assert text.endswith("Nothing was rented.")
    assert "acknowledge=" not in caught.value.next_step
    findings = cast(list[dict[str, object]], caught.value.details["findings"])
    assert [finding["rule"] for finding in findings] == ["VAST5", "VAST4"]


def test_when_all_can_be_acknowledged_the_refusal_says_how() -> None:
    with pytest.raises(RuleViolation) as caught:
        enforce(Stage.STOP, samples.stop(), effect="Nothing was stopped.")

    assert "acknowledge=['VAST1']" in caught.value.next_step
    assert enforce(Stage.STOP, samples.stop(), effect="", acknowledged=["vast1"])[0].severity is Severity.ACKNOWLEDGE


def test_warnings_do_not_refuse() -> None:
    findings = enforce(Stage.DESTROY, samples.destroy(volumes=None), effect="")

    assert [finding.rule for finding in findings] == ["VAST27"]
