"""Results that the platform uploads late: a URL that is 404 until they are there. Our key is never sent to it."""

import ssl
from urllib.parse import urlsplit

import anyio
import httpx

from remote_gpu_trainer.errors import MarketUnreachable, UnexpectedAnswer, WaitExpired
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.vastai.endpoints import usable_host
from remote_gpu_trainer.vastai.transport import is_loopback

POLL_S, POLLS = 0.3, 30
"""As the official SDK polls (1.9.1): about nine seconds."""
MOST_READ, MOST_KEPT = 32 << 20, 1 << 20
"""Bytes read at most, and bytes kept of their end."""
_NOT_YET = frozenset({403, 404})
"""A bucket that may not be listed answers 403 where another answers 404."""


def result_url_in(value: object, *, loopback: bool) -> str:
    """The URL of an answer, when it may be fetched.

    Raises:
        UnexpectedAnswer: it is missing, not https, or points into this machine or its link.
    """
    url = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    local = loopback and parts.scheme == "http" and is_loopback(host)
    remote = parts.scheme == "https" and usable_host(host, loopback_ok=loopback) is not None
    if parts.username is not None or not (local or remote):
        raise UnexpectedAnswer(
            "the answer names no result_url that may be fetched: https to another machine is needed",
            effect="Nothing was fetched.",
        )
    return url


class ResultReader:
    """Fetches results with a client of its own, without any key."""

    def __init__(self, clock: Clock, *, user_agent: str, trust_env: bool, tls: ssl.SSLContext) -> None:
        self._clock = clock
        self._client = httpx.AsyncClient(
            headers={"user-agent": user_agent}, timeout=10.0, follow_redirects=False, trust_env=trust_env, verify=tls
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def read(self, url: str, what: str) -> str:
        """The text behind a URL, the end of it when it is long. Untrusted.

        Raises:
            WaitExpired: it was not there after POLLS looks.
            MarketUnreachable: the last look found no server.
        """
        trouble: str | None = None
        for _ in range(POLLS):
            await self._clock.sleep(POLL_S)
            try:
                with anyio.fail_after(30.0):
                    found, status = await self._look(url)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError) as foreign:
                trouble = type(foreign).__name__
                continue
            trouble = None
            if found is not None:
                return found.decode("utf-8", "replace")
            if status not in _NOT_YET and status < 500:
                raise UnexpectedAnswer(f"{what}: the result's server answered {status}", effect="Nothing was read.")
        if trouble is not None:
            raise MarketUnreachable(f"{what}: the result's server cannot be read: {trouble}")
        raise WaitExpired(
            f"{what}: no result appeared within {POLLS * POLL_S:.0f} s",
            next_step="repeat it a little later; a host that is offline uploads nothing",
        )

    async def _look(self, url: str) -> tuple[bytes | None, int]:
        async with self._client.stream("GET", url) as response:
            if response.status_code != 200:
                return None, response.status_code
            tail, read = bytearray(), 0
            async for chunk in response.aiter_bytes(1 << 16):
                read += len(chunk)
                tail += chunk
                if len(tail) > 2 * MOST_KEPT:
                    del tail[: len(tail) - MOST_KEPT]
                if read > MOST_READ:
                    break
            return bytes(tail[-MOST_KEPT:]), response.status_code
