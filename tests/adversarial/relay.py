"""A door in front of the platform, behind which another account's platform can be put while a server is at work."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import httpx

from remote_gpu_trainer.emulator.service import Ready

_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding"}


def pass_all(_: str) -> bool:
    """Drop no call."""
    return False


class Relay:
    """Passes every call on to ``behind``, with the key of the account there.

    ``before`` may look at a call and change what is behind first; True from it drops the call.
    """

    def __init__(self, behind: Ready) -> None:
        self.behind = behind
        self.before: Callable[[str], bool] = pass_all
        relay, client = self, httpx.Client(timeout=30, trust_env=False)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True

            def pass_on(self) -> None:
                if relay.before(self.command):
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {"Authorization": f"Bearer {relay.behind.api_key}", "Content-Type": "application/json"}
                answer = client.request(self.command, relay.behind.url + self.path, content=body, headers=headers)
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_PUT = do_POST = do_DELETE = pass_on

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the tests have their own words."""

        self._client = client
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """Where the platform seems to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(timeout=10)
        self._server.server_close()
        self._client.close()
