"""All rules, and the one way to ask them."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from remote_gpu_trainer.errors import ConfigError, InvalidRequest, RuleViolation
from remote_gpu_trainer.rules import (
    answers,
    copy,
    create,
    credentials,
    destroy,
    home,
    job,
    keys,
    money,
    poll,
    push,
    rent,
    search,
    start,
    states,
    stop,
    universal,
)
from remote_gpu_trainer.rules.base import Check, Facts, Finding, Rule, Severity, Stage, Standing, Trip, finding_of

ALL_RULES: tuple[Rule, ...] = (
    stop.VAST1,
    destroy.VAST2,
    poll.VAST3,
    start.VAST4,
    rent.VAST5,
    rent.VAST6,
    search.VAST7,
    copy.VAST8,
    search.VAST9,
    rent.VAST10,
    credentials.VAST11,
    rent.VAST12,
    poll.VAST13,
    answers.VAST14,
    create.VAST15,
    create.VAST16,
    states.VAST17,
    create.VAST18,
    push.VAST19,
    keys.VAST20,
    answers.VAST21,
    keys.VAST22,
    answers.VAST23,
    money.VAST24,
    search.VAST25,
    create.VAST26,
    money.VAST27,
    states.VAST28,
    answers.VAST29,
    answers.VAST30,
    answers.VAST31,
    answers.VAST32,
    home.VAST33,
    money.VAST34,
    create.VAST35,
    keys.VAST36,
    states.VAST37,
    money.VAST38,
    keys.VAST39,
    home.VAST40,
    job.VAST41,
    money.VAST42,
    states.VAST43,
    push.U1,
    universal.U2,
    home.U3,
    universal.U4,
    job.U5,
    push.U6,
    push.U7,
    universal.U8,
    home.U9,
    job.U10,
    universal.U11,
    universal.U12,
    job.U13,
    universal.U14,
    universal.U15,
    home.U16,
    home.U17,
    job.U28,
    job.U31,
    credentials.U34,
    job.U35,
)

_BY_ID: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in ALL_RULES})


def _index() -> Mapping[type[Facts], tuple[tuple[Rule, Check[Any]], ...]]:
    found: dict[type[Facts], list[tuple[Rule, Check[Any]]]] = {}
    for rule in ALL_RULES:
        for check in rule.checks:
            found.setdefault(check.facts, []).append((rule, check))
    return MappingProxyType({kind: tuple(pairs) for kind, pairs in found.items()})


_CHECKS = _index()


def rule(rule_id: str) -> Rule:
    """One rule by its id, in any case.

    Raises:
        InvalidRequest: there is none.
    """
    try:
        return _BY_ID[rule_id.strip().upper()]
    except KeyError:
        raise InvalidRequest(
            f"there is no rule {rule_id[:40]!r}", next_step=f"the ids are {', '.join(_BY_ID)}"
        ) from None


def named(ids: Collection[str]) -> frozenset[str]:
    """The rules that a caller acknowledged, in whatever case, by their own ids.

    Raises:
        InvalidRequest: an id names no rule.
    """
    return frozenset(rule(rule_id).id for rule_id in ids)


def check(
    stage: Stage, facts: Facts, *, acknowledged: Collection[str] = (), waived: Collection[str] = ()
) -> list[Finding]:
    """Every rule that trips at this stage, those that block first.

    Acknowledged and waived findings stay in the list with their standing, so that the journal can hold them.

    Args:
        stage: The stage that the caller believes to be in; must be that of the facts.
        facts: What is known.
        acknowledged: Rule ids that the caller named in this call. Lifts findings of weight ACKNOWLEDGE only.
        waived: Rule ids from the person's policy. Lifts every finding of a waivable rule.

    Raises:
        InvalidRequest: an acknowledged id names no rule.
        ConfigError: a waived id names no rule, or one that cannot be waived.
        ValueError: the facts are of another stage: a mistake in this program.
    """
    if facts.stage is not stage:
        raise ValueError(f"{type(facts).__name__} is of stage {facts.stage}, not {stage}")
    accepted = named(acknowledged)
    lifted = waivers(waived)
    findings = [
        finding_of(one, trip, _standing(one, trip, accepted, lifted))
        for one, predicate in _CHECKS.get(type(facts), ())
        if (trip := predicate.look(facts)) is not None
    ]
    return sorted(findings, key=lambda finding: (not finding.blocks, _WEIGHT[finding.severity]))


_WEIGHT = {Severity.BLOCK: 0, Severity.ACKNOWLEDGE: 1, Severity.WARN: 2}


def _standing(one: Rule, trip: Trip, accepted: Collection[str], lifted: Collection[str]) -> Standing:
    if one.id in lifted:
        return Standing.WAIVED
    severity = trip.severity or one.severity
    if severity is Severity.ACKNOWLEDGE and one.id in accepted:
        return Standing.ACKNOWLEDGED
    return Standing.OPEN


def waivers(ids: Collection[str]) -> frozenset[str]:
    """The ids of a policy's ``waive``, checked.

    Raises:
        ConfigError: an id names no rule, or one that cannot be waived.
    """
    for rule_id in ids:
        one = _BY_ID.get(rule_id.strip().upper())
        if one is None:
            raise ConfigError(f"policy.toml waives {rule_id[:40]!r}, which is no rule")
        if not one.waivable:
            raise ConfigError(
                f"policy.toml waives {one.id} ({one.name}), which nothing can switch off",
                next_step=f"remove {one.id} from waive",
            )
    return frozenset(rule_id.strip().upper() for rule_id in ids)


def enforce(
    stage: Stage,
    facts: Facts,
    *,
    effect: str,
    acknowledged: Collection[str] = (),
    waived: Collection[str] = (),
) -> list[Finding]:
    """``check``, and refuse when anything blocks.

    Args:
        stage: As for ``check``.
        facts: As for ``check``.
        effect: What did not happen, for example "Nothing was rented."
        acknowledged: As for ``check``.
        waived: As for ``check``.

    Returns:
        The findings that do not block: warnings, acknowledged and waived ones, for the answer and the journal.

    Raises:
        RuleViolation: with every finding in ``details["findings"]``.
        InvalidRequest: see ``check``.
        ConfigError: see ``check``.
    """
    findings = check(stage, facts, acknowledged=acknowledged, waived=waived)
    blocking = [finding for finding in findings if finding.blocks]
    if not blocking:
        return findings
    raise RuleViolation(
        "; ".join(f"{finding.rule} {finding.name}: {finding.seen}" for finding in blocking),
        next_step=_next_step(blocking),
        effect=effect,
        details={"findings": [finding.model_dump(mode="json") for finding in findings]},
    )


def _next_step(blocking: list[Finding]) -> str:
    steps = [f"{finding.rule}: {finding.fix} (it passes when {finding.unless})" for finding in blocking]
    soft = [finding.rule for finding in blocking if finding.acknowledgeable]
    if soft and len(soft) == len(blocking):
        steps.append(f"or accept it knowingly with acknowledge={soft}")
    return "; ".join(steps)
