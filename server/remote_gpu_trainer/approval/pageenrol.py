"""The page on which a person registers a passkey, for ``rgt approve --enroll``."""

from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from remote_gpu_trainer.approval.pageanswers import HANDLERS, ROUTES
from remote_gpu_trainer.approval.pageguard import PageGuard
from remote_gpu_trainer.approval.pageview import enrol_page, message_page
from remote_gpu_trainer.approval.pagevisits import Visit, Visits
from remote_gpu_trainer.approval.passkey import Passkey, new_challenge, register, registration_options
from remote_gpu_trainer.approval.passkeyfiles import keep_passkey, load_passkeys
from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.errors import ConsentError
from remote_gpu_trainer.ports import Clock

_PLACE = "enroll"


class EnrolPages:
    """The page of one server that registers one passkey.

    Args:
        folder: Where registered passkeys are kept.
        port: Where the server listens.
        clock: For the time of registration.
        on_registered: Told of it.
    """

    def __init__(self, folder: Path, *, port: int, clock: Clock, on_registered: Callable[[Passkey], None]) -> None:
        self._folder = folder
        self._port = port
        self._clock = clock
        self._on_registered = on_registered
        self._visits = Visits(port)
        self._challenge = new_challenge()

    def link(self) -> str:
        """The one-time address."""
        return self._visits.link(_PLACE)

    def app(self) -> PageGuard:
        """The ASGI application."""
        routes = [
            *ROUTES,
            Route(f"/{_PLACE}/open/{{once}}", self._open, methods=["GET"]),
            Route(f"/{_PLACE}/", self._show, methods=["GET"]),
            Route(f"/{_PLACE}/answer", self._answer, methods=["POST"]),
        ]
        return PageGuard(Starlette(routes=routes, exception_handlers=HANDLERS), port=self._port, scripts=True)

    async def _open(self, request: Request) -> Response:
        return self._visits.open(_PLACE, request.path_params["once"])

    async def _show(self, request: Request) -> Response:
        visit = self._visits.of(request, _PLACE)
        return await run_in_threadpool(self._page, visit, request.state.nonce)

    async def _answer(self, request: Request) -> Response:
        visit, fields = await self._visits.answer(request, _PLACE)
        return await run_in_threadpool(self._register, visit, fields, request.state.nonce)

    def _page(self, visit: Visit, nonce: str, problem: str | None = None) -> Response:
        known = load_passkeys(self._folder)
        page = enrol_page(
            form=visit.form,
            nonce=nonce,
            options=registration_options(self._challenge, known),
            registered=[one.label for one in known],
            problem=problem,
        )
        return HTMLResponse(page, status_code=200 if problem is None else 422)

    def _register(self, visit: Visit, fields: dict[str, str], nonce: str) -> Response:
        label = visible(fields.get("label", "").strip())
        if not 0 < len(label) <= 60:
            return self._page(visit, nonce, "a passkey needs a name of at most 60 characters")
        challenge, self._challenge = self._challenge, new_challenge()
        try:
            passkey = register(
                fields.get("passkey", ""), challenge=challenge, port=self._port, label=label, at=self._clock.now()
            )
        except ConsentError as refused:
            return self._page(visit, nonce, refused.message)
        keep_passkey(self._folder, passkey)
        self._visits.end(_PLACE)
        self._on_registered(passkey)
        text = f"{label} may say yes from now on. Its fingerprint is {passkey.fingerprint}. You can close this page."
        return HTMLResponse(message_page("Registered", text, nonce=nonce))
