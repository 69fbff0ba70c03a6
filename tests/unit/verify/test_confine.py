"""What a process that loads a stranger's bytes can still do: read what it was handed, and answer."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PREPARED = """
import contextlib, os, resource, socket, subprocess, sys
from remote_gpu_trainer.verify import confine
"""
ACTIONS = {
    "run a command": "subprocess.run(['/bin/true'])",
    "run a shell": "os.system('true')",
    "fork": "os.fork()",
    "become another program": "os.execv('/bin/true', ['true'])",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "connect": "socket.create_connection(('127.0.0.1', 9))",
    "write a file": "open('canary', 'w')",
    "append to a file": "open('canary', 'a')",
    "make a file": "os.open('canary', os.O_RDONLY | os.O_CREAT)",
    "remove a file": "os.remove('canary')",
    "rename a file": "os.rename('canary', 'other')",
    "make a folder": "os.mkdir('folder')",
    "make a link": "os.symlink('a', 'b')",
    "signal another process": "os.kill(os.getppid(), 0)",
    "unpickle a class": "__import__('pickle').loads(b'cposix\\nsystem\\n.')",
    "load a shared object": "__import__('ctypes').CDLL(None)",
}


def python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-B", "-c", PREPARED + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=folder)


def test_no_loader_may_run_write_connect_signal_or_unpickle(tmp_path: Path) -> None:
    program = "confine.forbid_actions()\n" + "".join(
        f"try:\n {action}\nexcept confine.Forbidden: print('refused')\n" for action in ACTIONS.values()
    )
    done = python(program, tmp_path)
    assert done.stdout.count("refused") == len(ACTIONS), (done.stdout, done.stderr)
    assert os.listdir(tmp_path) == []


def test_what_is_forbidden_passes_no_handler_that_catches_ordinary_exceptions(tmp_path: Path) -> None:
    program = "confine.forbid_actions()\nwith contextlib.suppress(Exception):\n os.system('touch canary')\nprint('on')"
    done = python(program, tmp_path)
    assert "on" not in done.stdout
    assert "Forbidden" in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_worker_gives_all_of_it_up_before_it_serves(tmp_path: Path) -> None:
    program = (
        "from remote_gpu_trainer.verify import worker\n"
        "ours, theirs = socket.socketpair()\nours.close()\nnetwork = os.readlink('/proc/self/ns/net')\n"
        "sys.argv = ['worker', str(theirs.detach())]\nworker.main()\n"
        "print(os.readlink('/proc/self/ns/net') != network, resource.getrlimit(resource.RLIMIT_NOFILE)[0],"
        " resource.getrlimit(resource.RLIMIT_FSIZE)[1])\n"
        "try:\n os.system('touch canary')\nexcept confine.Forbidden: print('refused')\n"
    )
    if sys.platform != "linux":
        pytest.skip("looks at /proc")
    said = python(program, tmp_path).stdout.split()
    assert said == [str(may_leave_network()), "64", "0", "refused"]
    assert os.listdir(tmp_path) == []


def may_leave_network() -> bool:
    """Whether this system lets a process give up its network, asked of its own program."""
    return subprocess.run(["unshare", "-n", "true"], capture_output=True, timeout=30, check=False).returncode == 0


def test_where_the_system_allows_it_a_worker_has_no_network_at_all(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = (
            "print(confine.leave_network())\n"
            f"try:\n socket.create_connection(('127.0.0.1', {port}), 5)\n print('connected')\n"
            "except OSError: print('unreachable')\n"
        )
        said = python(program, tmp_path).stdout.split()
    if said[0] == "False" and not may_leave_network():
        pytest.skip("this system lets no process give up its network; the audit hook still refuses sockets")
    assert said == ["True", "unreachable"]


def test_a_worker_grows_no_file_dumps_no_core_and_opens_few(tmp_path: Path) -> None:
    program = (
        "confine.limit_process()\nconfine.limit_file(memory_bytes=1 << 28, library_bytes=1 << 28, cpu_seconds=5)\n"
        "print(*(resource.getrlimit(what)[0] for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE,"
        " resource.RLIMIT_NOFILE, resource.RLIMIT_AS,"
        " resource.RLIMIT_DATA)), resource.getrlimit(resource.RLIMIT_CPU)[0] < 10)\n"
        "try:\n bytearray(400 << 20)\nexcept MemoryError: print('no memory')\n"
        "confine.allow_mapping(1 << 28)\nprint(len(bytearray(300 << 20)))\n"
    )
    said = python(program, tmp_path).stdout.split("\n")
    assert said[0].split()[:3] == ["0", "0", "64"]
    if sys.platform == "linux":
        assert said[0].split()[3:] == [str(1 << 29), str(1 << 28), "True"]
        assert said[1:3] == ["no memory", str(300 << 20)]
