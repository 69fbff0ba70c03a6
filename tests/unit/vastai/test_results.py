"""Logs and the output of commands: waited for at an address that the platform names, over real HTTP."""

import pytest

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.errors import (
    InvalidRequest,
    MarketUnreachable,
    UnexpectedAnswer,
    WaitExpired,
)
from remote_gpu_trainer.vastai.results import MOST_KEPT, POLLS, result_url_in
from tests.unit.vastai.scripted import KEY, Reply, Seen, Server, connected, ok, text

pytestmark = pytest.mark.anyio
SEVEN = InstanceId(7)


def with_log(server: Server, *replies: Reply, url: str | None = None) -> None:
    queue = list(replies)

    def answer(seen: Seen) -> Reply:
        if seen.path == "/result.log":
            return queue.pop(0) if len(queue) > 1 else queue[0]
        return ok({"success": True, "result_url": url or f"{server.url}/result.log"})

    server.answerer = answer


async def test_a_log_is_waited_for_and_fetched_without_the_key() -> None:
    async with connected() as (server, client, clock):
        with_log(server, text("", 404), text("", 403), Reply(drop="before"), text(f"step 1\n{KEY}\n", 200))
        assert await client.logs(SEVEN, tail=50, daemon=True) == "step 1\n[hidden]\n"
    asked, *fetched = server.seen
    assert asked.body == {"tail": "50", "daemon_logs": "true"}
    assert len(fetched) == 4
    assert all("authorization" not in seen.headers for seen in fetched)
    assert clock.elapsed == pytest.approx(1.2)


async def test_a_log_that_never_appears_ends_the_wait() -> None:
    async with connected() as (server, client, clock):
        with_log(server, text("", 404))
        with pytest.raises(WaitExpired, match="9 s"):
            await client.logs(SEVEN, tail=5)
    assert len(server.seen) == POLLS + 1 and clock.elapsed < 10


async def test_a_log_server_that_is_gone_is_unreachable() -> None:
    async with connected() as (server, client, _):
        with_log(server, Reply(drop="before"))
        with pytest.raises(MarketUnreachable):
            await client.logs(SEVEN, tail=5)


async def test_only_the_end_of_a_long_log_is_kept() -> None:
    async with connected() as (server, client, _):
        with_log(server, Reply(200, b"a" * (3 * MOST_KEPT) + b"end"))
        log = await client.logs(SEVEN, tail=5)
    assert len(log) == MOST_KEPT and log.endswith("aend")


ELSEWHERE = [
    "http://s3.amazonaws.com/x",
    "file:///etc/passwd",
    "https://u:p@s3.amazonaws.com/",
    "//x",
    "ftp://x/y",
    "https://127.0.0.1@evil.example/",
    "https://169.254.169.254/latest",
    "https://[::1",
    "http://10.0.0.1/",
]


@pytest.mark.parametrize("url", ELSEWHERE)
async def test_a_result_url_that_points_elsewhere_is_not_fetched(url: str) -> None:
    async with connected() as (server, client, _):
        with_log(server, text("secret", 200), url=url)
        with pytest.raises(UnexpectedAnswer, match="Nothing was fetched"):
            await client.logs(SEVEN, tail=5)
    assert len(server.seen) == 1


def test_a_result_on_this_machine_is_fetched_only_for_an_emulator() -> None:
    url = "http://127.0.0.1:8000/x.log"
    assert result_url_in(url, loopback=True) == url
    with pytest.raises(UnexpectedAnswer):
        result_url_in(url, loopback=False)
    assert result_url_in("https://s3.amazonaws.com/x.log", loopback=False)


async def test_ls_and_du_are_run_quoted_and_rm_is_not() -> None:
    async with connected() as (server, client, _):
        with_log(server, text("a\n", 200))
        assert await client.instance_command(SEVEN, ["ls", "-l", "/workspace/a b"]) == "a\n"
        assert server.seen[0].body == {"command": "ls -l '/workspace/a b'"}
        for argv in (["rm", "-rf", "/"], [], ["ls", "x" * 600]):
            with pytest.raises(InvalidRequest, match="Nothing was run"):
                await client.instance_command(SEVEN, argv)
