"""Who may talk to the page: only a browser that opened it as localhost, and only from the page itself."""

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FROM_HERE = frozenset({"same-origin", "none"})


class PageGuard:
    """Refuses requests by other names, from other origins and in frames; forbids inline scripts and foreign assets.

    A page elsewhere that resolves its own name to 127.0.0.1 sends its own name as ``Host``; a form elsewhere sends its
    own ``Origin``.

    Args:
        app: What is guarded.
        port: Where it listens.
        scripts: Whether our own script file may run, which a passkey needs; without, no script runs at all.
    """

    def __init__(self, app: ASGIApp, *, port: int, scripts: bool = False) -> None:
        self._app = app
        self._scripts = scripts
        self._host = f"localhost:{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _headers(nonce, self._scripts).items():
                    headers[name] = value
            await send(message)

        problem = self._problem(scope["method"], Headers(scope=scope))
        if problem is not None:
            await PlainTextResponse(f"{problem} Nothing was decided.\n", status_code=403)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _problem(self, method: str, headers: Headers) -> str | None:
        if headers.getlist("host") != [self._host]:
            return f"This page is only at http://{self._host}."
        site = headers.get("sec-fetch-site")
        if method in ("GET", "HEAD"):
            if headers.get("sec-fetch-dest") in ("iframe", "frame", "object", "embed"):
                return "This page is not shown inside another one."
            return None
        if headers.getlist("origin") != [f"http://{self._host}"] or (site is not None and site not in _FROM_HERE):
            return "This does not come from the page itself."
        return None


def _headers(nonce: str, scripts: bool) -> dict[str, str]:
    script = f"script-src 'nonce-{nonce}'; " if scripts else ""
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; {script}form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "content-security-policy": policy,
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",  # without a referrer, browsers send the form's Origin as "null"
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }
