"""Host keys of a box: made once, kept over restarts, and shown inside so that ``onstart`` can print them."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# paramiko carries no types.

import os
from pathlib import Path
from typing import Any

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

KINDS = {"ed25519": ed25519.Ed25519PrivateKey.generate, "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1())}


def _load(path: Path) -> Any:
    kind = paramiko.Ed25519Key if "ed25519" in path.name else paramiko.ECDSAKey
    return kind.from_private_key_file(str(path))


class HostKeys:
    """The private keys lie in ``folder`` on the host, the public ones in the box's ``/etc/ssh``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ensure(self, root: Path) -> None:
        """Make the keys if there are none, and show the public ones in the box below ``root``."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for kind, generate in KINDS.items():
            path = self.path(kind)
            if not path.exists():
                text = generate().private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
                )
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(text)
        shown = root / "etc/ssh"
        if shown.is_dir() and not shown.is_symlink():
            for kind, line in zip(KINDS, self.public(), strict=True):
                public = shown / f"ssh_host_{kind}_key.pub"
                public.unlink(missing_ok=True)
                public.write_text(f"{line} root@box\n")

    def path(self, kind: str) -> Path:
        """Where the private key of a kind lies."""
        return self._folder / f"ssh_host_{kind}_key"

    def private(self) -> list[Any]:
        """The keys that the server proves itself with, as paramiko holds them."""
        return [_load(self.path(kind)) for kind in KINDS]

    def public(self) -> list[str]:
        """``type base64`` of each key."""
        return [f"{key.get_name()} {key.get_base64()}" for key in self.private()]


def stranger_keys(folder: Path) -> HostKeys:
    """Keys that are not the box's own, for the fault of a changed host key."""
    keys = HostKeys(folder / "changed")
    keys.ensure(folder / "nowhere")
    return keys
