"""What the person set: the key and the address as the official CLI reads them, our folder, and their policy."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import platformdirs
from pydantic import ValidationError

from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.errors import ConfigError
from remote_gpu_trainer.rules.registry import waivers

DEFAULT_URL = "https://console.vast.ai"
SECRET_PREFIX = "RGT_SECRET_"  # noqa: S105 - a prefix of variable names, not a secret
POLICY_FILE = "policy.toml"


@dataclass(frozen=True)
class Settings:
    """Everything that was configured. Secrets do not show in its repr."""

    base_url: str
    api_key: str | None = field(repr=False)
    key_source: str
    """Where the key came from, or why there is none."""
    key_file: Path
    keys_differ: bool | None
    """The variable and the key file hold different keys (the variable wins); None when one is missing."""
    home: Path
    policy: Policy
    secrets: Mapping[str, str] = field(repr=False)
    """By name. Only what the person put under RGT_SECRET_NAME can be sent to a machine."""

    def require_key(self) -> str:
        """The API key.

        Raises:
            ConfigError: there is none.
        """
        if self.api_key is None:
            raise ConfigError(
                f"there is no vast.ai API key ({self.key_source})",
                next_step=f"set VAST_API_KEY, or write the key to {self.key_file}; `rgt demo` needs none",
                effect="Nothing was asked of the platform.",
            )
        return self.api_key

    @property
    def results(self) -> Path:
        """Where copies go unless a destination is named."""
        return self.home / "results"


def load(env: Mapping[str, str], *, home: Path | None = None) -> Settings:
    """Read the environment, the key file and the policy.

    Raises:
        ConfigError: one of them is malformed; the message names which, and where.
    """
    folder = home or _home(env)
    key_file = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME") or Path.home()) / ".config") / (
        "vastai/vast_api_key"
    )
    key, source, differ = _key(env, key_file)
    return Settings(
        base_url=_url(env.get("VAST_URL") or DEFAULT_URL),
        api_key=key,
        key_source=source,
        key_file=key_file,
        keys_differ=differ,
        home=folder,
        policy=load_policy(folder / POLICY_FILE),
        secrets=MappingProxyType(
            {name.removeprefix(SECRET_PREFIX): value for name, value in env.items() if name.startswith(SECRET_PREFIX)}
        ),
    )


def load_policy(file: Path) -> Policy:
    """The person's limits; the defaults when there is no file.

    Raises:
        ConfigError: it is not TOML, or holds an unknown key, an impossible value or an unknown rule id.
    """
    policy = Policy() if not file.exists() else _parse(file)
    waivers(policy.waive)
    return policy


def _parse(file: Path) -> Policy:
    try:
        return Policy.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", effect="No policy was loaded, so nothing runs.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{file}: {where}: {first['msg']}",
            next_step="correct the file; `rgt policy check` reads it",
            effect="No policy was loaded, so nothing runs.",
        ) from error


def _home(env: Mapping[str, str]) -> Path:
    chosen = env.get("RGT_HOME")
    folder = Path(chosen).expanduser() if chosen else platformdirs.user_data_path("remote-gpu-trainer")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"RGT_HOME {folder} is not a folder", next_step="point RGT_HOME at a folder")
    return folder.absolute()


def _url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"VAST_URL {url!r} is not an http(s) address", next_step="unset it for the real platform")
    return url.rstrip("/")


def _key(env: Mapping[str, str], key_file: Path) -> tuple[str | None, str, bool | None]:
    variable = (env.get("VAST_API_KEY") or "").strip() or None
    try:
        stored = key_file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        stored = None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {key_file} cannot be read: {error}") from error
    if variable:
        return variable, "VAST_API_KEY", None if stored is None else stored != variable
    if stored:
        return stored, str(key_file), None
    return None, f"VAST_API_KEY is not set and {key_file} does not exist", None
