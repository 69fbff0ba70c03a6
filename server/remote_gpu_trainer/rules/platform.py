"""A platform profile's front matter and script overrides, as typed values. The text is given; nothing is read here."""

import re
import shlex
from typing import Literal

import yaml
from pydantic import ConfigDict, Field, ValidationError, field_validator

from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import ConfigError

OVERRIDES = frozenset({"DATA_DIR", "DURABLE_DIR", "PROXY_HOOK", "CRED_FILE", "SCRATCH", "HF_HOME", "DETACH"})
"""What section 8 of a profile sets."""
HostDependent = Literal["host-dependent", "image-dependent"]

_FRONT = re.compile(r"\A---\n(?P<yaml>.*?)\n---\n(?P<body>.*)\Z", re.DOTALL)
_OVERRIDES = re.compile(r"^## 8[^\n]*\n.*?```bash\n(?P<code>.*?)```", re.DOTALL | re.MULTILINE)
_ASSIGNMENT = re.compile(r"^(?P<key>[A-Z][A-Z_]*)=(?P<value>.*)$")


class Platform(Value):
    """What ``profiles/<platform>.md`` states in its front matter, and the values of its section 8."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: str
    kind: str
    meter_stop_verb: str
    """The one action that ends all billing."""
    meter_stop_irreversible: bool
    detach_primitive: str
    """What keeps a command alive over an SSH disconnect; not necessarily over a container restart."""
    spot_available: bool
    spot_grace: str = Field(pattern=r"^~?\d+s$")
    shared_fs: bool
    inode_cap: int | HostDependent
    free_egress: bool | HostDependent
    china_mirror_needed: bool
    host_driver_cuda_max: float | HostDependent
    local_nvme: bool | HostDependent
    overrides: dict[str, str]

    @field_validator("overrides")
    @classmethod
    def _complete(cls, overrides: dict[str, str]) -> dict[str, str]:
        if sorted(overrides) != sorted(OVERRIDES):
            raise ValueError(f"section 8 must set {', '.join(sorted(OVERRIDES))}, each once and no others")
        for name in ("DATA_DIR", "HF_HOME", "DETACH"):
            if not re.fullmatch(r"(?:/[\w.-]+)+", overrides[name]):
                raise ValueError(f"{name} must be an absolute path")
        if overrides["CRED_FILE"]:
            raise ValueError("CRED_FILE must be empty: this program hands secrets over as environment only")
        return overrides

    @property
    def spot_grace_s(self) -> int:
        """Seconds between the notice of a preemption and the end of the process."""
        return int(self.spot_grace.strip("~s"))

    @property
    def boot_hook(self) -> str:
        """Path of the script that runs at every container start."""
        return self.overrides["DETACH"]

    @property
    def data_dir(self) -> str:
        """The data disk of a box; gone with the meter-stopping verb."""
        return self.overrides["DATA_DIR"]

    @property
    def hub_cache(self) -> str:
        """Where the Hugging Face cache goes, off the small root."""
        return self.overrides["HF_HOME"]

    @property
    def scratch(self) -> str:
        """Globs of what may be pruned when the disk fills."""
        return self.overrides["SCRATCH"]

    @property
    def durable(self) -> str:
        """Where results outlive the meter-stopping verb: a path, or ``off-box``."""
        return self.overrides["DURABLE_DIR"]


def parse_profile(text: str) -> Platform:
    """Read a profile.

    Raises:
        ConfigError: no front matter, an unknown or missing key, or no section 8 with the overrides.
    """
    match = _FRONT.match(text)
    if match is None:
        raise ConfigError("the profile has no front matter", next_step="reinstall the package: a data file is damaged")
    overrides = _OVERRIDES.search(match["body"])
    if overrides is None:
        raise ConfigError("the profile has no section 8 with a bash block of overrides")
    try:
        return Platform.model_validate({**yaml.safe_load(match["yaml"]), "overrides": _assignments(overrides["code"])})
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        raise ConfigError(f"the profile's front matter is not what this program reads: {error}") from error


def profile_sections(text: str) -> dict[str, str]:
    """The numbered sections of a profile by number, headings included; ``0`` is what stands before the first."""
    match = _FRONT.match(text)
    head, *rest = re.split(r"^(?=## \d)", match["body"] if match else text, flags=re.MULTILINE)
    return {"0": head, **{part[3 : part.index(".")]: part for part in rest}}


def _assignments(code: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in code.splitlines():
        if match := _ASSIGNMENT.match(line):
            words = shlex.split(match["value"], comments=True)
            found[match["key"]] = words[0] if words else ""
    return found
