"""What keeps a box apart from the rest of the system: name spaces where these work, or plain folders."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from remote_gpu_trainer.emulator.box import lent
from remote_gpu_trainer.emulator.box.disk import SYSTEM_LINKS, Disk
from remote_gpu_trainer.emulator.box.lent.paths import OWN, PathMap
from remote_gpu_trainer.emulator.box.spec import BoxError, Isolation, Network

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
ENTER = Path(lent.__path__[0], "enter.sh")
LINKS_MOST = 40
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
    own_network: bool = False

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
    found = {Path(sys.prefix), Path(sys.base_prefix)}
    program = Path(sys.executable)
    for _ in range(LINKS_MOST):  # a virtual environment's interpreter may lead to the real one by several links
        found.add(program.parent.parent)
        if not program.is_symlink():
            break
        program = program.parent / program.readlink()
    found |= {path.resolve() for path in found}
    return sorted(str(path) for path in found if str(path) != "/" and not path.is_relative_to("/usr"))


def python_path() -> str:
    """Folders that hold ``python3`` with this interpreter's packages."""
    folders = [str(Path(sys.prefix, "bin")), str(Path(sys.executable).parent)]
    return ":".join(dict.fromkeys(folder for folder in folders if Path(folder, "python3").exists()))


def choose(wanted: Isolation, disk: Disk, hostname: str, network: Network = "shared") -> Walls:
    """The kind of isolation that is wanted, or with "auto" the strongest that works here.

    Raises BoxError when a kind that was named does not work, or a network of its own cannot be had.
    """
    if network == "own":
        if why := _why_no_network(wanted):
            raise BoxError(f"no network of its own: {why}. The box was not started.")
        return _bubblewrap(disk, hostname, network)
    if wanted == "none":
        return _plain(disk, "as asked")
    reasons: list[str] = []
    for kind, why_not, build in (
        ("bubblewrap", why_no_bubblewrap, _bubblewrap),
        ("unshare", why_no_unshare, _unshare),
    ):
        if wanted not in ("auto", kind):
            continue
        if not (reason := why_not()):
            return build(disk, hostname)
        reasons.append(reason)
    if wanted != "auto":
        raise BoxError(f"no isolation by {wanted}: {reasons[0]}. The box was not started.")
    return _plain(disk, f"because {'; '.join(reasons)}")


def _why_no_network(wanted: str) -> str:
    return why_no_bubblewrap() if wanted in ("auto", "bubblewrap") else f"only bubblewrap gives one, not {wanted}"


def prospect(wanted: str, network: str = "shared") -> str:
    """How boxes will be kept apart, in one sentence; what is in force for one box is told by the box itself."""
    if network == "own":
        if why := _why_no_network(wanted):
            return f"no box can start, for none can have a network of its own: {why}"
        return "bubblewrap: own mount, process, IPC, host and network name space; no way out"
    if wanted == "none":
        return "none (as asked): plain folders, processes of the same user and host"
    if not (first := why_no_bubblewrap()):
        return "bubblewrap: own mount, process, IPC and host name space; the network is shared"
    if not (second := why_no_unshare()):
        return "unshare: own mount, process, IPC and host name space; the network is shared"
    return f"none ({first}; {second}): plain folders, processes of the same user and host"


def _shown(disk: Disk) -> list[tuple[str, str]]:
    """What a box with a mount name space sees of this system, read-only: here, and there."""
    etc = [(str(source.resolve()), f"/etc/{name}") for name in SHARED_ETC if (source := Path("/etc", name)).exists()]
    python = [(str(Path(folder).resolve()), folder) for folder in python_folders()]
    return [*etc, *python, (str(disk.lent), LENT_AT)]


def _system() -> list[str]:
    """Folders of programs that are no mere links to ``/usr``."""
    names = ("usr", *SYSTEM_LINKS)
    return [f"/{name}" for name in names if Path("/", name).is_dir() and not Path("/", name).is_symlink()]


def _text(how: str, network: str = "the network is shared") -> str:
    user = "root" if os.geteuid() == 0 else "a user name space"
    return (
        f"{how} ({user}): own mount, process, IPC and host name space; {network}; "
        "disk size by measuring: SFTP says ENOSPC, processes get EFBIG"
    )


def _bubblewrap(disk: Disk, hostname: str, network: Network = "shared") -> Walls:
    prefix = [*_bubblewrap_base(disk.root), "--hostname", hostname, "--as-pid-1"]
    for source, place in _shown(disk):
        prefix += ["--ro-bind", source, place]
    for folder, place in disk.mounts:
        prefix += ["--bind", str(folder), place]
    if network == "shared":
        return Walls(_text("bubblewrap"), LENT_AT, [*prefix, "--chdir", "/"], own_pids=True)
    text = _text("bubblewrap", "its own network, with no way out")
    return Walls(text, LENT_AT, [*prefix, "--unshare-net", "--chdir", "/"], own_pids=True, own_network=True)


def _unshare(disk: Disk, hostname: str) -> Walls:
    shown = [*((folder, folder) for folder in _system()), *_shown(disk)]
    command = _unshare_command(disk.root, hostname, shown, disk.mounts)
    return Walls(_text("unshare"), LENT_AT, command, own_pids=True)


def _unshare_command(
    root: Path, hostname: str, shown: list[tuple[str, str]], mounts: tuple[tuple[Path, str], ...] = ()
) -> list[str]:
    spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts"]
    spaces += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    read = [f"{here}:{there}" for here, there in shown]
    written = [f"{folder}:{place}" for folder, place in mounts]
    return [*spaces, "/bin/sh", str(ENTER), str(root), hostname, *read, "-w", *written, "--"]


def _bubblewrap_base(root: Path) -> list[str]:
    base = ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--bind", str(root), "/"]
    if os.geteuid() == 0:
        base += ["--cap-drop", "ALL", *(word for name in KEPT_CAPABILITIES for word in ("--cap-add", name))]
    else:
        base += ["--unshare-user", "--uid", "0", "--gid", "0"]
    for folder in _system():
        base += ["--ro-bind", folder, folder]
    return [*base, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"]


def _plain(disk: Disk, why: str) -> Walls:
    base = str(disk.root.resolve())
    volumes = [str(folder) for folder, _ in disk.mounts]
    keep = tuple(dict.fromkeys([*python_folders(), str(disk.host), str(disk.host.resolve()), *volumes]))
    own = tuple(place.strip("/") for _, place in disk.mounts)
    return Walls(
        f"none ({why}): plain folders, paths rewritten in commands and scripts, processes of the same user and host; "
        "disk size by measuring: SFTP says ENOSPC, processes get EFBIG",
        str(disk.lent),
        paths=PathMap(base, keep, (*OWN, *own)),
    )


def why_no_bubblewrap() -> str:
    """Why bubblewrap cannot be used here; empty when it can. Tried once, with a command in a folder of its own."""
    return _tried("bwrap")


def why_no_unshare() -> str:
    """Why ``unshare`` cannot be used here; empty when it can. Tried once, with a command in a folder of its own."""
    return _tried("unshare")


@cache
def _tried(program: str) -> str:
    if sys.platform != "linux":
        return "this system is not Linux"
    needed = [program] if program == "bwrap" else [program, "mount", "pivot_root", "setpriv", "hostname"]
    if absent := [name for name in needed if shutil.which(name) is None]:
        return f"{', '.join(absent)} is not installed"
    with tempfile.TemporaryDirectory(prefix="rgt-box-") as folder:
        for name in SYSTEM_LINKS:
            if (system := Path("/", name)).is_symlink():
                Path(folder, name).symlink_to(system.readlink())
        if program == "bwrap":
            enter = [*_bubblewrap_base(Path(folder)), "--as-pid-1", "--hostname", "box"]
        else:
            enter = _unshare_command(Path(folder), "box", [(each, each) for each in _system()])
        try:
            done = subprocess.run(
                [*enter, "/bin/sh", "-c", "test $$ = 1"], capture_output=True, timeout=TRY_MOST_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            return f"{program} does not run here: {problem}"
    said = done.stderr.decode(errors="replace").strip()[-200:]
    return "" if done.returncode == 0 else f"{program} does not work here: {said or done.returncode}"
