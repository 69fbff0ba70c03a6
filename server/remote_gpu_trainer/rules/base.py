"""What a rule is: an id, the name of a wrong pattern, and pure predicates over the facts of a stage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

from remote_gpu_trainer.domain.values import Value


class Stage(StrEnum):
    """Where on the road a rule looks."""

    CONNECT = "connect"
    """Before the first call: which key is in use."""
    SEARCH = "search"
    RENT = "rent"
    PUSH = "push"
    START = "start"
    POLL = "poll"
    RESUME = "resume"
    COPY = "copy"
    VERIFY = "verify"
    STOP = "stop"
    DESTROY = "destroy"
    SPEND = "spend"
    ANSWER = "answer"
    """Before something is concluded from, or repeated after, an answer of the platform."""


class Severity(StrEnum):
    """What a finding does to the call."""

    BLOCK = "block"
    """The call is refused. Only the person's policy can waive it, and some rules not even that."""
    ACKNOWLEDGE = "acknowledge"
    """The call is refused until the caller names the rule's id."""
    WARN = "warn"
    """The call goes on and says so."""


class Standing(StrEnum):
    """What became of a finding."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    WAIVED = "waived"
    """By the person, in policy.toml."""


class Facts(Value):
    """Base of the facts of one stage. A field that is None is *unknown*, never zero or fine."""

    stage: ClassVar[Stage]


@dataclass(frozen=True, slots=True)
class Trip:
    """A predicate that found its pattern.

    Args:
        seen: What was seen, with numbers and units; one sentence. Never a secret, never text from a rented machine.
        severity: Where this case weighs differently from the rule's usual severity.
        fix: Where this case has a remedy of its own.
    """

    seen: str
    severity: Severity | None = None
    fix: str | None = None


F = TypeVar("F", bound=Facts)


@dataclass(frozen=True, slots=True)
class Check(Generic[F]):
    """One predicate and the facts that it looks at."""

    facts: type[F]
    look: Callable[[F], Trip | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One gotcha. Its text is the text of the profile's section with the same id."""

    id: str
    """``VAST<n>`` for this platform, ``U<n>`` for any rented GPU."""
    name: str
    """Kebab-case; names the pattern that is wrong."""
    severity: Severity
    symptom: str
    """What one sees when it has already gone wrong."""
    cause: str
    example: str
    fix: str
    unless: str
    """What would change the verdict."""
    source: str
    """Where the fact is from, with year and month."""
    waivable: bool = True
    """Whether the person's policy.toml may switch it off."""
    checks: tuple[Check[Any], ...] = ()
    unchecked: str = field(default="")
    """Why there is no predicate; empty exactly when there is one."""

    @property
    def anchor(self) -> str:
        """Where the rule is explained, relative to the skill's folder."""
        page = "profiles/vastai.md" if self.id.startswith("VAST") else "references/gotchas_universal.md"
        return f"{page}#{self.id.lower()}-{self.name}"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that it looks at, in the order of the road."""
        mine = {check.facts.stage for check in self.checks}
        return tuple(stage for stage in Stage if stage in mine)


class Finding(Value):
    """One rule that tripped, as the model and the journal read it."""

    rule: str
    name: str
    severity: Severity
    seen: str
    why: str
    fix: str
    unless: str
    """What would change the verdict."""
    acknowledgeable: bool
    """Whether naming the id in ``acknowledge`` lets the call through."""
    waivable: bool
    """Whether the person can switch the rule off in policy.toml."""
    standing: Standing = Standing.OPEN

    @property
    def blocks(self) -> bool:
        """Whether the call must not go on."""
        return self.severity is not Severity.WARN and self.standing is Standing.OPEN


def finding_of(rule: Rule, trip: Trip, standing: Standing) -> Finding:
    """A tripped rule as a finding."""
    severity = trip.severity or rule.severity
    return Finding(
        rule=rule.id,
        name=rule.name,
        severity=severity,
        seen=trip.seen,
        why=rule.cause,
        fix=trip.fix or rule.fix,
        unless=rule.unless,
        acknowledgeable=severity is Severity.ACKNOWLEDGE,
        waivable=rule.waivable,
        standing=standing,
    )


def on(look: Callable[[F], Trip | None], *facts: type[F]) -> tuple[Check[F], ...]:
    """The same predicate over the facts of one or more stages."""
    return tuple(Check(kind, look) for kind in facts)
