"""The application: all routes of the platform behind the gate, the control surface, and 404 or 405 for the rest."""

from collections import defaultdict
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.http import (
    billing,
    control,
    copies,
    instances,
    keys,
    lists,
    offers,
    rent,
    results,
    state,
    templates,
    users,
    vault,
    volumes,
)
from remote_gpu_trainer.emulator.http.calls import Endpoint
from remote_gpu_trainer.emulator.http.gate import Gate
from remote_gpu_trainer.emulator.server import Connections

ENDPOINTS: list[Endpoint] = [
    *offers.ROUTES,
    *rent.ROUTES,
    *results.ROUTES,
    *state.ROUTES,
    *keys.ROUTES,
    *billing.ROUTES,
    *volumes.ROUTES,
    *users.ROUTES,
    *instances.ROUTES,
    *templates.ROUTES,
    *vault.ROUTES,
    *copies.ROUTES,
    *lists.ROUTES,
]
"""All routes that need a key."""

View = Callable[[Request], Awaitable[Response]]


def _views(endpoints: list[Endpoint], serve: Callable[[Endpoint, Request], Awaitable[Response]]) -> list[Route]:
    by_path: dict[str, dict[str, Endpoint]] = defaultdict(dict)
    for endpoint in endpoints:
        by_path[endpoint.path][endpoint.method] = endpoint

    def view(methods: dict[str, Endpoint]) -> View:
        async def answer(request: Request) -> Response:
            endpoint = methods.get(request.method)
            if endpoint is None:
                return _error(
                    405,
                    "method_not_allowed",
                    f"Method {request.method} is not allowed here.",
                    {"allow": ", ".join(sorted(methods))},
                )
            return await serve(endpoint, request)

        return answer

    every = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]
    ordered = sorted(by_path.items(), key=lambda item: item[0].count("{"))
    return [Route(path + slash, view(methods), methods=every) for path, methods in ordered for slash in ("", "/")]


def _error(status: int, error: str, msg: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"success": False, "error": error, "msg": msg}, status, headers)


def make_app(engine: Engine, connections: Connections) -> Starlette:
    """The whole HTTP surface over an engine."""
    gate = Gate(engine, connections)

    async def open_serve(endpoint: Endpoint, request: Request) -> Response:
        answer = offers.gpu_names_answer()
        return Response(answer.payload(), answer.status, media_type="application/json")

    async def result(request: Request) -> Response:
        answer = results.read(engine.world, request.path_params["name"])
        return Response(
            answer.payload(), answer.status, media_type="text/plain" if answer.status == 200 else "application/xml"
        )

    async def missing(request: Request) -> Response:
        return _error(404, "not_found", f"No such endpoint: {request.method} {request.url.path}")

    routes = [
        Route("/vast.ai/instance_logs/{name}", result, methods=["GET"]),
        *control.routes(engine),
        *_views(offers.OPEN_ROUTES, open_serve),
        *_views(ENDPOINTS, gate.serve),
        Route("/{rest:path}", missing, methods=["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
    ]

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        words = "method_not_allowed" if status == 405 else "not_found"
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return _error(status, words, f"No such endpoint: {request.method} {request.url.path}", headers)

    app = Starlette(routes=routes, exception_handlers={HTTPException: refused})
    app.router.redirect_slashes = False
    return app
