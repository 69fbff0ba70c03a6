"""A box with a network of its own: its ports are its own, and nobody dials them from outside but through the box."""

import socket
from typing import Any

import pytest

from remote_gpu_trainer.emulator.box import BoxError
from tests.unit.emulator_box.conftest import Bench, MakeBench, wait_until

PORT = 8081
SERVE = f"nohup python3 -m http.server {PORT} --bind 0.0.0.0 --directory /workspace >/dev/null 2>&1 &"


@pytest.fixture
def pair(make_bench: MakeBench) -> tuple[Bench, Bench]:
    made = make_bench(network="own"), make_bench(network="own")
    try:
        for bench in made:
            bench.start()
    except BoxError as problem:
        pytest.skip(str(problem))
    return made


def asked(line: Any) -> bytes:
    with line:
        line.sendall(b"GET /who HTTP/1.0\r\n\r\n")
        return line.makefile("rb").read()


def answers(bench: Bench) -> bool:
    try:
        bench.box.dial(PORT).close()
    except OSError:
        return False
    return True


def test_two_boxes_listen_on_one_port_and_are_reached_only_through_themselves(pair: tuple[Bench, Bench]) -> None:
    for name, bench in zip(("one", "two"), pair, strict=True):
        bench.run(f"echo {name} > /workspace/who; {SERVE}")
        wait_until(lambda bench=bench: answers(bench), "it serves")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", PORT), 5)
    for name, bench in zip(("one", "two"), pair, strict=True):
        assert asked(bench.box.dial(PORT)).endswith(f"{name}\n".encode())
        forward = bench.connect().get_transport().open_channel("direct-tcpip", ("localhost", PORT), ("localhost", 0))
        assert asked(forward).endswith(f"{name}\n".encode())
    with pytest.raises(ConnectionRefusedError):
        pair[0].box.dial(PORT + 1)
    assert "no way out" in pair[0].box.isolation_in_force
    pair[0].stop()
    with pytest.raises(ConnectionRefusedError):
        pair[0].box.dial(PORT)


@pytest.mark.parametrize(
    ("isolation", "ssh", "why"), [("none", "paramiko", "only bubblewrap"), ("auto", "openssh", "")]
)
def test_what_cannot_have_a_network_of_its_own_does_not_start(
    make_bench: MakeBench, isolation: Any, ssh: Any, why: str
) -> None:
    bench = make_bench(isolation, ssh=ssh, network="own")
    with pytest.raises(BoxError, match=f"{why}.*was not started"):
        bench.start()
    assert not bench.box.running
