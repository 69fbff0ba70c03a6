"""Requests for the platform's own copies: the rescue of a stopped box, and the sync with a cloud connection."""

import posixpath
import shlex
from collections.abc import Sequence
from typing import Literal

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.vastai.calls import About, Call, Repeat

Direction = Literal["instance-to-cloud", "cloud-to-instance"]
_TRANSFER: dict[Direction, str] = {
    "instance-to-cloud": "Instance To Cloud",
    "cloud-to-instance": "Cloud To Instance",
}
RSYNC_USER = "vastai_kaalia"
"""The user of the machine's rsync daemon over SSH (official CLI 1.9.1); the module is the instance's id."""
COMMANDS = frozenset({"ls", "du"})
"""The platform also runs ``rm``; nothing here deletes on a rented disk by that way."""
MOST_COMMAND = 512
"""Characters (OpenAPI 2026-08)."""
_FORBIDDEN_TARGETS = frozenset({"/", "/root"})


def rsync_call(instance_id: InstanceId, remote_path: str) -> Call:
    """Ask from where a path of an instance's disk can be read; the local side is null, as the CLI sends it."""
    return Call(
        f"asking for the copy address of instance {instance_id}",
        "PUT",
        "/api/v0/commands/rsync/",
        "copy",
        Repeat.READ,
        "Nothing was copied.",
        About.INSTANCE,
        {"client_id": "me", "src_id": str(instance_id), "dst_id": None, "src_path": remote_path, "dst_path": "."},
    )


def cloud_call(
    instance_id: InstanceId, *, source: str, target: str, connection: str, direction: Direction, flags: Sequence[str]
) -> Call:
    """Ask for a sync with a cloud connection of the account, whose credentials the host then holds for a while.

    Raises:
        InvalidRequest: it would write into ``/`` or ``/root`` of the instance, or delete.
    """
    into = posixpath.normpath("/" + target.lstrip("/")) if direction == "cloud-to-instance" else ""
    if into in _FORBIDDEN_TARGETS or into.startswith("/root/.ssh"):
        raise InvalidRequest(
            f"copying into {into} breaks the instance's SSH",
            next_step="copy into /workspace",
            effect="Nothing was copied.",
        )
    if any("delete" in flag for flag in flags):
        raise InvalidRequest(
            "a sync that deletes is not offered", next_step="leave the delete flags out", effect="Nothing was copied."
        )
    return Call(
        f"syncing instance {instance_id} with a cloud connection",
        "POST",
        "/api/v0/commands/rclone/",
        "copy",
        Repeat.ONCE,
        "Nothing was copied.",
        About.INSTANCE,
        {
            "instance_id": str(instance_id),
            "src": source,
            "dst": target,
            "selected": connection,
            "transfer": _TRANSFER[direction],
            "flags": list(flags),
        },
    )


def command_call(instance_id: InstanceId, argv: Sequence[str]) -> Call:
    """Ask for ``ls`` or ``du`` on an instance's disk; by some reports only a stopped one answers.

    Raises:
        InvalidRequest: another command, or longer than the platform takes.
    """
    text = shlex.join(argv)
    if not argv or argv[0] not in COMMANDS or len(text) > MOST_COMMAND:
        raise InvalidRequest(
            f"only {', '.join(sorted(COMMANDS))} of at most {MOST_COMMAND} characters can be run this way",
            next_step="use the machine's SSH for anything else",
            effect="Nothing was run.",
        )
    return Call(
        f"running {argv[0]} on instance {instance_id}",
        "PUT",
        f"/api/v0/instances/command/{instance_id}/",
        "command",
        Repeat.READ,
        "Nothing was run.",
        About.INSTANCE,
        {"command": text},
    )
