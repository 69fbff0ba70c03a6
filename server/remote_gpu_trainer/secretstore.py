"""Secrets by name: from the server's environment, or from the operating system's keyring. No text shows a value."""

from collections.abc import Iterable, Mapping
from threading import Lock

KEYRING_SERVICE = "remote-gpu-trainer"
"""Under which service name the keyring holds them; the user name is the secret's name."""


class SecretStore:
    """Looks secrets up, and remembers which values it has seen, so that they can be taken out of every text.

    Args:
        environment: Name to value, as the person set them for the server; these win over the keyring.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._seen = {value for value in environment.values() if value}
        self._lock = Lock()

    def __repr__(self) -> str:
        """Names only."""
        return f"SecretStore({sorted(self._environment)})"

    def value(self, name: str) -> str | None:
        """The value of a secret; None when nobody holds it. Blocking: a keyring may ask the person to unlock it."""
        found = self._environment.get(name) or from_keyring(name)
        if found:
            with self._lock:
                self._seen.add(found)
        return found or None

    def remember(self, names: Iterable[str]) -> None:
        """Look these up, so that their values are known. Blocking."""
        for name in names:
            self.value(name)

    def known(self) -> tuple[str, ...]:
        """Every value that was seen."""
        with self._lock:
            return tuple(self._seen)


def from_keyring(name: str) -> str | None:
    """A secret from the keyring; None where it is not, or where there is no keyring that answers."""
    import keyring  # a tenth of a second: only when something is not in the environment
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(KEYRING_SERVICE, name)
    except KeyringError:
        return None


def into_keyring(name: str, value: str) -> str:
    """Keep a secret in the keyring; the name of the keyring that took it.

    Raises:
        ConfigError: there is none, or it refused.
    """
    import keyring
    from keyring.errors import KeyringError

    from remote_gpu_trainer.errors import ConfigError

    try:
        keyring.set_password(KEYRING_SERVICE, name, value)
    except KeyringError as error:
        raise ConfigError(
            f"no keyring took it: {type(error).__name__}",
            next_step=f"set RGT_SECRET_{name} in the server's environment instead",
            effect="Nothing was stored.",
        ) from error
    return keyring.get_keyring().name
