"""What goes wrong with a box's line on request."""

import threading
import time

import paramiko
import pytest

from tests.unit.emulator_box.conftest import Bench, MakeBench, wait_until


def test_a_cut_drops_the_connection_after_its_bytes(served: Bench) -> None:
    client = served.connect()
    served.box.faults.cut_after_bytes = 200_000
    before = served.box.bytes_sent
    channel = client.get_transport().open_session()
    channel.exec_command("cat /dev/zero")
    received = 0
    while data := channel.recv(65536):
        received += len(data)
    assert 100_000 < received < 200_000
    assert served.box.bytes_sent - before <= 200_000
    wait_until(lambda: not client.get_transport().is_active(), "the connection is gone")
    served.box.faults.cut_after_bytes = None
    assert served.run("echo again").out == "again\n"


def test_a_stall_holds_everything_until_it_is_over(bench: Bench) -> None:
    client = bench.connect()
    bench.box.faults.stall = True
    answered = threading.Event()

    def ask() -> None:
        bench.run("echo late", client=client)
        answered.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert not answered.wait(0.4)
    bench.box.faults.stall = False
    assert answered.wait(20)
    asking.join()


def test_a_stalled_box_can_be_stopped(bench: Bench) -> None:
    client = bench.connect()
    bench.box.faults.stall = True
    bench.stop()
    wait_until(lambda: not client.get_transport().is_active(), "the connection is gone")


def test_a_changed_host_key_is_another_one_until_it_is_switched_off(served: Bench) -> None:
    own = served.connect().get_transport().get_remote_server_key()
    served.box.faults.change_host_key = True
    assert served.connect().get_transport().get_remote_server_key() != own
    served.box.faults.change_host_key = False
    assert served.connect().get_transport().get_remote_server_key() == own


def test_refused_keys_are_refused_as_any_other(served: Bench) -> None:
    served.box.faults.refuse_auth = True
    with pytest.raises(paramiko.AuthenticationException):
        served.connect()


def test_a_late_greeting_outlasts_a_client_that_does_not_wait(served: Bench) -> None:
    served.box.faults.banner_delay_s = 30
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507  # no connection comes about
    with pytest.raises(paramiko.SSHException, match="banner"):
        client.connect("127.0.0.1", served.box.direct_port or 0, "root", pkey=served.key, banner_timeout=0.3)
    client.close()
    served.box.faults.banner_delay_s = 0.05
    assert served.run("echo in").out == "in\n"


def test_what_goes_through_the_proxy_arrives_whole_both_ways(bench: Bench) -> None:
    content = bytes(range(256)) * 300
    client = bench.connect(port=bench.box.proxy_port)
    files = client.open_sftp()
    with files.open("/workspace/through", "wb") as file:
        file.write(content)
    with files.open("/workspace/through", "rb") as file:
        assert file.read() == content
    sent = bench.box.bytes_sent
    assert sent > len(content)
    wait_until(lambda: bench.box.bytes_received > len(content), "both directions are counted")


def test_the_proxy_is_capped_where_the_direct_line_is_not(make_bench: MakeBench) -> None:
    bench, size = make_bench(), 9_000_000
    bench.start()
    client = bench.connect(port=bench.box.proxy_port)
    began = time.monotonic()
    assert len(bench.run(f"head -c {size} /dev/zero", client=client).out) == size
    assert time.monotonic() - began >= size / 15_000_000  # never faster; the direct line has no such floor
