"""What keeps a box apart from the rest of the system: bubblewrap where it works, plain folders elsewhere."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from remote_gpu_trainer.emulator.box.disk import SYSTEM_LINKS, Disk
from remote_gpu_trainer.emulator.box.lent.paths import PathMap
from remote_gpu_trainer.emulator.box.spec import Isolation

LENT_AT = "/opt/box"
"""Where a box with a mount namespace finds what the host lends it."""
SHARED_ETC = (
    "ssl", "pki", "ca-certificates", "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
    "resolv.conf", "terminfo", "protocols", "services",
)  # fmt: skip
KEPT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_SETFCAP",
)  # fmt: skip
TRY_MOST_S = 10.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Walls:
    """How the processes of one box are started.

    ``prefix`` goes before the first process' command line; ``lent`` is where the box finds what the host lends it;
    ``paths`` rewrites paths where there is no mount namespace; ``text`` says what is in force.
    """

    text: str
    lent: str
    prefix: list[str] = field(default_factory=list[str])
    paths: PathMap | None = None
    own_pids: bool = False

    @property
    def base(self) -> str:
        """The box's ``/`` as its own processes must name it."""
        return self.paths.base if self.paths else ""

    def command(self, text: str) -> str:
        """A shell command as it must be run."""
        return self.paths.text(text) if self.paths else text

    def for_people(self, output: bytes) -> bytes:
        """Output with the box's own paths."""
        return self.paths.back(output) if self.paths else output


def python_folders() -> list[str]:
    """This interpreter's folders: a box borrows them, so that what is installed here trains there."""
    found = {str(Path(path).resolve()) for path in (sys.prefix, sys.base_prefix)} | {sys.prefix, sys.base_prefix}
    return sorted(path for path in found if not Path(path).is_relative_to("/usr"))


def python_path() -> str:
    """Folders that hold ``python3`` with this interpreter's packages."""
    folders = [str(Path(sys.prefix, "bin")), str(Path(sys.executable).parent)]
    return ":".join(dict.fromkeys(folder for folder in folders if Path(folder, "python3").exists()))


def choose(wanted: Isolation, disk: Disk, hostname: str) -> Walls:
    """The strongest isolation that works here, or plain folders where these are wanted."""
    if wanted == "auto" and bubblewrap_works():
        return _bubblewrap(disk, hostname)
    why = "as asked" if wanted == "none" else f"because {why_no_bubblewrap()}"
    return _plain(disk, why)


def _bubblewrap(disk: Disk, hostname: str) -> Walls:
    prefix = [*_bubblewrap_base(disk.root), "--hostname", hostname, "--as-pid-1"]
    for name in SHARED_ETC:
        if (source := Path("/etc", name)).exists():
            prefix += ["--ro-bind", str(source.resolve()), f"/etc/{name}"]
    for folder in python_folders():
        prefix += ["--ro-bind", str(Path(folder).resolve()), folder]
    prefix += ["--ro-bind", str(disk.lent), LENT_AT, "--chdir", "/"]
    user = "root" if os.geteuid() == 0 else "a user namespace"
    return Walls(
        f"bubblewrap ({user}): own mount, process, IPC and host name space; the network is shared; "
        "disk size by measuring: SFTP says ENOSPC, processes get EFBIG",
        LENT_AT,
        prefix,
        own_pids=True,
    )


def _bubblewrap_base(root: Path) -> list[str]:
    base = ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--bind", str(root), "/"]
    if os.geteuid() == 0:
        base += ["--cap-drop", "ALL", *(word for name in KEPT_CAPABILITIES for word in ("--cap-add", name))]
    else:
        base += ["--unshare-user", "--uid", "0", "--gid", "0"]
    for name in ("usr", *SYSTEM_LINKS):
        if Path("/", name).is_dir() and not Path("/", name).is_symlink():
            base += ["--ro-bind", f"/{name}", f"/{name}"]
    return [*base, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"]


def _plain(disk: Disk, why: str) -> Walls:
    base = str(disk.root.resolve())
    keep = tuple(dict.fromkeys([*python_folders(), str(disk.host), str(disk.host.resolve())]))
    return Walls(
        f"none ({why}): plain folders, paths rewritten in commands and scripts, processes of the same user and host; "
        "disk size by measuring: SFTP says ENOSPC, processes get EFBIG",
        str(disk.lent),
        paths=PathMap(base, keep),
    )


@cache
def why_no_bubblewrap() -> str:
    """Why bubblewrap cannot be used here; empty when it can. Tried once, with a command in a folder of its own."""
    if sys.platform != "linux":
        return "this system is not Linux"
    if shutil.which("bwrap") is None:
        return "bubblewrap (bwrap) is not installed"
    with tempfile.TemporaryDirectory(prefix="rgt-box-") as folder:
        for name in SYSTEM_LINKS:
            if (system := Path("/", name)).is_symlink():
                Path(folder, name).symlink_to(system.readlink())
        try:
            done = subprocess.run(
                [*_bubblewrap_base(Path(folder)), "--as-pid-1", "--hostname", "box", "/bin/sh", "-c", "test $$ = 1"],
                capture_output=True,
                timeout=TRY_MOST_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            return f"bubblewrap does not run here: {problem}"
    said = done.stderr.decode(errors="replace").strip()[-200:]
    return "" if done.returncode == 0 else f"bubblewrap does not work here: {said or done.returncode}"


def bubblewrap_works() -> bool:
    """Whether bubblewrap can isolate a box here."""
    return not why_no_bubblewrap()
