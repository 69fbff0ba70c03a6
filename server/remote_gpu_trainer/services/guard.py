"""Asking the rules before a call leaves, and keeping in the journal what they said and what was accepted."""

from collections.abc import Collection
from typing import cast

from pydantic import JsonValue, ValidationError

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.errors import RuleViolation
from remote_gpu_trainer.ports import Journal
from remote_gpu_trainer.rules.base import Facts, Finding, Stage
from remote_gpu_trainer.rules.registry import enforce

RULES_SAID = "rules"
"""Event: the findings of one call, each with its standing: open, acknowledged by the caller, waived by the person."""


class Guard:
    """The rules under the person's policy, with a memory."""

    def __init__(self, journal: Journal, policy: Policy) -> None:
        self._journal = journal
        self._policy = policy

    def enforce(
        self,
        stage: Stage,
        facts: Facts,
        *,
        effect: str,
        lease: LeaseId | None,
        acknowledged: Collection[str] = (),
        keep: bool = True,
    ) -> tuple[Finding, ...]:
        """Refuse what a rule blocks; whatever was found is journalled under the lease.

        Args:
            stage: Stage of the facts.
            facts: What is known.
            effect: What did not happen when it is refused.
            lease: The run in question; None before there is one.
            acknowledged: Rule ids that the caller named in this call.
            keep: False leaves it to the caller to ``keep`` what did not refuse, once the run has a name.

        Raises:
            RuleViolation: a rule blocks.
            InvalidRequest: an acknowledged id names no rule.
        """
        try:
            found = tuple(enforce(stage, facts, effect=effect, acknowledged=acknowledged, waived=self._policy.waive))
        except RuleViolation as refusal:
            self._record(stage, lease, cast("list[JsonValue]", refusal.details["findings"]), refused=True)
            raise
        if keep:
            self.keep(stage, lease, found)
        return found

    def keep(self, stage: Stage, lease: LeaseId | None, found: Collection[Finding]) -> None:
        """Journal findings that did not refuse; nothing when there are none."""
        if found:
            self._record(stage, lease, [one.model_dump(mode="json") for one in found], refused=False)

    def said(self, stage: Stage, lease: LeaseId) -> tuple[Finding, ...]:
        """What the last call of this stage that went through was told about this run."""
        for event in reversed(self._journal.events(lease, kind=RULES_SAID, limit=50)):
            if event.data.get("stage") == stage.value and event.data.get("refused") is False:
                rows = cast("list[JsonValue]", event.data.get("findings") or [])
                try:
                    return tuple(Finding.model_validate(row) for row in rows)
                except ValidationError:
                    return ()  # written by another version of this program
        return ()

    def _record(self, stage: Stage, lease: LeaseId | None, findings: list[JsonValue], *, refused: bool) -> None:
        self._journal.record(RULES_SAID, lease, {"stage": stage.value, "refused": refused, "findings": findings})
