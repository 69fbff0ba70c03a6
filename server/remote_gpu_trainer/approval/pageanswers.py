"""What every page of ours answers with when it is not the page that was asked for."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from remote_gpu_trainer.approval.pageview import message_page
from remote_gpu_trainer.errors import RgtError

_SCRIPT = Path(__file__).with_name("templates") / "passkey.js"


def _nothing_decided(request: Request, status: int, text: str) -> Response:
    page = message_page("Nothing was decided here", text, nonce=request.state.nonce)
    return HTMLResponse(page, status_code=status)


def _failed(request: Request, problem: Exception) -> Response:
    status, text = (problem.status_code, problem.detail) if isinstance(problem, HTTPException) else (500, "It failed.")
    return _nothing_decided(request, status, text)


def _refused(request: Request, problem: Exception) -> Response:
    return _nothing_decided(request, 409, str(problem))


def _no_icon(_: Request) -> Response:
    return Response(status_code=204)


def _script(_: Request) -> Response:
    return Response(_SCRIPT.read_bytes(), media_type="text/javascript")


HANDLERS = {HTTPException: _failed, RgtError: _refused}
ROUTES = [
    Route("/favicon.ico", _no_icon, methods=["GET"]),
    Route("/passkey.js", _script, methods=["GET"]),
]
"""The only script there is; pages without a passkey do not ask for it."""
