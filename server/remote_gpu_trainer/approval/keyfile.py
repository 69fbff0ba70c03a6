"""Small private key files: made once, read often, never printed."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from remote_gpu_trainer.errors import ConfigError

_EFFECT = "Nothing was approved and nothing was signed."


def private_key_bytes(path: Path, size: int) -> bytes:
    """The random bytes in a file, made at first use with mode 0600. Processes that race for it all get the same.

    Raises:
        ConfigError: the file has another size, or other users may read it, or it cannot be made.
    """
    try:
        if not path.exists():
            _make(path, secrets.token_bytes(size))
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except OSError as problem:
        raise ConfigError(
            f"the key file {path} cannot be used: {problem.strerror}",
            next_step="check RGT_HOME and the permissions of that folder",
            effect=_EFFECT,
        ) from problem
    if mode & 0o077:
        raise ConfigError(
            f"the key file {path} has mode {mode:04o}: other users may read it",
            next_step=f"remove {path}, so that a new key is made; open approvals have to be asked for again",
            effect=_EFFECT,
        )
    if len(content) != size:
        raise ConfigError(
            f"the key file {path} holds {len(content)} bytes and should hold {size}",
            next_step=f"restore it, or remove {path}: open approvals then have to be asked for again",
            effect=_EFFECT,
        )
    return content


def write_private(path: Path, content: bytes) -> None:
    """Write a file whole, with mode 0600, or leave what was there. It is on disk when this returns.

    Raises:
        FileExistsError: there is a file of that name already.
        OSError: it could not be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link and not a rename: a reader never sees half a file, and the first writer wins.
        os.link(draft, path)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make(path: Path, content: bytes) -> None:
    with suppress(FileExistsError):  # another process made it meanwhile, and its key is the one
        write_private(path, content)
