"""What is about to leave for a box, as the facts that the rules look at."""

from pathlib import Path

from remote_gpu_trainer.domain.artifacts import Route
from remote_gpu_trainer.domain.instances import Instance
from remote_gpu_trainer.rules.facts import PushFacts, PushFile, SecretSighting
from remote_gpu_trainer.transfer.push import Survey

MANY_BYTES = 64 << 20
MANY_FILES = 1000
_LOOK = 4096


def is_large(seen: Survey) -> bool:
    """Whether the room on the box is worth a look first; of a small push the box itself says when it is full."""
    return seen.files >= MANY_FILES or seen.bytes >= MANY_BYTES


def push_facts(
    instance: Instance,
    source: Path,
    destination: str,
    seen: Survey,
    route: Route,
    room: tuple[int | None, int | None],
) -> PushFacts:
    """The facts of one push. Reads the beginnings of scripts: blocking."""
    free_bytes, free_inodes = room
    return PushFacts(
        instance=instance,
        destination=destination,
        files=tuple(
            PushFile(path=path, size=size, crlf_script=_windows_ends(source, path)) for path, size in seen.scripts
        ),
        more_files=seen.files - len(seen.scripts),
        more_bytes=seen.bytes - sum(size for _, size in seen.scripts),
        secrets=tuple(SecretSighting(place=place, kind=kind) for place, kind in seen.secrets),
        route=route,
        free_bytes=free_bytes,
        free_inodes=free_inodes,
    )


def _windows_ends(source: Path, path: str) -> bool:
    place = source / path if source.is_dir() else source
    try:
        with place.open("rb") as file:
            return b"\r\n" in file.read(_LOOK)
    except OSError:
        return False  # a file that cannot be read is named by the push itself
