"""What a client meets on a box's SSH ports."""

import hashlib
import os
import resource
import socket
import threading
import uuid
from typing import Any

import paramiko
import pytest

from tests.unit.emulator_box.conftest import PATIENCE_S, Bench, MakeBench, new_key, wait_until


def test_a_command_gives_its_output_its_errors_and_its_status(served: Bench) -> None:
    said = served.run("echo out; echo err >&2; exit 7")
    assert (said.out, said.err, said.status) == ("out\n", "err\n", 7)


def test_a_command_reads_what_the_client_sends(served: Bench) -> None:
    sent = bytes(range(256)) * 9000
    said = served.run("sha256sum", stdin=sent)
    assert said.out.split()[0] == hashlib.sha256(sent).hexdigest()


def test_binary_output_arrives_whole(served: Bench) -> None:
    (served.workspace / "blob").write_bytes(content := bytes(range(256)) * 40_000)
    channel = served.connect().get_transport().open_session(window_size=64 << 20, max_packet_size=1 << 20)
    channel.settimeout(PATIENCE_S)
    channel.exec_command("cat /workspace/blob")
    received = bytearray()
    while data := channel.recv(1 << 20):
        received += data
    assert received == content
    assert channel.recv_exit_status() == 0


def test_a_killed_command_is_no_success(served: Bench) -> None:
    assert served.run("kill -9 $$").status == -1


def test_a_missing_command_ends_with_127(bench: Bench) -> None:
    assert bench.run("no-such-command-here").status == 127


def test_commands_run_as_root_in_its_home_with_the_containers_environment(make_bench: MakeBench) -> None:
    bench = make_bench("auto", env={"MODEL": "small one", "VAST_CONTAINERLABEL": "C.41"})
    bench.start()
    said = bench.run('echo "$USER|$HOME|$CONTAINER_ID|$VAST_TCP_PORT_22|$MODEL|$VAST_CONTAINERLABEL"; cd; pwd -P')
    user, home, contract, port, model, label = said.out.splitlines()[0].split("|")
    assert (user, contract, port, model, label) == ("root", "41", str(bench.box.direct_port), "small one", "C.41")
    assert said.out.splitlines()[1] == home


def test_the_client_may_set_environment_but_not_how_programs_are_loaded(served: Bench) -> None:
    channel = served.connect().get_transport().open_session()
    channel.set_environment_variable("LC_NAME", "x y")
    channel.set_environment_variable("LD_PRELOAD", "/tmp/evil.so")
    channel.settimeout(PATIENCE_S)
    channel.exec_command('echo "$LC_NAME|$LD_PRELOAD"')
    assert channel.recv(100) == b"x y|\n"


def test_many_channels_share_one_connection(served: Bench) -> None:
    client = served.connect()
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = served.run(f"echo {number}; sleep 0.2", client=client).out

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for each in asking:
        each.start()
    for each in asking:
        each.join(PATIENCE_S)
    assert answers == {number: f"{number}\n" for number in range(24)}


def test_a_terminal_is_real_and_has_the_clients_size(served: Bench) -> None:
    channel = served.connect().invoke_shell(term="xterm", width=93, height=31)
    channel.settimeout(PATIENCE_S)
    channel.send(b"stty size; tty; echo done-$((40+2)); exit 5\n")
    shown = b""
    while data := channel.recv(4096):
        shown += data
    assert b"31 93" in shown
    if served.box.spec.ssh == "paramiko":  # sshd's own terminal has no name inside the box
        assert b"/dev/pts/" in shown
    assert b"done-42" in shown
    assert channel.recv_exit_status() == 5


def test_a_terminal_follows_the_clients_window(served: Bench) -> None:
    channel = served.connect().invoke_shell(width=80, height=24)
    channel.settimeout(PATIENCE_S)
    channel.send(b"echo rea''dy\n")
    read_until(channel, b"ready")
    channel.resize_pty(width=101, height=55)
    channel.send(b"sleep 0.1; stty size; exit\n")
    read_until(channel, b"55 101")


def read_until(channel: Any, wanted: bytes) -> None:
    """Read from a terminal until it has shown ``wanted``."""
    shown = b""
    while wanted not in shown:
        data = channel.recv(4096)
        assert data, shown
        shown += data


def test_closing_the_channel_hangs_up_on_the_command_but_not_on_what_was_detached(served: Bench) -> None:
    if served.box.spec.ssh == "openssh":
        pytest.skip("sshd leaves a command without a terminal alone until it writes")
    left, kept = served.workspace / "left", served.workspace / "kept"
    channel = served.connect().get_transport().open_session()
    channel.exec_command(
        "trap 'echo gone > /workspace/left; exit' HUP; "
        "(setsid nohup sh -c 'echo up > /workspace/started; sleep 0.5; echo on > /workspace/kept' >/dev/null 2>&1 &); "
        "while :; do sleep 0.05; done"
    )
    wait_until((served.workspace / "started").exists, "both run")
    channel.close()
    wait_until(left.exists, "the command was hung up on")
    wait_until(kept.exists, "the detached one went on")


def test_only_root_with_a_known_key_comes_in(served: Bench) -> None:
    with pytest.raises(paramiko.AuthenticationException):
        served.connect(key=new_key()[0])
    with pytest.raises(paramiko.AuthenticationException):
        served.connect(user="somebody")


def test_keys_can_be_replaced_while_the_box_runs(served: Bench) -> None:
    other, public = new_key()
    served.box.set_authorized_keys([public])
    with pytest.raises(paramiko.AuthenticationException):
        served.connect()
    assert served.run("echo in", client=served.connect(key=other)).out == "in\n"


def test_the_host_key_stays_over_restarts_and_is_shown_to_onstart(make_bench: MakeBench) -> None:
    printing = "for f in /etc/ssh/ssh_host_*_key.pub; do read -r t k c < $f; echo rgt-hostkey $t $k; done"
    bench = make_bench("auto", onstart=printing)
    bench.start()
    keys = bench.box.host_public_keys()
    presented = bench.connect().get_transport().get_remote_server_key()
    assert f"{presented.get_name()} {presented.get_base64()}" in keys
    wait_until(lambda: bench.box.container_log().count("rgt-hostkey") == len(keys), "onstart printed them")
    assert {line.removeprefix("rgt-hostkey ") for line in bench.box.container_log().splitlines()} == set(keys)

    bench.stop()
    bench.start()
    assert bench.box.host_public_keys() == keys


def test_forwards_reach_the_box_itself_and_nothing_else(served: Bench) -> None:
    transport = served.connect().get_transport()
    with socket.create_server(("127.0.0.1", 0)) as service:
        channel = transport.open_channel("direct-tcpip", ("127.0.0.1", service.getsockname()[1]), ("127.0.0.1", 1))
        channel.settimeout(PATIENCE_S)
        service.settimeout(PATIENCE_S)
        with service.accept()[0] as inner:
            inner.settimeout(PATIENCE_S)
            channel.sendall(b"ping")
            assert inner.recv(100) == b"ping"
            inner.sendall(b"pong")
            assert channel.recv(100) == b"pong"
            channel.close()
    with pytest.raises(paramiko.ChannelException, match="prohibited"):
        transport.open_channel("direct-tcpip", ("192.0.2.1", 80), ("127.0.0.1", 1))


def test_onstart_runs_at_every_start_and_its_output_is_the_container_log(make_bench: MakeBench) -> None:
    token = uuid.uuid4().hex
    bench = make_bench("auto", onstart=f"echo {token} >> /workspace/starts; echo to the log; echo and errors >&2")
    for count in (1, 2, 3):
        bench.start()
        wait_until(lambda n=count: bench.box.container_log().count("and errors") == n, "onstart has run")
        bench.stop()
    assert (bench.workspace / "starts").read_text() == f"{token}\n" * 3
    assert bench.box.container_log(2) == "to the log\nand errors\n"


def test_a_boot_hook_that_fails_leaves_the_box_up_and_a_line_in_the_daemons_log(make_bench: MakeBench) -> None:
    bench = make_bench("auto", onstart="echo half a hook >&2\nexit 3")
    bench.start()
    wait_until(lambda: "exit status 3" in bench.box.daemon_log(), "the host has noticed")
    assert bench.box.container_log() == "half a hook\n"
    assert bench.run("echo up").out == "up\n"


def test_every_start_has_ports_of_its_own_and_the_direct_one_only_when_asked(make_bench: MakeBench) -> None:
    bench = make_bench("auto")
    bench.start(direct=False)
    assert bench.box.direct_port is None
    assert bench.run("echo slow", client=bench.connect(port=bench.box.proxy_port)).out == "slow\n"


def test_bytes_are_counted_at_the_socket_and_over_restarts(served: Bench) -> None:
    size = 3_000_000
    served.run(f"head -c {size} /dev/zero")
    sent = served.box.bytes_sent
    assert size < sent < size * 1.1
    served.run("cat > /dev/null", stdin=bytes(size))
    received = served.box.bytes_received
    assert size < received < size * 1.1
    served.stop()
    served.start()
    assert served.box.bytes_received >= received


def test_a_box_starts_beside_a_thousand_open_files(make_bench: MakeBench) -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 2_000:
        pytest.skip(f"this system gives a process no more than {most} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), most))
    nothing = os.open(os.devnull, os.O_RDONLY)
    held = [nothing, *(os.dup(nothing) for _ in range(1_050))]
    try:
        bench = make_bench()
        bench.start()
        assert bench.run("echo up").out == "up\n"
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
