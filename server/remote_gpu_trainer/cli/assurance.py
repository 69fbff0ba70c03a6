"""Which assurance of consent a set-up really gives, and how to raise it. Asks nobody."""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from remote_gpu_trainer.app import journal_file
from remote_gpu_trainer.approval.anchors import SEALED_FILE, SIGNERS_FILE, pinned_signers
from remote_gpu_trainer.approval.book import KEY_FILE as CONSENT_KEY
from remote_gpu_trainer.approval.passkeyfiles import FOLDER as PASSKEY_FOLDER
from remote_gpu_trainer.approval.receipt import KEY_FILE as RECEIPTS_KEY
from remote_gpu_trainer.domain.approvals import AssuranceLevel
from remote_gpu_trainer.errors import ConfigError
from remote_gpu_trainer.settings import POLICY_FILE, Settings

ANCHORS = (POLICY_FILE, SIGNERS_FILE, PASSKEY_FOLDER, SEALED_FILE, CONSENT_KEY, RECEIPTS_KEY)
"""What decides who may say yes. Whoever writes them decides in the person's place."""


@dataclass(frozen=True)
class SetupFinding:
    """One fact about the installation."""

    text: str
    bad: bool = False


_STOPS = {
    AssuranceLevel.PERSON: (
        "consent level person: stops a model that has only these tools; a model that also has a shell as your user can "
        "imitate you. To raise it: rgt approve --enroll, then approval_level in policy.toml (references/approvals.md)"
    ),
    AssuranceLevel.SEALED: "consent level sealed: the destroying key must be unsealed with your passphrase",
    AssuranceLevel.HARDWARE: "consent level hardware: a security key or passkey, with touch and verification",
    AssuranceLevel.CONSOLE: "consent level console: this program destroys nothing; you do, in the platform's console",
}


def assurance(settings: Settings, env: Mapping[str, str]) -> Iterator[SetupFinding]:
    """What the consent level is worth here, one fact each."""
    policy = settings.policy
    asked = {policy.approval_level, *(rule.level for rule in policy.approval)}
    for level in sorted(asked, key=tuple(AssuranceLevel).index):
        yield SetupFinding(_STOPS[level])
    yield from _factors(settings, asked)
    yield from _reach(settings, env, asked)
    yield _client(settings)


def _factors(settings: Settings, asked: set[AssuranceLevel]) -> Iterator[SetupFinding]:
    """Whether what the levels ask for is there."""
    sealed = (settings.home / SEALED_FILE).exists()
    if AssuranceLevel.SEALED in asked and not sealed:
        yield SetupFinding("level sealed is asked and no key is sealed: rgt approve --enroll sealed", bad=True)
    try:
        signers = len(pinned_signers(settings.home))
    except ConfigError as wrong:
        yield SetupFinding(str(wrong), bad=True)
        signers = 0
    passkeys = _count(settings.home / PASSKEY_FOLDER)
    if AssuranceLevel.HARDWARE in asked and not signers and not passkeys:
        how = "rgt approve --enroll passkey, or rgt approve --enroll security-key --key KEY.pub"
        yield SetupFinding(f"level hardware is asked and no factor is registered: {how}", bad=True)
    if signers or passkeys:
        yield SetupFinding(f"factors: {signers} security keys and {passkeys} passkeys")


def _reach(settings: Settings, env: Mapping[str, str], asked: set[AssuranceLevel]) -> Iterator[SetupFinding]:
    """What the agent's user can read and write."""
    guarded = asked != {AssuranceLevel.PERSON}
    if settings.api_key is not None:
        text = f"the API key ({settings.key_source}) can be read by this user, an agent's shell included"
        if guarded:
            text += "; rgt keys check tries whether it could destroy"
        yield SetupFinding(text)
    if guarded and env.get("VAST_API_KEY") and (settings.home / SEALED_FILE).exists():
        yield SetupFinding(
            "VAST_API_KEY is set and wins over the key file: it must not be the key that destroys (rgt keys check)"
        )
    writable = [
        name for name in ANCHORS if (settings.home / name).exists() and os.access(settings.home / name, os.W_OK)
    ]
    if writable or os.access(settings.home, os.W_OK):
        named = ", ".join(writable) or "none of them is there yet"
        yield SetupFinding(
            f"this user can write what decides who may say yes ({named}), so an agent with a shell as this user "
            "can, too. To raise it: run the server as a user of its own, or on another machine over HTTP, and approve "
            "as yourself"
        )


def _client(settings: Settings) -> SetupFinding:
    """How the client that was connected last can ask."""
    how = _last_client(journal_file(settings.home))
    if how is None:
        return SetupFinding("whether your client can ask you (elicitation) shows at the first destroy")
    if how == "none":
        return SetupFinding("the last client cannot ask you: you approve with rgt approve, in a terminal or with --web")
    return SetupFinding(f"the last client can ask you (elicitation: {how}); it answers as level person")


def _last_client(file: Path) -> str | None:
    if not file.exists():
        return None
    query = (
        "SELECT json_extract(data, '$.elicitation') FROM events WHERE kind = 'client.seen' ORDER BY seq DESC LIMIT 1"
    )
    try:
        database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            row = database.execute(query).fetchone()
        finally:
            database.close()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])


def _count(folder: Path) -> int:
    return sum(1 for one in folder.iterdir() if one.is_file()) if folder.is_dir() else 0
