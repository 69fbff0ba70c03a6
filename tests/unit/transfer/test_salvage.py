"""Reading the disk of a machine that does not run, over a real rsync daemon in real SSH."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.domain.artifacts import CopyReceipt, Route
from remote_gpu_trainer.domain.ids import CopyId, InstanceId
from remote_gpu_trainer.domain.units import UsdPerGB
from remote_gpu_trainer.emulator.box import MachineRsync
from remote_gpu_trainer.errors import (
    ConnectionCut,
    HostKeyChanged,
    InvalidRequest,
    LimitExceeded,
    LocalDiskFull,
    RemoteCommandFailed,
    RouteRefused,
    TransferError,
)
from remote_gpu_trainer.ssh import ParamikoConnector
from remote_gpu_trainer.transfer import CopyLimits, recheck_local
from remote_gpu_trainer.transfer.limits import Progress
from remote_gpu_trainer.transfer.rescue import LEAST, Door, demand_versions
from remote_gpu_trainer.transfer.salvage import salvage
from tests.unit.transfer.conftest import LEASE, LIMITS, RealClock
from tests.unit.transfer.littledisk import little_disk

RSYNC = shutil.which("rsync")
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not RSYNC or not shutil.which("ssh"), reason="rsync or the ssh client is not installed"),
]


@dataclass
class Machine:
    """A machine whose rsync serves the disk of instance 7."""

    disk: Path
    served: MachineRsync
    connector: ParamikoConnector
    moved: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])

    @property
    def out(self) -> Path:
        """``/workspace/out`` on the real disk."""
        return self.disk / "workspace" / "out"

    def door(self, module: str = "7") -> Door:
        ssh = self.connector.machine_shell(LEASE, "127.0.0.1", self.served.port or 0)
        return Door(ssh=ssh, user="vastai_kaalia", host="127.0.0.1", module=module)

    async def salvage(self, home: Path, *roots: str, **other: Any) -> CopyReceipt:
        """Copy; ``/workspace/out`` unless other roots are named."""
        settings: dict[str, Any] = {"limits": LIMITS, "progress": None, **other}
        return await salvage(
            settings.pop("door", None) or self.door(),
            roots=roots or ("/workspace/out",),
            destination=home,
            lease=LEASE,
            instance_id=InstanceId(7),
            route_reason="the instance is stopped",
            egress_usd_per_gb=UsdPerGB(0.02),
            clock=RealClock(),
            copy_id=CopyId("copy-1"),
            **settings,
        )


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    disk, connector = tmp_path / "disk", ParamikoConnector(tmp_path / "keys", clock=RealClock())
    (disk / "workspace" / "out").mkdir(parents=True)
    served = MachineRsync(tmp_path / "machine", lambda: {7: disk}, lambda: [connector.public_key()])
    await served.start()
    yield Machine(disk, served, connector)
    await served.stop()


def tree(folder: Path) -> dict[str, bytes]:
    """All plain files below a folder but the unfinished ones."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / ".rgt-partial")
    }


@pytest.fixture
def shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script before the real rsync on the path."""

    def put(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "rsync").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "rsync").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return put


async def test_a_stopped_disk_comes_home_compared_hashed_and_with_what_was_left(
    machine: Machine, tmp_path: Path
) -> None:
    contents = {"model.bin": os.urandom(300_000), "a/b/log with space.txt": b"hello\n", "empty": b"", "ü": b"u"}
    for name, content in contents.items():
        (machine.out / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.out / name).write_bytes(content)
    (machine.out / "link").symlink_to("/etc/passwd")
    os.mkfifo(machine.out / "pipe")
    (machine.out / "e\nvil").write_bytes(b"e")
    (machine.disk / "workspace" / "data.bin").write_bytes(bytes(500))
    receipt = await machine.salvage(tmp_path / "home")
    assert tree(tmp_path / "home") == contents
    assert {e.path: e.sha256 for e in receipt.manifest.entries} == {
        name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
    }
    assert receipt.route is Route.MACHINE_RSYNC
    assert "protocol 32 there" in receipt.route_reason
    assert receipt.bytes_transferred > 300_000
    assert receipt.cost == pytest.approx(receipt.bytes_transferred / 1e9 * 0.02)
    assert {e.reason.split(",")[0] for e in receipt.skipped} >= {"a symlink", "a fifo"}
    assert len(receipt.skipped) == 3
    assert [(e.path, e.size) for e in receipt.not_copied] == [("/workspace/data.bin", 500)]
    assert recheck_local(receipt) == []


async def test_a_second_rescue_fetches_nothing_and_a_changed_file_anew(machine: Machine, tmp_path: Path) -> None:
    (machine.out / "f").write_bytes(b"one")
    first = await machine.salvage(tmp_path / "home")
    second = await machine.salvage(tmp_path / "home")
    assert (second.bytes_transferred, second.manifest) == (0, first.manifest)
    (machine.out / "f").write_bytes(b"three")
    await machine.salvage(tmp_path / "home")
    assert tree(tmp_path / "home") == {"f": b"three"}


async def test_links_at_the_destination_are_not_followed(machine: Machine, tmp_path: Path) -> None:
    outside, home = tmp_path / "outside", tmp_path / "home"
    outside.mkdir()
    home.mkdir()
    (home / "sub").symlink_to(outside)
    (machine.out / "sub").mkdir()
    (machine.out / "sub" / "inner").write_bytes(b"evil")
    receipt = await machine.salvage(home)
    assert tree(outside) == {}
    assert [entry.path for entry in receipt.skipped] == ["sub/inner"]


async def test_an_old_rsync_here_is_refused_by_its_version(
    machine: Machine, tmp_path: Path, shadowed: Callable[[str], None]
) -> None:
    shadowed("echo 'rsync  version 3.4.1  protocol version 32'")
    with pytest.raises(RouteRefused, match=r"this computer is 3\.4\.1.*older than 3\.5\.0.*Nothing was copied"):
        await machine.salvage(tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("greeting", "said"),
    [("@RSYNCD: 31.0 md5 md4", "speaks protocol 31"), ("hello", "does not say what it is")],
)
async def test_an_old_or_silent_rsync_over_there_is_refused(tmp_path: Path, greeting: str, said: str) -> None:
    fake = tmp_path / "ssh"
    fake.write_text(f"#!/bin/sh\nread hello\necho '{greeting}'\n")
    door = Door(ssh=("sh", str(fake)), user="u", host="h", module="7")
    with pytest.raises(RouteRefused, match=f"{said}.*Nothing was copied"):
        await demand_versions(door)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("rsync  version 3.4.1  protocol version 32", None),
        ("rsync  version v3.5.2  protocol version 32", "protocol 32 there, 3.5.2 by its own word"),
        ("This account serves rsync alone.", "the machine does not tell its version"),
    ],
)
async def test_a_machine_that_says_its_version_is_taken_at_its_word(
    tmp_path: Path, answer: str, outcome: str | None
) -> None:
    fake = tmp_path / "ssh"
    greeting = "read hello; echo '@RSYNCD: 32.0 md5 md4'"
    fake.write_text(f"#!/bin/sh\ncase \"$*\" in *--version) echo '{answer}';; *) {greeting};; esac\n")
    door = Door(ssh=("sh", str(fake)), user="u", host="h", module="7")
    if outcome is not None:
        seen = await demand_versions(door)
        assert outcome in seen.words
        assert seen.told is answer.startswith("rsync")
        return
    with pytest.raises(RouteRefused, match=r"on the machine is 3\.4\.1.*Nothing was copied"):
        await demand_versions(door)


async def test_the_version_that_is_asked_for_is_the_one_that_this_system_ships(machine: Machine) -> None:
    assert LEAST == (3, 5, 0)
    assert "here; protocol" in (await demand_versions(machine.door())).words


async def test_a_disk_that_is_not_served_and_a_path_that_is_not_there_are_named(
    machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(RemoteCommandFailed, match="Unknown module"):
        await machine.salvage(tmp_path / "home", door=machine.door("8"))
    with pytest.raises(InvalidRequest, match="/workspace/nowhere cannot be listed"):
        await machine.salvage(tmp_path / "home", "/workspace/nowhere")


async def test_more_than_the_policy_allows_is_refused_before_the_first_byte(machine: Machine, tmp_path: Path) -> None:
    (machine.out / "f").write_bytes(bytes(2000))
    with pytest.raises(LimitExceeded, match="Nothing was copied"):
        await machine.salvage(tmp_path / "home", limits=CopyLimits(max_bytes=1999, max_files=9, max_depth=9))
    assert not (tmp_path / "home").exists()


async def test_another_host_key_of_the_machine_ends_the_rescue(machine: Machine, tmp_path: Path) -> None:
    (machine.out / "f").write_bytes(b"one")
    await machine.salvage(tmp_path / "home")
    stranger = MachineRsync(tmp_path / "stranger", lambda: {7: machine.disk}, lambda: [machine.connector.public_key()])
    await stranger.start()
    machine.served, first = stranger, machine.served
    try:
        with pytest.raises(HostKeyChanged):
            await machine.salvage(tmp_path / "home")
    finally:
        machine.served = first
        await stranger.stop()


async def test_a_far_side_that_sends_without_end_is_stopped(
    machine: Machine, tmp_path: Path, shadowed: Callable[[str], None]
) -> None:
    (machine.out / "f").write_bytes(b"one")
    endless = "while :; do echo ' 99999999999  99%'; done"
    shadowed(f'case "$*" in *--partial*) {endless};; *) exec {RSYNC} "$@";; esac')
    with pytest.raises(TransferError, match="more than the 3 B that it listed"):
        await machine.salvage(tmp_path / "home")
    assert tree(tmp_path / "home") == {}


async def test_a_file_that_is_another_one_when_it_is_compared_gets_no_name(
    machine: Machine, tmp_path: Path, shadowed: Callable[[str], None]
) -> None:
    (machine.out / "f").write_bytes(b"one")
    (machine.out / "still").write_bytes(b"still")
    shadowed(f'case "$*" in *--checksum*) printf two > {machine.out}/f;; esac; exec {RSYNC} "$@"')
    receipt = await machine.salvage(tmp_path / "home")
    assert tree(tmp_path / "home") == {"still": b"still"}
    assert [(entry.path, entry.reason) for entry in receipt.skipped] == [
        ("f", "its bytes differ from those on the machine")
    ]


async def test_hostile_names_on_the_disk_end_as_named_skips_and_touch_nothing_outside(
    machine: Machine, tmp_path: Path
) -> None:
    (machine.out / "good").write_bytes(b"good")
    (machine.out / "sub").mkdir()
    hostile = ["x\x1b[2J", "a\u202egpj.exe", "new\nline", "b\rc", "C:\\evil", "aux", "dot.", " lead", "GOOD", "SUB"]
    for name in hostile:
        (machine.out / name).write_bytes(b"evil")
    (machine.out / "sub" / "in").write_bytes(b"in")
    (machine.out / os.fsdecode(b"\xff\xfe")).write_bytes(b"evil")
    long = machine.out.joinpath(*["p" * 200] * 6)
    long.mkdir(parents=True)
    (long / "deep").write_bytes(b"evil")
    around = tmp_path / "around"
    (around / "beside").mkdir(parents=True)
    (around / "beside" / "canary").write_bytes(b"alive")
    receipt = await machine.salvage(around / "home")
    assert sorted(os.listdir(around)) == ["beside", "home"]
    assert tree(around / "beside") == {"canary": b"alive"}
    copied = {"GOOD": b"evil", "SUB": b"evil"}
    assert tree(around / "home") == copied
    assert {entry.path for entry in receipt.manifest.entries} == set(copied)
    reasons = {entry.path: entry.reason for entry in receipt.skipped}
    assert reasons["good"] == "collides with GOOD"
    assert reasons["sub/in"] == "collides with SUB"
    for part in ("direction-changing", "backslash", "device's name", "ends with a dot", "longer", "UTF-8"):
        assert any(part in reason for reason in reasons.values()), (part, reasons)
    assert {r"x\#033[2J", r"new\#012line", r"b\#015c"} <= set(reasons), "rsync itself writes control characters so"
    assert all(path.isprintable() and reason.isprintable() for path, reason in reasons.items())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("-rw-r--r--  {ones} 2026/01/01 00:00:00 big", "a size that no file has"),
        ("-rw-r--r--  3 9999/01/01 00:00:00 late", "a time that no file here can have"),
        ("-rw-r--r--  3 2026/99/99 00:00:00 never", "a time that no file here can have"),
        ("-rw-r--r--  3 2026/01/01 00:00:00 ../up", "a component that is '..'"),
        ("-rw-r--r--  3 2026/01/01 00:00:00 /etc/cron.d/evil", "an absolute path"),
        ("brw-r--r--  3 2026/01/01 00:00:00 disk", "a device"),
    ],
)
async def test_a_row_that_no_disk_holds_is_named_and_not_fetched(
    machine: Machine, tmp_path: Path, shadowed: Callable[[str], None], row: str, reason: str
) -> None:
    (machine.out / "still").write_bytes(b"still")
    line = row.replace("{ones}", "1" * 5000)
    shadowed(f'case "$*" in *--list-only*) {RSYNC} "$@"; echo "{line}";; *) exec {RSYNC} "$@";; esac')
    receipt = await machine.salvage(tmp_path / "home")
    assert tree(tmp_path / "home") == {"still": b"still"}
    assert len(receipt.skipped) == 1
    assert reason in receipt.skipped[0].reason


async def test_a_file_that_grows_or_vanishes_while_it_is_fetched_is_noticed(
    machine: Machine, tmp_path: Path, shadowed: Callable[[str], None]
) -> None:
    for name in ("grows", "gone", "still"):
        (machine.out / name).write_bytes(b"one")
    change = f"printf more >> {machine.out}/grows; rm -f {machine.out}/gone"
    shadowed(f'case "$*" in *--partial*) {change};; esac; exec {RSYNC} "$@"')
    receipt = await machine.salvage(tmp_path / "home")
    assert tree(tmp_path / "home") == {"still": b"one"}
    assert {entry.path: entry.reason for entry in receipt.skipped} == {
        "grows": "it arrived with another size than was listed",
        "gone": "it did not arrive as a plain file",
    }


@pytest.fixture
def little(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    with little_disk(tmp_path / "little", 8) as place:
        yield place


async def test_a_disk_that_fills_up_in_the_midst_of_a_rescue_ends_it_and_room_lets_it_go_on(
    machine: Machine, little: Path, shadowed: Callable[[str], None]
) -> None:
    content = os.urandom(3 << 20)
    (machine.out / "big").write_bytes(content)
    shadowed(f'case "$*" in *--partial*) head -c 6800000 /dev/zero > {little}/other;; esac; exec {RSYNC} "$@"')
    with pytest.raises(LocalDiskFull, match="no room is left"):
        await machine.salvage(little / "home")
    assert tree(little / "home") == {}
    (little / "other").unlink()
    shadowed(f'exec {RSYNC} "$@"')
    await machine.salvage(little / "home")
    assert tree(little / "home") == {"big": content}


async def test_a_machine_that_is_gone_is_tried_again_and_then_named(machine: Machine, tmp_path: Path) -> None:
    door = machine.door()
    await machine.served.stop()
    with pytest.raises(ConnectionCut):
        await machine.salvage(tmp_path / "home", door=door)


async def test_a_file_of_the_same_size_and_second_with_other_bytes_is_fetched_again(
    machine: Machine, tmp_path: Path
) -> None:
    for name in ("f", "g"):
        (machine.out / name).write_bytes(b"one")
        os.utime(machine.out / name, (1_700_000_000, 1_700_000_000))
    first = await machine.salvage(tmp_path / "home")
    (machine.out / "f").write_bytes(b"two")
    os.utime(machine.out / "f", (1_700_000_000, 1_700_000_000))
    second = await machine.salvage(tmp_path / "home")
    assert tree(tmp_path / "home") == {"f": b"two", "g": b"one"}
    assert (first.compared, second.compared) == (2, 2)


async def test_a_cancelled_rescue_leaves_no_process_and_goes_on_from_what_it_had(
    machine: Machine, tmp_path: Path, shadowed: Callable[[str], None]
) -> None:
    content, home = os.urandom(12 << 20), tmp_path / "home"
    (machine.out / "big").write_bytes(content)
    shadowed(f'case "$*" in *--partial*) exec {RSYNC} --bwlimit=4000 "$@";; *) exec {RSYNC} "$@";; esac')
    seen: list[int] = []

    def told(progress: Progress) -> None:
        seen.append(progress.bytes_done)
        if progress.bytes_done > 2 << 20:
            scope.cancel()

    with anyio.CancelScope() as scope:
        await machine.salvage(home, progress=told)
    assert scope.cancelled_caught
    assert not [line for line in processes() if str(home) in line or f"-p {machine.served.port}" in line]
    assert tree(home) == {}
    begun = home / ".rgt-partial" / "rescue" / LEASE / "workspace" / "out" / "big"
    assert begun.stat().st_size >= 1 << 20

    (tmp_path / "bin" / "rsync").unlink()
    receipt = await machine.salvage(home)
    assert receipt.bytes_transferred < len(content) - (1 << 20)
    assert tree(home) == {"big": content}


def processes() -> list[str]:
    """Command lines of everything that runs here, but of what only waits to be reaped."""
    lines: list[str] = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return lines
