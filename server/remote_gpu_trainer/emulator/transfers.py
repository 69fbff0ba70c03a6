"""Copies that the platform makes itself: between instances, volumes and clouds, told in ``status_msg`` 30 s late."""

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from remote_gpu_trainer.emulator.contracts import Contract
from remote_gpu_trainer.emulator.world import World

NEWS_LATE_S = 30.0
SETUP_S = 3.0


class BadPath(ValueError):
    """A path that leaves its root, or that is not there."""


@dataclass
class Transfer:
    """One copy under way: files move at ``ends_at`` (emulated), and the message follows later."""

    source: Path
    target: Path
    starts_at: float
    ends_at: float
    size: int
    sender: int | None
    receiver: int | None
    finished_message: str
    contents_only: bool = False
    """The trailing slash of rsync: what is in a folder, not the folder."""
    breaks_ssh: bool = False
    told: bool = False
    copied: bool = False

    @property
    def next_at(self) -> float | None:
        """When it next does something."""
        if not self.told:
            return self.starts_at + min(NEWS_LATE_S, self.ends_at - self.starts_at)
        return self.ends_at if not self.copied else self.ends_at + NEWS_LATE_S


def inside(root: Path, path: str) -> Path:
    """Where ``path`` of a box or cloud lies on this disk. Raises BadPath when it leaves ``root``."""
    if "\0" in path:
        raise BadPath("a path cannot hold NUL")
    found = (root / str(PurePosixPath("/", path)).lstrip("/")).resolve()
    if not found.is_relative_to(root.resolve()):
        raise BadPath(f"{path} leaves the instance")
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(entry.lstat().st_size for entry in path.rglob("*") if entry.is_file() and not entry.is_symlink())


def copy_tree(source: Path, target: Path, *, contents_only: bool) -> None:
    """Copy as rsync does: ``contents_only`` is the trailing slash. Special files are left out."""
    target.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        into = target if contents_only else target / source.name
        shutil.copytree(source, into, symlinks=True, dirs_exist_ok=True, ignore=_special)
    else:
        shutil.copy2(source, target / source.name)


def _special(folder: str, names: list[str]) -> list[str]:
    return [n for n in names if not (p := Path(folder, n)).is_symlink() and not p.is_dir() and not p.is_file()]


class Transfers:
    """The copies under way in a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.open: list[Transfer] = []

    def begin(self, transfer: Transfer) -> None:
        """Start one."""
        self.open.append(transfer)

    def cancel(self, receiver: int) -> int:
        """Drop those into one instance that have not finished; how many."""
        keep = [t for t in self.open if t.receiver != receiver and t.sender != receiver]
        dropped = len(self.open) - len(keep)
        self.open = keep
        return dropped

    def seconds(self, size: int, *ends: Contract | None) -> float:
        """Emulated seconds over the slower link."""
        machines = [self._world.machine_of(c) for c in ends if c is not None]
        slowest = min((min(m.inet_up, m.inet_down) for m in machines), default=800.0)
        return SETUP_S + size * 8 / (max(slowest, 1.0) * 1e6)

    def next_event(self) -> float | None:
        """When the next of them does something."""
        return min((t.next_at for t in self.open if t.next_at is not None), default=None)

    def step(self) -> None:
        """Do what is due."""
        now = self._world.now
        for transfer in [t for t in self.open if t.next_at is not None and t.next_at <= now]:
            if not transfer.told:
                transfer.told = True
                self._tell(transfer, f"Copying {transfer.size / 1e6:.1f} MB")
            elif not transfer.copied:
                transfer.copied = True
                self._move(transfer)
            else:
                self._tell(transfer, transfer.finished_message)
                self.open.remove(transfer)

    def _tell(self, transfer: Transfer, message: str) -> None:
        for number in (transfer.sender, transfer.receiver):
            contract = self._world.contracts.get(number) if number is not None else None
            if contract is not None:
                self._world.touch(contract)
                contract.message = message

    def _move(self, transfer: Transfer) -> None:
        world = self._world
        source, target, only = transfer.source, transfer.target, transfer.contents_only
        world.fleet.background(lambda: copy_tree(source, target, contents_only=only))
        for number, sent in ((transfer.sender, True), (transfer.receiver, False)):
            if number is not None:
                world.bytes_passed(number, transfer.size if sent else 0, 0 if sent else transfer.size)
        if transfer.breaks_ssh and transfer.receiver is not None and (box := world.fleet.get(transfer.receiver)):
            box.set_authorized_keys([])
