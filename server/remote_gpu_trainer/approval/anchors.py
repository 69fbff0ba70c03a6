"""Where a person's factors lie in a home: the sealed destroying key and the pinned security keys."""

import os
import secrets
from pathlib import Path

from remote_gpu_trainer.approval.keyfile import write_private
from remote_gpu_trainer.approval.sealed import purpose_in, seal, unseal
from remote_gpu_trainer.approval.sshkeys import AllowedSigner, parse_allowed_signers
from remote_gpu_trainer.errors import ConfigError, InvalidRequest

SEALED_FILE = "destroy-key.json"
SIGNERS_FILE = "allowed_signers"
_NOTHING = "Nothing was registered."


def purpose_of(account_id: int) -> str:
    """What the sealed key is bound to, so that no other account's file opens in its place."""
    return f"vast.ai destroying key of account {account_id}"


def write_sealed(home: Path, secret: str, passphrase: str, *, account_id: int) -> Path:
    """Seal the destroying key of an account; an older file is replaced whole.

    Raises:
        InvalidRequest: the passphrase is too short.
        OSError: it could not be written.
    """
    path, draft = home / SEALED_FILE, home / f".{SEALED_FILE}.{secrets.token_hex(8)}"
    write_private(draft, seal(secret, passphrase, purpose=purpose_of(account_id)))
    os.replace(draft, path)
    return path


def read_sealed(home: Path, passphrase: str, *, account_id: int) -> str:
    """The destroying key of an account.

    Raises:
        ConfigError: there is none, or it is another account's.
        ConsentError: the passphrase does not open it.
    """
    try:
        content = (home / SEALED_FILE).read_bytes()
    except OSError as problem:
        raise ConfigError(
            f"there is no sealed key at {home / SEALED_FILE}: {problem.strerror}",
            next_step="the person runs rgt approve --enroll sealed in their own terminal",
            effect="Nothing was unsealed, and nothing was destroyed.",
        ) from problem
    return unseal(content, passphrase, purpose=purpose_of(account_id))


def sealed_purpose(home: Path) -> str | None:
    """What the sealed key is for, as its file says; None where none is sealed.

    Raises:
        ConfigError: the file is damaged or cannot be read.
    """
    path = home / SEALED_FILE
    if not path.exists():
        return None
    try:
        return purpose_in(path.read_bytes())
    except OSError as problem:
        raise ConfigError(f"{path} cannot be read: {problem.strerror}", effect=_NOTHING) from problem


def pinned_signers(home: Path) -> tuple[AllowedSigner, ...]:
    """The security keys that may sign; none where no file is.

    Raises:
        ConfigError: a line is not accepted, or the file cannot be read.
    """
    path = home / SIGNERS_FILE
    if not path.exists():
        return ()
    try:
        return parse_allowed_signers(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path} cannot be read: {problem}", effect="Nothing was approved.") from problem


def pin_signer(home: Path, public_key: str, *, name: str) -> AllowedSigner:
    """Add one security key to the pinned list.

    Args:
        home: ``RGT_HOME``.
        public_key: The content of its ``.pub`` file.
        name: Whose it is.

    Raises:
        ConfigError: it is no security key's public key.
        InvalidRequest: it is pinned already, or the name cannot stand in the list.
    """
    words = public_key.split()
    if len(words) < 2 or not name.isidentifier():
        raise InvalidRequest(
            "give the content of a security key's .pub file, and a name of letters, digits and _",
            next_step="make one with: ssh-keygen -t ed25519-sk -O verify-required",
            effect=_NOTHING,
        )
    line = f"{name} {words[0]} {words[1]}"
    (signer,) = parse_allowed_signers(line)
    known = pinned_signers(home)
    if any(one.key == signer.key for one in known):
        raise InvalidRequest(f"{signer.fingerprint} is pinned already", effect=_NOTHING)
    path, draft = home / SIGNERS_FILE, home / f".{SIGNERS_FILE}.{secrets.token_hex(8)}"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_private(draft, f"{before}{line}\n".encode())
    os.replace(draft, path)
    return signer
