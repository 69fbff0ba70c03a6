"""The registered passkeys: one small file each, in a folder that only the person can read and write."""

import stat
from pathlib import Path

from pydantic import ValidationError

from remote_gpu_trainer.approval.keyfile import write_private
from remote_gpu_trainer.approval.passkey import Passkey
from remote_gpu_trainer.approval.strictjson import NotOneMeaning, strict_object
from remote_gpu_trainer.database.text import dump
from remote_gpu_trainer.errors import ConfigError

FOLDER = "passkeys"
"""Under RGT_HOME. To remove a passkey, remove its file."""

_EFFECT = "No passkey is accepted until that is put right."


def load_passkeys(folder: Path) -> tuple[Passkey, ...]:
    """Every registered passkey, by label; none where there is no folder.

    Raises:
        ConfigError: others may write there, or a file is not one that ``keep_passkey`` made.
    """
    if not folder.is_dir():
        return ()
    found: list[Passkey] = []
    for place in (folder, *sorted(folder.glob("*.json"))):
        if stat.S_IMODE(place.stat().st_mode) & 0o022:
            raise ConfigError(
                f"{place} can be written by other users, who could add a passkey of their own",
                next_step=f"look at what lies in {folder}, then chmod -R go-rwx {folder}",
                effect=_EFFECT,
            )
        if place is folder:
            continue
        try:
            found.append(Passkey.model_validate(strict_object(place.read_bytes())))
        except (NotOneMeaning, ValidationError, OSError) as problem:
            raise ConfigError(
                f"{place} is no registered passkey",
                next_step="remove it, and register with rgt approve --enroll",
                effect=_EFFECT,
            ) from problem
    return tuple(sorted(found, key=lambda one: one.label))


def keep_passkey(folder: Path, passkey: Passkey) -> Path:
    """Write a passkey's file.

    Raises:
        FileExistsError: it is registered already.
        OSError: it could not be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{passkey.fingerprint[:32]}.json"
    write_private(path, dump(passkey).encode() + b"\n")
    return path
