"""A yes beforehand, for nights: one run, one use, conditions that the server checks."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from remote_gpu_trainer.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

    from remote_gpu_trainer.domain.approvals import ApprovalRequest
    from remote_gpu_trainer.domain.artifacts import VerificationLevel
    from remote_gpu_trainer.services.container import Services

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([mh])")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMG])i?B?")
_MINUTES = {"m": 1.0, "h": 60.0}
_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_EFFECT = "Nobody was asked, and nothing was agreed to."
MOST_HOURS = 24.0


def preapprove(
    lease: Annotated[str, typer.Option(help="The run.")],
    when: Annotated[str, typer.Option(help="What every file has to reach: verified:DIGEST, :LOADS or higher.")],
    off_box: Annotated[bool, typer.Option("--off-box", help="The proven copy lies off the machine; always needed.")],
    idle: Annotated[str, typer.Option(help="How long nothing may have changed on the machine, e.g. 30m.")] = "30m",
    expires: Annotated[str, typer.Option(help="How long it holds, at most 24h.")] = "12h",
    lose_at_most: Annotated[str, typer.Option(help="What may be left unsaved, e.g. 100M.")] = "100M",
    key: Annotated[str | None, typer.Option("--key", help="Your security key's handle, where one has to sign.")] = None,
) -> None:
    """Agree beforehand that one run may be destroyed once, if all of this holds. You read the conditions first."""
    from pathlib import Path

    if not off_box:
        raise InvalidRequest("without a proven copy off the machine nothing is agreed to beforehand", effect=_EFFECT)
    level, minutes, hours = parse_level(when), parse_minutes(idle), parse_minutes(expires) / 60
    if not 0 < hours <= MOST_HOURS:
        raise InvalidRequest(f"--expires {expires} is not more than 0 and at most {MOST_HOURS:.0f}h", effect=_EFFECT)
    unsaved = parse_bytes(lose_at_most)
    _decide(lease, level, minutes, hours, unsaved, None if key is None else Path(key))


def _decide(
    lease: str, level: "VerificationLevel", minutes: float, hours: float, unsaved: int, key: "Path | None"
) -> None:
    import os

    from remote_gpu_trainer import settings
    from remote_gpu_trainer.app import journal_file
    from remote_gpu_trainer.approval.book import SqliteApprovalBook
    from remote_gpu_trainer.cli.deciding import decide, with_services
    from remote_gpu_trainer.clock import SystemClock
    from remote_gpu_trainer.database.file import Database

    known = settings.load(os.environ)

    async def ask(services: "Services") -> "ApprovalRequest":
        return await services.teardown.ask_beforehand(
            lease, least_level=level, idle_minutes=minutes, most_unsaved_bytes=unsaved, hours=hours
        )

    request = with_services(known, ask)
    database = Database(journal_file(known.home))
    try:
        answer = decide(SqliteApprovalBook(database, clock=SystemClock()), request.id, known, key_file=key)
    finally:
        database.close()
    if not answer.agreed:
        typer.echo(f"Not agreed: {answer.reason}. {_EFFECT}", err=True)
        raise typer.Exit(1)


def parse_level(text: str) -> "VerificationLevel":
    """The level in ``verified:LOADS``; at least DIGEST, since less proves no bytes.

    Raises:
        InvalidRequest: it is none.
    """
    from remote_gpu_trainer.domain.artifacts import VerificationLevel

    word, _, name = text.partition(":")
    known = {one.name: one for one in VerificationLevel if one >= VerificationLevel.DIGEST}
    if word != "verified" or name not in known:
        raise InvalidRequest(f"--when {text[:40]!r} is not verified: and one of {', '.join(known)}", effect=_EFFECT)
    return known[name]


def parse_minutes(text: str) -> float:
    """Minutes in ``30m`` or ``12h``.

    Raises:
        InvalidRequest: it is no such span.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"{text[:40]!r} is no span of time such as 30m or 12h", effect=_EFFECT)
    return float(found[1]) * _MINUTES[found[2]]


def parse_bytes(text: str) -> int:
    """Bytes in ``100M``, in powers of 1024.

    Raises:
        InvalidRequest: it is no such size.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"{text[:40]!r} is no size such as 100M or 2G", effect=_EFFECT)
    return int(float(found[1]) * _BYTES[found[2]])
