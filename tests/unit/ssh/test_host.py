"""Commands, streams and files over one connection."""

import hashlib
import random
from pathlib import Path

import pytest

from remote_gpu_trainer.errors import (
    ConnectionCut,
    HostKeyChanged,
    InvalidRequest,
    RemoteCommandFailed,
    WaitExpired,
)
from remote_gpu_trainer.ssh import ParamikoHost
from tests.unit.ssh.conftest import LEASE, Side

pytestmark = pytest.mark.anyio
MIB = 1 << 20


async def read(host: ParamikoHost, script: str, *, bulk: bool, stdin: bytes = b"") -> bytes:
    """All that a script prints."""
    got = bytearray()
    async with host.stream(["sh", "-c", script], stdin=stdin, bulk=bulk) as output:
        async for data in output:
            got += data
    return bytes(got)


async def test_a_command_gets_its_words_and_its_input_and_tells_its_end(served: Side) -> None:
    host = await served.connect()
    words = ["sh", "-c", 'cat; printf "%s|" "$@" >&2; exit 3', "sh", "a b", "$HOME", "it's", ""]
    done = await host.run(words, stdin=b"in\n", timeout_s=10)
    assert (done.exit_status, done.stdout, done.stderr) == (3, b"in\n", b"a b|$HOME|it's||")


async def test_a_command_without_end_is_given_up_and_the_connection_still_works(served: Side) -> None:
    host = await served.connect()
    with pytest.raises(WaitExpired, match="did not end within"):
        await host.run(["sleep", "60"], timeout_s=0.3)
    assert (await host.run(["echo", "on"], timeout_s=10)).stdout == b"on\n"


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_stream_carries_every_byte_both_ways(served: Side, tmp_path: Path, bulk: bool) -> None:
    content = random.Random(3).randbytes(5 * MIB + 3)
    host = await served.connect()
    assert await read(host, "cat; cat", bulk=bulk, stdin=content) == content
    big = await read(host, "head -c 30000000 /dev/zero", bulk=bulk)
    assert hashlib.sha256(big).digest() == hashlib.sha256(bytes(30_000_000)).digest()


async def test_bulk_bytes_from_nearby_have_a_connection_of_their_own(real: Side) -> None:
    host = await real.connect()
    host.round_trip_s = 0.001
    assert await read(host, "echo $SSH_CONNECTION", bulk=True) != await read(host, "echo $SSH_CONNECTION", bulk=False)
    host.round_trip_s = 0.1
    assert await read(host, "echo $SSH_CONNECTION", bulk=True) == await read(host, "echo $SSH_CONNECTION", bulk=False)


@pytest.mark.parametrize("near", [False, True])
async def test_a_stream_whose_command_fails_says_how(real: Side, near: bool) -> None:
    host = await real.connect()
    host.round_trip_s = 0.001 if near else 0.1
    with pytest.raises(RemoteCommandFailed) as failed:
        await read(host, "echo some; echo no such thing >&2; exit 7", bulk=True)
    assert failed.value.details == {"exit_status": 7, "stderr": "no such thing "}


@pytest.mark.parametrize("near", [False, True])
async def test_a_stream_that_the_far_side_drops_is_a_cut(real: Side, near: bool) -> None:
    host = await real.connect()
    host.round_trip_s = 0.001 if near else 0.1
    with pytest.raises(ConnectionCut):
        await read(host, "head -c 100000 /dev/zero; kill -9 $PPID; sleep 20", bulk=True)


async def test_leaving_a_stream_early_ends_it(real: Side) -> None:
    host = await real.connect()
    host.round_trip_s = 0.001
    async with host.stream(["cat", "/dev/zero"], bulk=True) as output:
        async for data in output:
            assert data
            break
    assert (await host.run(["echo", "on"], timeout_s=10)).stdout == b"on\n"


async def test_a_bulk_connection_that_meets_another_host_key_is_refused(real: Side) -> None:
    host = await real.connect()
    host.round_trip_s = 0.001
    pin = real.pins.file(LEASE)
    lines = pin.read_text().splitlines()
    stranger = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOj0y9jq6pMMiAPpmWj0cZPUwVE0XkQ0q5i0A3Kx8Sg"
    pin.write_text(f"{lines[0]}\n{LEASE} {stranger}\n")
    with pytest.raises(HostKeyChanged):
        await read(host, "echo secret", bulk=True)


async def test_a_file_is_put_whole_or_not_at_all(served: Side) -> None:
    host = await served.connect()
    await host.put(b"one", "/tmp/rgt-put-test/deep/file", mode=0o600)
    shown = await host.run(["sh", "-c", "cat $0; stat -c ' %a' $0", "/tmp/rgt-put-test/deep/file"], timeout_s=10)
    assert shown.stdout == b"one 600\n"
    with pytest.raises(RemoteCommandFailed, match="as it was"):
        await host.put(b"two", "/tmp/rgt-put-test/deep/file/below")
    with pytest.raises(InvalidRequest, match="no absolute file path"):
        await host.put(b"two", "relative")
    assert (await host.run(["cat", "/tmp/rgt-put-test/deep/file"], timeout_s=10)).stdout == b"one"
    await host.run(["rm", "-r", "/tmp/rgt-put-test"], timeout_s=10)
