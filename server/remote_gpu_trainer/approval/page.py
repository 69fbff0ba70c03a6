"""The local page: one person, one link, one answer. Served on loopback and opened as ``http://localhost:PORT``."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from remote_gpu_trainer.approval.elicitation import Answer
from remote_gpu_trainer.approval.pageguard import PageGuard
from remote_gpu_trainer.approval.pageview import message_page, question_page, token_page
from remote_gpu_trainer.approval.refusal import effect_of
from remote_gpu_trainer.approval.typedname import why_not
from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import RgtError
from remote_gpu_trainer.ports import ApprovalBook

_COOKIE = "rgt_approval"
_MAX_FORM = 16_384
_TRIES = 5


@dataclass
class _Visit:
    """One link that was handed out, and the browser that opened it first."""

    once: str
    session: str | None = None
    form: str = ""
    tries: int = 0


class ApprovalPages:
    """The pages of one server.

    Args:
        book: Where the requests are.
        port: Where the server listens; the only ``Host`` that is answered is ``localhost:port``.
        on_answer: Told of each answer. It never gets the token.
    """

    def __init__(
        self, book: ApprovalBook, *, port: int, on_answer: Callable[[ApprovalId, Answer], None] | None = None
    ) -> None:
        self._book = book
        self._port = port
        self._on_answer = on_answer
        self._visits: dict[str, _Visit] = {}

    def link(self, approval: ApprovalId) -> str:
        """A fresh address for one request, good for one browser. An older one for it ends."""
        visit = _Visit(once=secrets.token_urlsafe(32))
        self._visits[approval] = visit
        return f"http://localhost:{self._port}/{approval}/open/{visit.once}"

    def app(self) -> PageGuard:
        """The ASGI application."""
        routes = [
            Route("/favicon.ico", _no_icon, methods=["GET"]),
            Route("/{approval}/open/{once}", self._open, methods=["GET"]),
            Route("/{approval}/", self._show, methods=["GET"]),
            Route("/{approval}/answer", self._answer, methods=["POST"]),
        ]
        handlers = {HTTPException: _failed, RgtError: _refused}
        return PageGuard(Starlette(routes=routes, exception_handlers=handlers), port=self._port)

    async def _open(self, request: Request) -> Response:
        approval, once = request.path_params["approval"], request.path_params["once"]
        visit = self._visits.get(approval)
        if visit is None or not hmac.compare_digest(visit.once.encode(), once.encode()):
            raise HTTPException(404, "This is no link to an approval.")
        if visit.session is not None:
            raise HTTPException(403, "This link was opened already, and it opens once. Ask for a new one.")
        visit.session, visit.form = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        response = RedirectResponse(f"/{approval}/", status_code=303)
        response.set_cookie(_COOKIE, visit.session, path=f"/{approval}/", httponly=True, samesite="lax")
        return response

    async def _show(self, request: Request) -> Response:
        visit = self._visit_of(request)
        known = await run_in_threadpool(self._open_request, ApprovalId(request.path_params["approval"]))
        return HTMLResponse(question_page(known, form=visit.form, nonce=request.state.nonce))

    async def _answer(self, request: Request) -> Response:
        visit = self._visit_of(request)
        fields = await _fields(request)
        if not hmac.compare_digest(fields.get("form", "").encode(), visit.form.encode()):
            raise HTTPException(403, "This answer does not come from the page that was shown.")
        known = await run_in_threadpool(self._open_request, ApprovalId(request.path_params["approval"]))
        nonce: str = request.state.nonce
        match fields.get("decision"):
            case "refuse":
                return await run_in_threadpool(self._refuse, known, fields.get("reason", ""), nonce)
            case "agree":
                problem = why_not(fields.get("typed", ""), known.plan.name)
                if problem is None:
                    return await run_in_threadpool(self._agree, known, nonce)
                visit.tries += 1
                if visit.tries >= _TRIES:
                    reason = f"the name was not typed exactly in {_TRIES} tries"
                    return await run_in_threadpool(self._refuse, known, reason, nonce)
                page = question_page(known, form=visit.form, nonce=nonce, problem=problem)
                return HTMLResponse(page, status_code=422)
            case _:
                raise HTTPException(400, "This answer is neither a yes nor a no.")

    def _agree(self, known: ApprovalRequest, nonce: str) -> Response:
        token = self._book.approve(known.id, channel=Channel.PAGE, assurance=AssuranceLevel.PERSON)
        self._tell(known.id, Answer(agreed=True, reason=""))
        return HTMLResponse(token_page(known, token, nonce=nonce))

    def _refuse(self, known: ApprovalRequest, reason: str, nonce: str) -> Response:
        told = visible(reason.strip()) or "the person said no and gave no reason"
        self._book.decline(known.id, channel=Channel.PAGE, reason=told)
        self._tell(known.id, Answer(agreed=False, reason=told))
        return HTMLResponse(message_page("Refused", effect_of(known.plan.action), nonce=nonce))

    def _tell(self, approval: ApprovalId, answer: Answer) -> None:
        self._visits.pop(approval, None)
        if self._on_answer is not None:
            self._on_answer(approval, answer)

    def _visit_of(self, request: Request) -> _Visit:
        visit = self._visits.get(request.path_params["approval"])
        given = request.cookies.get(_COOKIE, "")
        if visit is None or visit.session is None or not hmac.compare_digest(visit.session.encode(), given.encode()):
            raise HTTPException(403, "This browser did not open the link of this approval.")
        return visit

    def _open_request(self, approval: ApprovalId) -> ApprovalRequest:
        known = self._book.get(approval)
        if known is None or known.state is not ApprovalState.OPEN:
            state = "unknown" if known is None else known.state.value
            raise HTTPException(409, f"Approval {approval} is {state}, so there is nothing to decide.")
        return known


async def _fields(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "This is not the form of this page.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM:
            raise HTTPException(413, "This form is too long.")
    try:
        parsed = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=8, errors="strict")
    except ValueError as problem:
        raise HTTPException(400, "This is not the form of this page.") from problem
    if any(len(values) != 1 for values in parsed.values()):
        raise HTTPException(400, "A field stands twice in this form.")
    return {name: values[0] for name, values in parsed.items()}


def _no_icon(_: Request) -> Response:
    return Response(status_code=204)


def _nothing_decided(request: Request, status: int, text: str) -> Response:
    page = message_page("Nothing was decided here", text, nonce=request.state.nonce)
    return HTMLResponse(page, status_code=status)


def _failed(request: Request, problem: Exception) -> Response:
    status, text = (problem.status_code, problem.detail) if isinstance(problem, HTTPException) else (500, "It failed.")
    return _nothing_decided(request, status, text)


def _refused(request: Request, problem: Exception) -> Response:
    return _nothing_decided(request, 409, str(problem))
