"""The local page: one person, one link, one answer. Served on loopback and opened as ``http://localhost:PORT``."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from remote_gpu_trainer.approval.elicitation import Answer
from remote_gpu_trainer.approval.pageanswers import HANDLERS, ROUTES
from remote_gpu_trainer.approval.pageguard import PageGuard
from remote_gpu_trainer.approval.pageview import message_page, question_page, token_page
from remote_gpu_trainer.approval.pagevisits import Visit, Visits
from remote_gpu_trainer.approval.passkey import Passkey, assertion_options
from remote_gpu_trainer.approval.passkeyfiles import load_passkeys
from remote_gpu_trainer.approval.refusal import effect_of
from remote_gpu_trainer.approval.typedname import why_not
from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import Plan
from remote_gpu_trainer.errors import ConsentError
from remote_gpu_trainer.ports import ApprovalBook

_TRIES = 5

LevelOf = Callable[[Plan], AssuranceLevel]
"""The least level of a consent to a plan, by the person's policy."""


class PageBook(ApprovalBook, Protocol):
    """A book that also takes a passkey's answer."""

    def approve_passkey(self, approval: ApprovalId, answer: str, *, known: tuple[Passkey, ...], port: int) -> str:
        """Mint the one token of a request for a passkey's answer, at level ``hardware``."""
        ...


class ApprovalPages:
    """The pages of one server.

    Args:
        book: Where the requests are.
        port: Where the server listens; the only ``Host`` that is answered is ``localhost:port``.
        level_of: What a yes to a plan needs. For ``person`` the typed name is enough, for ``hardware`` a passkey signs
            as well; for the others the page takes a no and says where a yes is given.
        passkeys: The folder of the registered ones; without one no script is served.
        on_answer: Told of each answer. It never gets the token.
    """

    def __init__(
        self,
        book: PageBook,
        *,
        port: int,
        level_of: LevelOf,
        passkeys: Path | None = None,
        on_answer: Callable[[ApprovalId, Answer], None] | None = None,
    ) -> None:
        self._book = book
        self._port = port
        self._level_of = level_of
        self._passkeys = passkeys
        self._on_answer = on_answer
        self._visits = Visits(port)

    def link(self, approval: ApprovalId) -> str:
        """A fresh address for one request, good for one browser. An older one for it ends."""
        return self._visits.link(approval)

    def app(self) -> PageGuard:
        """The ASGI application."""
        routes = [
            *ROUTES,
            Route("/{approval}/open/{once}", self._open, methods=["GET"]),
            Route("/{approval}/", self._show, methods=["GET"]),
            Route("/{approval}/answer", self._answer, methods=["POST"]),
        ]
        scripts = self._passkeys is not None
        return PageGuard(Starlette(routes=routes, exception_handlers=HANDLERS), port=self._port, scripts=scripts)

    async def _open(self, request: Request) -> Response:
        return self._visits.open(request.path_params["approval"], request.path_params["once"])

    async def _show(self, request: Request) -> Response:
        approval = ApprovalId(request.path_params["approval"])
        visit = self._visits.of(request, approval)
        return await run_in_threadpool(self._question, approval, visit, request.state.nonce)

    async def _answer(self, request: Request) -> Response:
        approval = ApprovalId(request.path_params["approval"])
        visit, fields = await self._visits.answer(request, approval)
        nonce: str = request.state.nonce
        match fields.get("decision"):
            case "refuse":
                return await run_in_threadpool(self._refuse, approval, fields.get("reason", ""), nonce)
            case "agree":
                return await run_in_threadpool(self._agree, approval, visit, fields, nonce)
            case _:
                raise HTTPException(400, "This answer is neither a yes nor a no.")

    def _question(self, approval: ApprovalId, visit: Visit, nonce: str, problem: str | None = None) -> Response:
        known = self._open_request(approval)
        level = self._level_of(known.plan)
        registered = self._registered() if level is AssuranceLevel.HARDWARE else ()
        page = question_page(
            known,
            form=visit.form,
            nonce=nonce,
            level=level,
            passkey=assertion_options(known, registered) if registered else None,
            problem=problem,
        )
        return HTMLResponse(page, status_code=200 if problem is None else 422)

    def _agree(self, approval: ApprovalId, visit: Visit, fields: dict[str, str], nonce: str) -> Response:
        known = self._open_request(approval)
        level = self._level_of(known.plan)
        if level not in (AssuranceLevel.PERSON, AssuranceLevel.HARDWARE):
            raise HTTPException(403, f"The policy asks for level {level.value}: this page takes only a no.")
        problem = why_not(fields.get("typed", ""), known.plan.name)
        if problem is None:
            try:
                token = self._mint(approval, level, fields.get("passkey", ""))
            except ConsentError as refused:
                problem = refused.message
            else:
                self._tell(approval, Answer(agreed=True, reason=""))
                return HTMLResponse(token_page(known, token, nonce=nonce))
        visit.tries += 1
        if visit.tries >= _TRIES:
            return self._refuse(
                approval, f"no full yes was given in {_TRIES} tries, the last one because {problem}", nonce
            )
        return self._question(approval, visit, nonce, problem)

    def _mint(self, approval: ApprovalId, level: AssuranceLevel, passkey: str) -> str:
        if level is AssuranceLevel.HARDWARE:
            return self._book.approve_passkey(approval, passkey, known=self._registered(), port=self._port)
        return self._book.approve(approval, channel=Channel.PAGE, assurance=AssuranceLevel.PERSON)

    def _registered(self) -> tuple[Passkey, ...]:
        return () if self._passkeys is None else load_passkeys(self._passkeys)

    def _refuse(self, approval: ApprovalId, reason: str, nonce: str) -> Response:
        known = self._open_request(approval)
        told = visible(reason.strip()) or "the person said no and gave no reason"
        self._book.decline(known.id, channel=Channel.PAGE, reason=told)
        self._tell(known.id, Answer(agreed=False, reason=told))
        return HTMLResponse(message_page("Refused", effect_of(known.plan.action), nonce=nonce))

    def _tell(self, approval: ApprovalId, answer: Answer) -> None:
        self._visits.end(approval)
        if self._on_answer is not None:
            self._on_answer(approval, answer)

    def _open_request(self, approval: ApprovalId) -> ApprovalRequest:
        known = self._book.get(approval)
        if known is None or known.state is not ApprovalState.OPEN:
            state = "unknown" if known is None else known.state.value
            raise HTTPException(409, f"Approval {approval} is {state}, so there is nothing to decide.")
        return known
