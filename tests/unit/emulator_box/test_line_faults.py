"""Faults of single connections over SSH, as the control surface arms them: which one is hit, and what it sees."""

from pathlib import Path
from typing import Any

import paramiko
import pytest

from remote_gpu_trainer.emulator.linefaults import KINDS, LineFault
from remote_gpu_trainer.emulator.service import Emulator
from tests.unit.emulator.renter import Renter
from tests.unit.emulator_box.conftest import Bench, new_key, wait_until


def test_only_the_connections_that_are_counted_are_cut(served: Bench) -> None:
    served.box.line_faults.arm(LineFault("cut", count=1, after=1, bytes=200_000))
    assert len(served.run("head -c 400000 /dev/zero").out) == 400_000
    client = served.connect()
    channel = client.get_transport().open_session()
    channel.exec_command("cat /dev/zero")
    received = 0
    while data := channel.recv(65536):
        received += len(data)
    assert 100_000 < received < 200_000
    assert len(served.run("head -c 400000 /dev/zero").out) == 400_000


def test_a_fault_of_one_line_leaves_the_other_alone(bench: Bench) -> None:
    own = bench.connect().get_transport().get_remote_server_key()
    bench.box.line_faults.arm(LineFault("changed-host-key", count=9, line="proxy"))
    assert bench.connect().get_transport().get_remote_server_key() == own
    assert bench.connect(port=bench.box.proxy_port).get_transport().get_remote_server_key() != own


def test_a_stalled_connection_goes_on_when_faults_are_cleared_and_others_never_stop(bench: Bench) -> None:
    bench.box.line_faults.arm(LineFault("stall", bytes=200_000))
    client = bench.connect()
    channel = client.get_transport().open_session()
    channel.exec_command("head -c 400000 /dev/zero")
    channel.settimeout(0.5)
    received = 0
    with pytest.raises(TimeoutError):
        while data := channel.recv(65536):
            received += len(data)
    assert received < 400_000
    assert bench.run("echo alive").out == "alive\n"
    bench.box.line_faults.clear()
    channel.settimeout(20)
    while data := channel.recv(65536):
        received += len(data)
    assert received == 400_000


def test_a_stalled_connection_ends_with_its_box(bench: Bench) -> None:
    bench.box.line_faults.arm(LineFault("stall", bytes=50_000))
    client = bench.connect()
    client.get_transport().open_session().exec_command("cat /dev/zero")
    bench.stop()
    wait_until(lambda: not client.get_transport().is_active(), "the connection is gone")


def test_one_key_is_refused_and_one_greeting_comes_late(served: Bench) -> None:
    served.box.line_faults.arm(LineFault("refuse-auth"))
    with pytest.raises(paramiko.AuthenticationException):
        served.connect()
    assert served.run("echo in").out == "in\n"
    served.box.line_faults.arm(LineFault("banner-delay", delay_s=2.0))
    late: Any = paramiko.SSHClient()
    late.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507  # nothing is sent to it
    with pytest.raises(paramiko.SSHException):
        late.connect("127.0.0.1", served.box.direct_port, "root", pkey=served.key, banner_timeout=0.2, timeout=20)
    late.close()
    assert served.run("echo again").out == "again\n"


@pytest.mark.parametrize(
    "fields",
    [{"kind": "rain"}, {"kind": "cut", "count": 0}, {"kind": "cut", "line": "post"}, {"kind": "cut", "after": -1}],
)
def test_a_fault_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown|at least"):
        LineFault(**fields)


def test_faults_over_ssh_are_armed_listed_and_cleared_beside_the_others(tmp_path: Path) -> None:
    key, public = new_key()
    with Emulator(tmp_path / "state", speed=0, isolation="none") as ready, Renter(ready) as renter:
        renter.do("/quirks", **{"lively-market": False, "reads-lag": False})
        renter.api.post("/api/v0/ssh/", json={"ssh_key": public})
        contract = renter.running(renter.rent(image="ubuntu:22.04"))
        renter.wait(5)
        port = int(renter.show(contract)["ports"]["22/tcp"][0]["HostPort"])
        said = renter.do("/faults", route=f"SSH {contract}", kind="refuse-auth", count=2)
        assert said["armed"][0]["route"] == f"SSH {contract}"
        assert said["ssh_kinds"] == KINDS
        with paramiko.SSHClient() as client:
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # a box of this test
            with pytest.raises(paramiko.AuthenticationException):
                client.connect("127.0.0.1", port, "root", pkey=key, allow_agent=False, look_for_keys=False)
            assert renter.look("/faults")["armed"][0]["count"] == 1
            assert renter.control.request("DELETE", "/faults").json()["armed"] == []
            client.connect("127.0.0.1", port, "root", pkey=key, allow_agent=False, look_for_keys=False)
        assert renter.control.post("/faults", json={"route": "SSH 1", "kind": "cut"}).status_code == 409
        assert renter.control.post("/faults", json={"route": "SSH *", "kind": "rain"}).status_code == 400
