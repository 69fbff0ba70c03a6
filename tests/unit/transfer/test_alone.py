"""One copy at a time into one folder, whoever makes the other one."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remote_gpu_trainer.errors import DestinationBusy, TransferError, UnsafePath
from remote_gpu_trainer.transfer.alone import alone

HOLDS = """
import sys
from pathlib import Path
from remote_gpu_trainer.transfer.alone import alone
with alone(Path(sys.argv[1]), "of run other"):
    print("held", flush=True)
    sys.stdin.read()
"""
FORKS = """
import os, sys
from pathlib import Path
from remote_gpu_trainer.transfer.alone import alone
end, other = os.pipe()
with alone(Path(sys.argv[1]), "of run other"):
    child = os.fork()
    if not child:
        os.close(other)
        os.read(end, 1)
        os._exit(0)
with alone(Path(sys.argv[1]), "of run mine"):
    print("held again", flush=True)
os.close(other)
os.waitpid(child, 0)
"""
UNLOCKED = """
import ctypes, errno, platform, struct, sys
from pathlib import Path
from remote_gpu_trainer.errors import TransferError
from remote_gpu_trainer.transfer.alone import alone

def no_flock(answer):
    '''Let the kernel refuse flock(2) to this process, as file systems without locks do (seccomp(2)).'''
    call = {"x86_64": 73, "aarch64": 32}[platform.machine()]
    rules = b"".join(struct.pack("=HBBI", *rule) for rule in [
        (0x20, 0, 0, 0),                       # the number of the call
        (0x15, 0, 1, call),                    # flock, or else skip one
        (0x06, 0, 0, 0x00050000 | answer),     # fails so
        (0x06, 0, 0, 0x7FFF0000),              # goes on
    ])
    held = ctypes.create_string_buffer(rules)
    program = ctypes.create_string_buffer(struct.pack("@HP", len(rules) // 8, ctypes.addressof(held)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        sys.exit(77)

no_flock(getattr(errno, sys.argv[2]))
try:
    with alone(Path(sys.argv[1]), "of run mine"):
        print("went on")
except TransferError as refused:
    print(refused)
"""


def program(text: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of its own to its end."""
    return subprocess.run([sys.executable, "-c", text, *words], capture_output=True, text=True, check=False)


def test_a_second_copy_into_a_folder_is_refused_at_once_and_told_whose_the_first_is(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    with alone(home, "of run digits-k3vq7m, process 7"):
        with pytest.raises(DestinationBusy) as refused, alone(home, "of run digits-k3vq7m, process 8"):
            pass
        assert f"another copy into {home} is under way (of run digits-k3vq7m, process 7)" in str(refused.value)
        assert "Next: wait for the end of the other copy" in str(refused.value)
        assert "Nothing was copied by this call" in str(refused.value)
        with pytest.raises(DestinationBusy), alone(home, "of a third"):
            pass
        with alone(tmp_path / "a" / "other", "of another folder"):
            pass
    with alone(home, "of a later one"):
        pass
    assert list(tmp_path.iterdir()) == [], "what was made for it and stayed empty is gone"


def test_a_folder_by_another_name_is_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    with alone(tmp_path / "home", "one"), pytest.raises(DestinationBusy), alone(tmp_path / "link", "two"):
        pass
    assert (tmp_path / "home").is_dir(), "it was there before"


def test_a_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(DestinationBusy, match="of run other"), alone(tmp_path, "of run mine"):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert (tmp_path / ".rgt-partial" / "lock").exists()
        with alone(tmp_path, "of run mine"):
            pass
    assert os.listdir(tmp_path) == []


def test_many_that_begin_and_end_at_once_are_never_two_at_a_time(tmp_path: Path) -> None:
    home, inside, most, held = tmp_path / "home", 0, 0, 0
    counting = threading.Lock()

    def copy() -> None:
        nonlocal inside, most, held
        for _ in range(100):
            with contextlib.suppress(DestinationBusy), alone(home, "of one of many"):
                with counting:
                    inside, held = inside + 1, held + 1
                    most = max(most, inside)
                os.listdir(home)
                with counting:
                    inside -= 1

    threads = [threading.Thread(target=copy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == (1, 0)
    assert held >= 20


def test_a_process_that_was_forked_off_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    done = program(FORKS, tmp_path)
    assert (done.stdout, done.returncode) == ("held again\n", 0), done.stderr


@pytest.mark.parametrize("answer", ["EOPNOTSUPP", "ENOLCK", "ENOSYS"])
def test_a_file_system_without_locks_is_refused_by_name(tmp_path: Path, answer: str) -> None:
    done = program(UNLOCKED, tmp_path, answer)
    if done.returncode == 77:
        pytest.skip("this kernel lets no process do without flock")
    assert f"the file system of {tmp_path} has no locks" in done.stdout, done.stderr
    assert "Next: choose a destination on another file system" in done.stdout
    assert "Nothing was copied" in done.stdout


def test_a_link_in_place_of_the_lock_or_its_folder_is_not_followed(tmp_path: Path) -> None:
    outside, home = tmp_path / "outside", tmp_path / "home"
    for folder in (outside, home / ".rgt-partial"):
        folder.mkdir(parents=True)
    (outside / "file").write_bytes(b"alive")
    (home / ".rgt-partial" / "lock").symlink_to(outside / "file")
    with pytest.raises(TransferError, match=f"writing under {home} failed"), alone(home, "of run mine"):
        pass
    (home / ".rgt-partial" / "lock").unlink()
    (home / ".rgt-partial").rmdir()
    (home / ".rgt-partial").symlink_to(outside)
    with pytest.raises(UnsafePath), alone(home, "of run mine"):
        pass
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"file": b"alive"}


def test_a_destination_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TransferError, match="No finished file was touched"), alone(tmp_path / "file" / "home", "mine"):
        pass
