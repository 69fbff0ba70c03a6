"""The key with which this computer opens boxes."""

import contextlib
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remote_gpu_trainer.errors import ConfigError
from remote_gpu_trainer.ssh.privatefile import write_private


class ClientKey:
    """One ed25519 key under ``home``, made at first use and never sent anywhere."""

    def __init__(self, home: Path) -> None:
        self.path = home / "ssh" / "id_ed25519"

    def ensure(self) -> Path:
        """The private key's file; two processes that make it at once agree on one.

        Raises:
            ConfigError: the file is readable by others, or no file at all.
        """
        if not self.path.exists():
            made = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
                write_private(self.path, made, replace=False)
        mode = self.path.stat().st_mode
        if mode & 0o077:
            raise ConfigError(
                f"the SSH key {self.path} has mode {mode & 0o777:o}, so that others can read it",
                next_step=f"chmod 600 {self.path}",
                effect="No connection was made.",
            )
        return self.path

    def public(self) -> str:
        """``ssh-ed25519 base64 remote-gpu-trainer``.

        Raises:
            ConfigError: the file holds no usable key.
        """
        path = self.ensure()
        try:
            key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
        except ValueError as bad:
            raise ConfigError(
                f"{path} holds no usable SSH key",
                next_step="move it away; another one is made, which running boxes do not know",
                effect="No connection was made.",
            ) from bad
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return f"{line.decode('ascii')} remote-gpu-trainer"
