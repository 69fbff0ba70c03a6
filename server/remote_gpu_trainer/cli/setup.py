"""What ``rgt doctor`` finds without asking anybody."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from remote_gpu_trainer.app import journal_file
from remote_gpu_trainer.cli.assurance import SetupFinding, assurance
from remote_gpu_trainer.settings import POLICY_FILE, Settings


def findings(settings: Settings) -> Iterator[SetupFinding]:
    """Everything that can be said from here."""
    yield SetupFinding(f"home {settings.home}")
    yield SetupFinding(f"platform {settings.base_url}")
    if settings.api_key is None:
        yield SetupFinding(f"no API key: {settings.key_source}. `rgt demo` needs none", bad=True)
    else:
        yield SetupFinding(f"API key from {settings.key_source}")
    if settings.keys_differ:
        yield SetupFinding(f"VAST_API_KEY and {settings.key_file} hold different keys; the variable wins", bad=True)
    if settings.key_file.exists() and _others_read(settings.key_file):
        yield SetupFinding(f"{settings.key_file} can be read by other users: chmod 600 it", bad=True)
    policy = settings.home / POLICY_FILE
    yield SetupFinding(f"policy {policy}{'' if policy.exists() else ' is not there: the defaults hold'}")
    yield _journal(journal_file(settings.home))
    for program, use in (("ssh", "host keys"), ("rsync", "the machine-level copy of a stopped instance")):
        found = shutil.which(program)
        yield SetupFinding(f"{program}: {found or f'not installed; only {use} would use it'}")
    yield from assurance(settings, os.environ)


def _others_read(file: Path) -> bool:
    return bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _journal(file: Path) -> SetupFinding:
    if not file.exists():
        return SetupFinding(f"journal {file} is not there yet: nothing was ever rented from here")
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            state = str(database.execute("PRAGMA quick_check").fetchone()[0])
        database.close()
    except sqlite3.Error as error:
        return SetupFinding(f"journal {file} cannot be read: {error}", bad=True)
    return SetupFinding(f"journal {file}: {state}", bad=state != "ok")
