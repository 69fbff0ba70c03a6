"""SFTP over the root of a box, for the paramiko server."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleMethodOverride=false
# paramiko carries no types, and its base class returns numbers where a real server returns handles.

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.sftp import SFTP_FAILURE, SFTP_NO_SUCH_FILE, SFTP_OK

from remote_gpu_trainer.emulator.box.disk import Disk
from remote_gpu_trainer.emulator.box.rooted import Rooted
from remote_gpu_trainer.emulator.box.running import Running

READ_MOST = 1 << 20
HOME = "/root"
Answer = Any
"""What paramiko sends: attributes, a handle, a list, or one of its status numbers."""


def failure(problem: OSError) -> int:
    """The protocol's word for an error of the system."""
    return int(paramiko.SFTPServer.convert_errno(problem.errno or errno.EIO))


class BoxFile(paramiko.SFTPHandle):
    """One open file."""

    def __init__(self, fd: int, flags: int, disk: Disk) -> None:
        super().__init__(flags)
        self._fd, self._disk, self._append = fd, disk, bool(flags & os.O_APPEND)

    def close(self) -> None:
        """Close the file, once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, offset: int, length: int) -> bytes | int:
        """Up to ``length`` bytes from ``offset``."""
        try:
            return os.pread(self._fd, min(length, READ_MOST), offset)
        except OSError as problem:
            return failure(problem)

    def write(self, offset: int, data: bytes) -> int:
        """All of ``data`` at ``offset``, or at the end in append mode."""
        try:
            size = os.fstat(self._fd).st_size
            grows = len(data) if self._append else max(0, offset + len(data) - size)
            self._disk.check_room(grows)
            view = memoryview(data)
            while view:
                count = os.write(self._fd, view) if self._append else os.pwrite(self._fd, view, offset)
                view, offset = view[count:], offset + count
            self._disk.written(grows)
        except OSError as problem:
            return failure(problem)
        return SFTP_OK

    def stat(self) -> Answer:
        """The file's attributes."""
        try:
            return paramiko.SFTPAttributes.from_stat(os.fstat(self._fd))
        except OSError as problem:
            return failure(problem)

    def chattr(self, attr: Any) -> int:
        """Change the file's attributes."""
        try:
            change(self._fd, attr, self._disk)
        except OSError as problem:
            return failure(problem)
        return SFTP_OK


def change(fd: int, attr: Any, disk: Disk) -> None:
    """Set of an open file what ``attr`` names: size, mode, owner, times. Raises OSError."""
    if attr._flags & attr.FLAG_SIZE:
        disk.check_room(max(0, attr.st_size - os.fstat(fd).st_size))
        os.ftruncate(fd, attr.st_size)
    if attr._flags & attr.FLAG_PERMISSIONS:
        os.fchmod(fd, stat.S_IMODE(attr.st_mode))
    if attr._flags & attr.FLAG_UIDGID and os.geteuid() == 0:
        os.fchown(fd, attr.st_uid, attr.st_gid)
    if attr._flags & attr.FLAG_AMTIME:
        os.utime(fd, (attr.st_atime, attr.st_mtime))


class BoxSftp(paramiko.SFTPServerInterface):
    """All that a client may do with paths; each is looked up inside the box's root."""

    def __init__(self, server: Any, running: Running) -> None:
        super().__init__(server)
        self._disk = running.disk
        self._files = Rooted(running.open_root(), running.linked)

    def session_ended(self) -> None:
        """The channel is closed."""
        self._files.close()

    def canonicalize(self, path: str) -> str:
        """The path in full; what is relative begins at the home."""
        return self._files.real_path(self._full(path))

    @staticmethod
    def _full(path: str) -> str:
        return path if path.startswith("/") else f"{HOME}/{path}"

    def _do(self, path: str, work: Callable[[int, str], Answer], *, follow: bool) -> Answer:
        try:
            with self._files.at(self._full(path), follow=follow) as (folder, name):
                answer = work(folder, name)
        except OSError as problem:
            return failure(problem)
        except ValueError:  # a path with a zero byte
            return SFTP_NO_SUCH_FILE
        return SFTP_OK if answer is None else answer

    def list_folder(self, path: str) -> Answer:
        """Attributes of everything in a folder."""

        def work(folder: int, name: str) -> list[Any]:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            found: list[Any] = []
            try:
                for each in os.listdir(fd):
                    try:
                        info = os.stat(each, dir_fd=fd, follow_symlinks=False)
                    except FileNotFoundError:  # gone since
                        continue
                    name_as_bytes: Any = os.fsencode(each)  # a name need not be text
                    found.append(paramiko.SFTPAttributes.from_stat(info, name_as_bytes))
            finally:
                os.close(fd)
            return found

        return self._do(path, work, follow=True)

    def stat(self, path: str) -> Answer:
        """Attributes of what a path leads to."""
        return self._stat(path, follow=True)

    def lstat(self, path: str) -> Answer:
        """Attributes of what a path names, a link itself included."""
        return self._stat(path, follow=False)

    def _stat(self, path: str, *, follow: bool) -> Answer:
        def work(folder: int, name: str) -> Any:
            return paramiko.SFTPAttributes.from_stat(os.stat(name, dir_fd=folder, follow_symlinks=False))

        return self._do(path, work, follow=follow)

    def open(self, path: str, flags: int, attr: Any) -> Answer:
        """Open a file for reading or writing."""
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
        mode = stat.S_IMODE(attr.st_mode) if attr._flags & attr.FLAG_PERMISSIONS else 0o644
        try:
            if writes:
                self._disk.used_bytes()
            fd = self._files.open(self._full(path), flags, mode)
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                os.close(fd)
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        except OSError as problem:
            return failure(problem)
        except ValueError:  # a path with a zero byte
            return SFTP_NO_SUCH_FILE
        return BoxFile(fd, flags, self._disk)

    def remove(self, path: str) -> int:
        """Delete a file."""
        return self._do(path, lambda folder, name: os.unlink(name, dir_fd=folder), follow=False)

    def rename(self, oldpath: str, newpath: str) -> int:
        """Rename; what is there already is not replaced."""
        return self._rename(oldpath, newpath, replace=False)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        """Rename, replacing what is there."""
        return self._rename(oldpath, newpath, replace=True)

    def _rename(self, old: str, new: str, *, replace: bool) -> int:
        def work(folder: int, name: str) -> Answer:
            with self._files.at(self._full(new), follow=False) as (target, newname):
                if not replace and exists(target, newname):
                    return SFTP_FAILURE
                os.rename(name, newname, src_dir_fd=folder, dst_dir_fd=target)
                return None

        return self._do(old, work, follow=False)

    def mkdir(self, path: str, attr: Any) -> int:
        """Make a folder."""
        mode = stat.S_IMODE(attr.st_mode) if attr._flags & attr.FLAG_PERMISSIONS else 0o755
        return self._do(path, lambda folder, name: os.mkdir(name, mode, dir_fd=folder), follow=False)

    def rmdir(self, path: str) -> int:
        """Delete an empty folder."""
        return self._do(path, lambda folder, name: os.rmdir(name, dir_fd=folder), follow=False)

    def chattr(self, path: str, attr: Any) -> int:
        """Change attributes of what a path leads to."""

        def work(folder: int, name: str) -> None:
            writes = bool(attr._flags & attr.FLAG_SIZE)
            flags = (os.O_WRONLY if writes else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(name, flags, dir_fd=folder)
            try:
                change(fd, attr, self._disk)
            finally:
                os.close(fd)

        return self._do(path, work, follow=True)

    def readlink(self, path: str) -> Answer:
        """Where a link leads, as it says."""
        return self._do(path, lambda folder, name: os.readlink(name, dir_fd=folder), follow=False)

    def symlink(self, target_path: str, path: str) -> int:
        """Make a link; wherever it leads, it is followed inside the box only."""
        return self._do(path, lambda folder, name: os.symlink(target_path, name, dir_fd=folder), follow=False)


def exists(folder: int, name: str) -> bool:
    """Whether a name is taken in a folder."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
