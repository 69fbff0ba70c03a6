"""The disk of a box: a real folder that is its ``/``, and a folder beside it with what only the host sees."""

import errno
import os
import posixpath
import re
import shutil
import stat
import subprocess
import threading
import time
from pathlib import Path

from remote_gpu_trainer.emulator.box.rooted import Rooted
from remote_gpu_trainer.emulator.box.spec import BoxError, BoxSpec

FOLDERS = ("workspace", "root/.ssh", "tmp", "etc/ssh", "home", "opt", "run", "mnt", "var/tmp", "var/log", "usr", "proc")
SYSTEM_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
COMMANDS = frozenset({"ls", "rm", "du"})
OPTION = re.compile(
    r"-[A-CE-GI-KM-Za-z0-9]+|--(all|human-readable|recursive|force|summarize|apparent-size|max-depth=\d+)"
)
"""What may be asked of them: nothing that follows links or reads names from files."""
COMMAND_MOST_S = 10.0
FRESH_S = 0.25
"""A measure of the disk is taken anew after this long, or after 20 times what taking it costs."""

USERS_FILE = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUP = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


class Disk:
    """The folder ``root`` with the box's files; ``host`` beside it for logs, keys and what is lent to the box."""

    def __init__(self, spec: BoxSpec) -> None:
        self.root = spec.root.absolute()
        self.host = self.root.with_name(self.root.name + ".host")
        self.lent = self.host / "lent"
        self.mounts = tuple((folder.absolute(), place) for folder, place in spec.mounts)
        self._spec = spec
        self._lock = threading.Lock()
        self._used, self._largest, self._measured_at, self._took = 0, 0, float("-inf"), 0.0

    def create(self) -> None:
        """Make what is missing; keeps what is there."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in SYSTEM_LINKS:
            system, here = Path("/", name), self.root / name
            if system.is_symlink() and not here.is_symlink() and not here.exists():
                here.symlink_to(system.readlink())
        for folder in (self.root / "tmp", self.root / "var/tmp"):
            folder.chmod(0o1777)
        self.host.mkdir(mode=0o700, exist_ok=True)
        self.lent.mkdir(exist_ok=True)
        texts = {
            "passwd": USERS_FILE,
            "group": GROUP,
            "nsswitch.conf": NSSWITCH,
            "hostname": self._spec.hostname + "\n",
            "hosts": f"127.0.0.1 localhost {self._spec.hostname}\n",
        }
        for name, text in texts.items():
            if not (self.root / "etc" / name).exists():
                (self.root / "etc" / name).write_text(text)

    def link_mounts(self) -> None:
        """Where nothing can be mounted, let links stand for it. Raises BoxError where something is in the way."""
        for folder, place in self.mounts:
            here = self.root / place.lstrip("/")
            here.parent.mkdir(parents=True, exist_ok=True)
            if here.is_symlink():
                here.unlink()
            elif here.is_dir() and not any(here.iterdir()):
                here.rmdir()
            elif here.exists():
                raise BoxError(f"{place} holds files already, so no volume can lie there. The box was not started.")
            here.symlink_to(folder)

    def write_onstart(self, text: str) -> None:
        """Put the script that runs at every start where the platform puts it, ``/root/onstart.sh``."""
        path = self.root / "root/onstart.sh"
        if path.is_symlink() or path.is_dir():
            raise BoxError("/root/onstart.sh is no plain file any more. The box was not started.")
        path.write_text(text if text.endswith("\n") or not text else text + "\n")
        path.chmod(0o755)

    def used_bytes(self, *, fresh_s: float = FRESH_S) -> int:
        """Bytes in files, by their sizes; measured at most every ``fresh_s`` seconds."""
        self._measure(fresh_s)
        return self._used

    @property
    def last_used_bytes(self) -> int:
        """The last measure, however old."""
        return self._used

    def free_bytes(self) -> int:
        """Bytes until the disk is full, never negative."""
        return max(0, self._spec.disk_bytes - self.used_bytes())

    def written(self, count: int) -> None:
        """Add what a writer has just put on the disk to the last measure."""
        with self._lock:
            self._used += count

    def check_room(self, count: int) -> None:
        """Raises OSError ENOSPC when ``count`` more bytes do not fit."""
        if self._used + count > self._spec.disk_bytes and self.used_bytes() + count > self._spec.disk_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def file_size_limit(self) -> int:
        """The longest file that a process of the box may write now: nothing once the disk is full."""
        if self.free_bytes() < self._spec.disk_bytes // 16:
            self._measure(0.0)
        free = max(0, self._spec.disk_bytes - self._used)
        return free + self._largest if free else 0

    def _measure(self, fresh_s: float) -> None:
        with self._lock:
            began = time.monotonic()
            if began - self._measured_at < max(fresh_s, 20 * self._took):
                return
            self._used, self._largest = _measure(self.root)
            self._measured_at = time.monotonic()
            self._took = self._measured_at - began

    def run(self, argv: list[str]) -> str:
        """``ls``, ``rm`` or ``du`` on the disk, paths below it; what it prints, errors included."""
        if not argv or argv[0] not in COMMANDS:
            raise BoxError(f"only {', '.join(sorted(COMMANDS))} run on a stopped box, not {argv[:1]}. Nothing was run.")
        if not self.root.is_dir():
            return f"{argv[0]}: the box has no disk yet\n"
        inside = Rooted(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY))
        try:
            words = [
                argv[0],
                *(word if word.startswith("-") else self._real(inside, argv[0], word) for word in argv[1:]),
            ]
        finally:
            inside.close()
        if wrong := next((word for word in words[1:] if word.startswith("-") and not OPTION.fullmatch(word)), None):
            return f"{argv[0]}: unrecognized option '{wrong}'\n"
        if argv[0] == "rm" and str(self.root) in words:
            return "rm: refusing to remove '/'\n"
        if all(word.startswith("-") for word in words[1:]):
            words.append(str(self.root))
        quiet = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(words, capture_output=True, timeout=COMMAND_MOST_S, check=False, env=quiet)
        except subprocess.TimeoutExpired:
            return f"{argv[0]}: stopped after {COMMAND_MOST_S:.0f} s\n"
        printed = (done.stdout + done.stderr).decode(errors="replace")
        return printed.replace(str(self.root.resolve()), "").replace(str(self.root), "")

    def _real(self, inside: Rooted, command: str, word: str) -> str:
        """Where a path of the box really lies; links are followed inside only, and the last one not for ``rm``."""
        path = posixpath.normpath("/" + word)
        if command != "rm":
            return str(self.root) + inside.real_path(path).rstrip("/")
        parent, name = posixpath.split(path)
        return posixpath.join(str(self.root) + inside.real_path(parent).rstrip("/"), name).rstrip("/")

    def delete(self) -> None:
        """Remove the disk and what the host knew about the box."""
        for folder in (self.root, self.host):
            if folder.exists():
                _unlock(folder)
                shutil.rmtree(folder)


def _unlock(top: Path) -> None:
    """Make every folder below one that can be emptied, whatever the box made of it."""
    for folder, below, _ in os.walk(top):
        for name in below:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, stat.S_IRWXU)


def _measure(top: Path) -> tuple[int, int]:
    used, largest, folders, seen = 0, 0, [str(top)], set[tuple[int, int]]()
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        continue
                    info = entry.stat(follow_symlinks=False)
                    if info.st_nlink > 1:
                        if (info.st_dev, info.st_ino) in seen:
                            continue
                        seen.add((info.st_dev, info.st_ino))
                    used, largest = used + info.st_size, max(largest, info.st_size)
        except OSError:  # the box changes its folders while we look
            continue
    return used, largest
