"""Each rule trips on its pattern, passes beside it, and says what it saw."""

import pytest

from remote_gpu_trainer.rules.base import Facts, Severity
from remote_gpu_trainer.rules.registry import ALL_RULES, check, rule
from tests.unit.rules import samples
from tests.unit.rules.cases import CASES, Case

FINE: tuple[Facts, ...] = (
    samples.connect(),
    samples.search(),
    samples.rent(),
    samples.bid(),
    samples.push(),
    samples.start(),
    samples.poll(),
    samples.resume(),
    samples.copy(),
    samples.verify(),
    samples.destroy(),
    samples.spend(),
    samples.answer(),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.severity}-{case.facts.stage}")
def test_a_rule_trips_on_its_pattern_and_only_there(case: Case) -> None:
    findings = {finding.rule: finding for finding in check(case.facts.stage, case.facts)}

    if case.severity is None:
        assert case.rule not in findings
        return
    finding = findings[case.rule]
    assert finding.severity is case.severity
    assert finding.blocks is (case.severity is not Severity.WARN)
    assert finding.acknowledgeable is (case.severity is Severity.ACKNOWLEDGE)
    for word in case.words:
        assert word in finding.seen


@pytest.mark.parametrize("facts", FINE, ids=lambda facts: str(facts.stage))
def test_facts_in_which_nothing_is_wrong_give_no_finding(facts: Facts) -> None:
    assert check(facts.stage, facts) == []


def test_stopping_always_says_what_the_disk_costs() -> None:
    assert [finding.rule for finding in check(samples.stop().stage, samples.stop())] == ["VAST1"]


@pytest.mark.parametrize("rule_id", [rule.id for rule in ALL_RULES if rule.checks])
def test_every_rule_with_a_predicate_has_a_case_that_trips_and_one_that_passes(rule_id: str) -> None:
    mine = [case for case in CASES if case.rule == rule_id]

    assert any(case.severity is not None for case in mine)
    assert any(case.severity is None for case in mine)


@pytest.mark.parametrize("rule_id", [rule.id for rule in ALL_RULES if rule.checks])
def test_every_stage_of_a_rule_has_a_case_that_trips(rule_id: str) -> None:
    tripped = {case.facts.stage for case in CASES if case.rule == rule_id and case.severity is not None}

    assert tripped == set(rule(rule_id).stages)


def test_a_finding_never_holds_the_secret_that_it_saw() -> None:
    token = "hf_" + "Zz9" * 12
    facts = samples.rent(onstart=f"export T={token}", env={"T": token}, args=token, image=f"x/y:{token}")

    findings = check(facts.stage, facts)

    assert any(finding.rule == "VAST11" for finding in findings)
    assert token not in "".join(finding.model_dump_json() for finding in findings)
    assert token not in repr(facts.model_copy(update={"image": None}))
