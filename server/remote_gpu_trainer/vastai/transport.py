"""One exchange with the platform over httpx: paced, bounded in bytes and time, every failure one of the tree."""

import json
import ssl
from ipaddress import ip_address
from types import TracebackType
from urllib.parse import urlsplit

import anyio
import httpx

from remote_gpu_trainer.errors import (
    AnswerLost,
    ConfigError,
    InvalidRequest,
    MarketError,
    MarketUnreachable,
    UnexpectedAnswer,
)
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.vastai.answers import MOST_BYTES, Answer, Row, UnreadableBody, as_row
from remote_gpu_trainer.vastai.calls import Call, Repeat
from remote_gpu_trainer.vastai.pacing import Pacer, Pacing
from remote_gpu_trainer.vastai.redact import Redactor
from remote_gpu_trainer.vastai.refusals import refusal, unreadable
from remote_gpu_trainer.vastai.retry import Retrier, RetryPolicy

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
"""Failures before a request can have left."""
_FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError)
"""Everything that httpx raises by itself (0.28)."""


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def checked_base(base_url: str) -> str:
    """The base URL without a trailing slash.

    Raises:
        ConfigError: it is no URL, holds a password, or would send the key in clear over a network.
    """
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError("VAST_URL is not a URL", next_step="set it to https://console.vast.ai or unset it") from None
    if parts.scheme not in ("https", "http") or not host or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            "VAST_URL must be https://host[:port], without user, query or fragment", next_step="correct or unset it"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"VAST_URL names http://{host}: the key would travel in clear text",
            next_step="use https; http is taken for this machine only",
            effect="Nothing was sent.",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def checked_key(api_key: str) -> str:
    """The key without surrounding white space.

    Raises:
        ConfigError: it is missing or cannot stand in a header.
    """
    key = api_key.strip()
    if not key:
        raise ConfigError("VAST_API_KEY is empty", next_step="ask the person to set it", effect="Nothing was sent.")
    if len(key) > 4096 or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"VAST_API_KEY holds {len(key)} characters of which some cannot stand in a header",
            next_step="copy the key again, without quotes or line breaks",
            effect="Nothing was sent.",
        )
    return key


class Transport:
    """Sends calls and reads answers. Knows the key, and lets nobody see it."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None,
        pacing: Pacing | None,
        retry: RetryPolicy,
        user_agent: str,
    ) -> None:
        self.base_url = checked_base(base_url)
        self.loopback = is_loopback(urlsplit(self.base_url).hostname)
        key = checked_key(api_key)
        self.redactor = Redactor([key])
        self.clock = clock
        self._pacer = Pacer(pacing or Pacing.for_host(loopback=self.loopback), clock)
        self._retrier = Retrier(retry, clock)
        headers = {"authorization": f"Bearer {key}", "user-agent": user_agent, "accept": "application/json"}
        secure = self.base_url.startswith("https:")
        verify = self.tls = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

        def client(keep: int) -> httpx.AsyncClient:
            return httpx.AsyncClient(
                headers=headers,
                timeout=_TIMEOUT,
                transport=transport,
                follow_redirects=False,
                trust_env=not self.loopback,
                verify=verify,
                limits=httpx.Limits(max_connections=8, max_keepalive_connections=keep, keepalive_expiry=5.0),
            )

        self._shared, self._fresh = client(8), client(0)

    def __repr__(self) -> str:
        """Where it sends, never the key."""
        return f"Transport({self.base_url!r})"

    async def aclose(self) -> None:
        """Close all connections."""
        await self._shared.aclose()
        await self._fresh.aclose()

    async def __aenter__(self) -> "Transport":
        """Nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    async def json(self, call: Call) -> object:
        """Send a call, again where that is safe, and give the JSON of its success.

        Raises:
            MarketError: refused, lost, unreachable or unreadable.
        """
        return await self._retrier.run(call, lambda: self._once(call))

    async def row(self, call: Call) -> Row:
        """The same for an answer that must be an object."""
        row = as_row(await self.json(call))
        if row is None:
            raise unreadable(call, self.redactor, "the answer is no JSON object")
        return row

    async def done(self, call: Call) -> Row:
        """The same for a write, whose answer must say ``success: true``."""
        row = await self.row(call)
        if row.get("success") is not True:
            raise unreadable(call, self.redactor, "the answer does not say success: true")
        return row

    async def _once(self, call: Call) -> object:
        await self._pacer.turn(call.family, call.name, call.not_done)
        answer = await self._exchange(call)
        self._pacer.heed(answer)
        if not 200 <= answer.status < 300:
            raise self._refusal(call, answer)
        try:
            found = answer.json()
        except UnreadableBody as wrong:
            raise unreadable(call, self.redactor, str(wrong)) from None
        if (row := as_row(found)) is not None and row.get("success") is False:
            raise self._refusal(call, answer)
        return found

    def _refusal(self, call: Call, answer: Answer) -> MarketError:
        return refusal(call, answer, self.redactor, epoch_s=self.clock.now().timestamp())

    async def _exchange(self, call: Call) -> Answer:
        client = self._fresh if call.repeat is Repeat.ONCE else self._shared
        content, headers = _encoded(call)
        url, query = self.base_url + call.path, dict(call.query) or None
        try:
            with anyio.fail_after(call.timeout_s):
                async with client.stream(call.method, url, content=content, headers=headers, params=query) as response:
                    return Answer(response.status_code, dict(response.headers), await _bounded(response))
        except TimeoutError:
            raise self._lost(call, f"no whole answer within {call.timeout_s:.0f} s") from None
        except UnreadableBody as wrong:
            raise unreadable(call, self.redactor, str(wrong)) from None
        except _FOREIGN as foreign:
            raise self.translated(call, foreign) from None

    def translated(self, call: Call, foreign: Exception) -> MarketError:
        """The error of the tree for one of httpx. Its text may hold a URL, never a header."""
        what = f"{type(foreign).__name__} {self.redactor.quote(str(foreign), most=200)}"
        if isinstance(foreign, _NOT_SENT):
            return MarketUnreachable(f"{call.name}: no connection to {self.base_url}: {what}", effect=call.not_done)
        if isinstance(foreign, httpx.DecodingError | httpx.TooManyRedirects) and call.repeat is Repeat.READ:
            return UnexpectedAnswer(f"{call.name}: {what}", effect="Nothing is concluded from this answer.")
        return self._lost(call, what)

    def _lost(self, call: Call, what: str) -> MarketError:
        if call.repeat is Repeat.READ:
            return MarketUnreachable(f"{call.name}: asked, and no answer came back: {what}", effect=call.not_done)
        return AnswerLost(
            f"{call.name}: sent, and no answer came back: {what}", effect="It is not known whether it was done."
        )


def _encoded(call: Call) -> tuple[bytes | None, dict[str, str]]:
    if call.body is None:
        return None, {}
    try:
        return json.dumps(dict(call.body), allow_nan=False).encode(), {"content-type": "application/json"}
    except ValueError:
        raise InvalidRequest(f"{call.name}: a number in it is not finite", effect=call.not_done) from None


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            raise UnreadableBody(f"the body is larger than {MOST_BYTES >> 20} MiB")
    return bytes(body)
