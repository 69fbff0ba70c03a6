"""The person's own limits, as values. Only the person's file sets them; no tool writes it."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from remote_gpu_trainer.domain.approvals import AssuranceLevel
from remote_gpu_trainer.domain.artifacts import digest_of
from remote_gpu_trainer.domain.units import GiB, Usd, UsdPerHour
from remote_gpu_trainer.domain.values import Value


class LevelRule(Value):
    """A level for one action from a price on: ``[[approval]]`` in policy.toml."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    action: Literal["destroy", "rent"]
    above_usd_per_hour: UsdPerHour = Field(default=UsdPerHour(0.0), ge=0)
    """It holds where the machine costs more than this while running, and where its price is not known."""
    level: AssuranceLevel


class Policy(Value):
    """Caps and duties. The defaults hold when there is no policy.toml."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    max_usd_per_hour: UsdPerHour = Field(default=UsdPerHour(1.0), gt=0)
    """Per instance, GPU and disk."""
    max_usd_per_run: Usd = Field(default=Usd(5.0), gt=0)
    max_usd_per_day: Usd = Field(default=Usd(20.0), gt=0)
    max_usd_total: Usd | None = Field(default=None, gt=0)
    """In all, over every run of this journal. Nobody is asked about this one: it is refused."""
    over_caps: Literal["ask", "refuse"] = "ask"
    """What becomes of a rental above the caps per hour, run and day: a person is asked, or it is refused."""
    max_instances: int = Field(default=2, ge=1)
    min_reliability: float = Field(default=0.95, ge=0, le=1)
    allow_unverified_hosts: bool = False
    images: tuple[str, ...] = ()
    """Globs that an image must match; empty allows any."""
    waive: tuple[str, ...] = ()
    """Ids of rules that the person switches off."""
    approval_level: AssuranceLevel = AssuranceLevel.PERSON
    """The least level of a consent to destroy."""
    approval: tuple[LevelRule, ...] = ()
    """Higher levels for an action and a price. The strictest that fits holds."""
    approval_minutes: float = Field(default=15.0, gt=0, le=24 * 60)
    stop_before_asking: bool = True
    """Stop the machine once the proof is complete, so that only the disk bills while a person thinks."""
    max_copy_gib: GiB = Field(default=GiB(500.0), gt=0)
    max_copy_files: int = Field(default=1_000_000, ge=1)
    max_copy_depth: int = Field(default=64, ge=1)
    copy_destinations: tuple[str, ...] = ()
    """Folders or s3:// prefixes that copies may go to; empty allows the home folder's subfolders and any bucket."""
    accept_unloaded: tuple[str, ...] = ()
    """Globs of files whose right bytes are proof enough where loading them would run foreign code."""
    weights_must_load: bool = False
    """No verification passes with a weight file below LOADS, for example for want of torch here."""

    @model_validator(mode="after")
    def _levels_that_exist(self) -> Self:
        if any(rule.action == "rent" and rule.level is AssuranceLevel.CONSOLE for rule in self.approval):
            raise ValueError("renting has no level console: a person who rents in the console needs no consent here")
        return self

    def level_for(self, action: Literal["destroy", "rent"], usd_per_hour: float | None) -> AssuranceLevel:
        """The least level of a consent, given what the machine costs while running; None when that is not known."""
        base = self.approval_level if action == "destroy" else AssuranceLevel.PERSON
        fitting = [
            rule.level
            for rule in self.approval
            if rule.action == action and (usd_per_hour is None or usd_per_hour > rule.above_usd_per_hour)
        ]
        order = tuple(AssuranceLevel)
        return max((base, *fitting), key=order.index)

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON: which policy a plan was prepared under."""
        return digest_of(self.model_dump(mode="json"))
