"""Pulling the plug: nothing of a box goes on running, whatever it did to hide."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from remote_gpu_trainer.emulator.box import BoxError
from remote_gpu_trainer.emulator.box.lent import pid1
from tests.unit.emulator_box.conftest import Bench, MakeBench, wait_until

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

HIDERS = {
    "a child": "{sleep} & wait",
    "a session of its own under nohup": "nohup setsid {sleep} >/dev/null 2>&1 & exit 0",
    "forked twice": "( ( setsid nohup {sleep} >/dev/null 2>&1 & ) & ) ; exit 0",
    "no environment": "env -i /usr/bin/setsid /bin/{sleep} >/dev/null 2>&1 < /dev/null & exit 0",
    "deaf to signals": "trap '' HUP TERM INT; setsid sh -c \"trap '' HUP TERM INT; {sleep}\" & exit 0",
    "tmux": "tmux -f /dev/null new-session -d 'exec {sleep}'",
    "forking on": "setsid sh -c 'while :; do (exec {sleep}) & sleep 0.01; done' >/dev/null 2>&1 & exit 0",
}


def alive(token: str) -> list[int]:
    """Processes with the token on their command line, zombies apart."""
    found: list[int] = []
    for pid in pid1.parents():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if token.encode() in words:
            found.append(pid)
    return found


@linux
@pytest.mark.parametrize("how", HIDERS)
def test_a_process_does_not_survive_the_stop(served: Bench, how: str) -> None:
    if how == "tmux" and shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    token = f"{600 + uuid.uuid4().int % 10**9 / 10**9:.9f}"
    channel = served.connect().get_transport().open_session()
    channel.exec_command(HIDERS[how].format(sleep=f"sleep {token}"))
    wait_until(lambda: alive(token), "the process runs")

    served.stop()

    assert alive(token) == []


@linux
@pytest.mark.parametrize("isolation", ["auto", "unshare", "none"])
def test_a_process_that_onstart_left_behind_does_not_survive_the_stop(make_bench: MakeBench, isolation: str) -> None:
    token = f"{700 + uuid.uuid4().int % 10**9 / 10**9:.9f}"
    bench = make_bench(isolation, onstart=f"setsid nohup sleep {token} >/dev/null 2>&1 &")
    try:
        bench.start()
    except BoxError as problem:
        pytest.skip(str(problem))
    wait_until(lambda: alive(token), "the process runs")

    bench.stop()

    assert alive(token) == []


def test_stop_cuts_connections_and_closes_both_ports(served: Bench) -> None:
    ports = (served.box.direct_port, served.box.proxy_port)
    client, through_proxy = served.connect(), served.connect(port=served.box.proxy_port)

    served.stop()

    wait_until(lambda: not client.get_transport().is_active(), "the client notices")
    wait_until(lambda: not through_proxy.get_transport().is_active(), "the client behind the proxy notices")
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port or 0)) != 0
    assert (served.box.running, served.box.direct_port, served.box.proxy_port) == (False, None, None)


def test_the_disk_stays_at_stop_and_goes_at_destroy(bench: Bench) -> None:
    bench.run("mkdir /workspace/kept && echo precious > /workspace/kept/file && chmod 500 /workspace/kept")
    bench.stop()
    assert (bench.workspace / "kept/file").read_text() == "precious\n"

    bench.start()
    assert bench.run("cat /workspace/kept/file").out == "precious\n"
    for client in bench.clients:
        client.close()
    asyncio.run(bench.box.destroy())
    assert list(bench.box.root.parent.iterdir()) == []


CRASHING = """
import asyncio, sys
from pathlib import Path
from remote_gpu_trainer.emulator.box import Box, BoxSpec
onstart = f"setsid nohup sleep {sys.argv[3]} & ( sleep {sys.argv[3]} & )"
spec = BoxSpec(1, Path(sys.argv[1]), 1 << 30, {}, onstart, "GPU", 1, 8, "1", "1", "h", isolation=sys.argv[2])
async def main():
    await Box(spec).start(True, [])
    await asyncio.sleep(100)
asyncio.run(main())
"""


@linux
@pytest.mark.parametrize("isolation", ["auto", "unshare", "none"])
def test_a_box_does_not_outlive_an_emulator_that_was_killed(tmp_path: Path, isolation: str) -> None:
    token = f"{800 + uuid.uuid4().int % 10**9 / 10**9:.9f}"
    emulator = subprocess.Popen([sys.executable, "-c", CRASHING, str(tmp_path / "box"), isolation, token])
    wait_until(lambda: len(alive(token)) >= 3 or emulator.poll() is not None, "emulator and both processes run")
    if emulator.poll() is not None and isolation == "unshare":
        pytest.skip("unshare does not work here")

    os.kill(emulator.pid, signal.SIGKILL)
    emulator.wait(20)

    wait_until(lambda: not alive(token), "the box is gone too")


def test_groups_find_a_child_whose_parent_is_gone() -> None:
    token = f"{900 + uuid.uuid4().int % 10**9 / 10**9:.9f}"
    leader = subprocess.Popen(["/bin/sh", "-c", f"nohup sleep {token} >/dev/null 2>&1 &"], start_new_session=True)
    leader.wait(20)
    wait_until(lambda: alive(token) if sys.platform == "linux" else True, "the child runs")

    assert pid1.grouped({leader.pid})
    assert pid1.kill_below(leader.pid, leaders=frozenset({leader.pid}))
    assert pid1.grouped({leader.pid}) == set()
