"""The person's own limits, as values. Only the person's file sets them; no tool writes it."""

from pydantic import Field

from remote_gpu_trainer.domain.approvals import AssuranceLevel
from remote_gpu_trainer.domain.units import GiB, Usd, UsdPerHour
from remote_gpu_trainer.domain.values import Value


class Policy(Value):
    """Caps and duties. The defaults hold when there is no policy.toml."""

    max_usd_per_hour: UsdPerHour = Field(default=UsdPerHour(1.0), gt=0)
    """Per instance, GPU and disk."""
    max_usd_per_run: Usd = Field(default=Usd(5.0), gt=0)
    max_usd_per_day: Usd = Field(default=Usd(20.0), gt=0)
    max_usd_total: Usd | None = None
    max_instances: int = Field(default=2, ge=1)
    min_reliability: float = Field(default=0.95, ge=0, le=1)
    allow_unverified_hosts: bool = False
    images: tuple[str, ...] = ()
    """Globs that an image must match; empty allows any."""
    waive: tuple[str, ...] = ()
    """Ids of rules that the person switches off."""
    approval_level: AssuranceLevel = AssuranceLevel.PERSON
    approval_minutes: float = Field(default=15.0, gt=0, le=24 * 60)
    stop_before_asking: bool = True
    """Stop the machine once the proof is complete, so that only the disk bills while a person thinks."""
    max_copy_gib: GiB = Field(default=GiB(500.0), gt=0)
    max_copy_files: int = Field(default=1_000_000, ge=1)
    max_copy_depth: int = Field(default=64, ge=1)
    copy_destinations: tuple[str, ...] = ()
    """Folders or s3:// prefixes that copies may go to; empty allows the home folder's subfolders and any bucket."""
