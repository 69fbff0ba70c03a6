"""Files that travel with the program: profiles, references, scripts, the skill and the examples."""

from pathlib import Path

from remote_gpu_trainer.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "_data", _PACKAGE.parent.parent)
"""In a wheel they lie inside the package, in a checkout at its top."""


def path(relative: str) -> Path:
    """Where one of them lies, for example ``scripts/boot.sh``.

    Raises:
        ConfigError: it is not there, so the installation is damaged.
    """
    for place in _PLACES:
        found = place / relative
        if found.exists():
            return found
    raise ConfigError(f"the installation lacks {relative}", next_step="reinstall remote-gpu-trainer")


def read_text(relative: str) -> str:
    """The text of one of them."""
    return path(relative).read_text(encoding="utf-8")


def read_bytes(relative: str) -> bytes:
    """The bytes of one of them."""
    return path(relative).read_bytes()
