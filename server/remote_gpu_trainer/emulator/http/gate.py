"""What every call passes before its handler: faults, the key and its scope, rate limits, the body's form."""

import asyncio
import inspect
import json
from math import ceil
from typing import Any, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from remote_gpu_trainer.emulator.account import ApiKey
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.faults import Fault
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Refusal, refusal
from remote_gpu_trainer.emulator.http.scopes import allowed
from remote_gpu_trainer.emulator.limits import SEARCHES_PER_DAY, Refused
from remote_gpu_trainer.emulator.server import Connections, Dropped

MOST_BODY = 1_000_000
TFA_FREE = frozenset({"api.user.show"})
"""Reads that an account with two-factor authentication answers without a session."""
SEARCHES = frozenset({"api.search.offers", "api.search.asks"})


class Gate:
    """Wraps handlers. One per server."""

    def __init__(self, engine: Engine, connections: Connections) -> None:
        self._engine, self._connections = engine, connections

    async def serve(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer one request, or close its connection (Dropped)."""
        fault = self._engine.world.faults.take(request.method, request.url.path)
        await self._before(fault, request)
        answer = await self._answer(endpoint, request, fault)
        return await self._after(fault, request, answer)

    async def _before(self, fault: Fault | None, request: Request) -> None:
        if fault is None:
            return
        if fault.kind == "timeout":
            await asyncio.sleep(fault.delay_s if fault.delay_s is not None else 600.0)
        if fault.kind in ("lost-request", "timeout"):
            self._connections.drop(request)
            raise Dropped

    async def _after(self, fault: Fault | None, request: Request, answer: Answer) -> Response:
        kind = fault.kind if fault else ""
        if kind == "lost-response":
            self._connections.drop(request)
            raise Dropped
        if fault and kind == "slow":
            await asyncio.sleep(fault.delay_s if fault.delay_s is not None else 3.0)
        if fault and kind == "late-error":
            answer = Answer({"success": False, "error": "server_error", "msg": "Bad Gateway"}, fault.status or 502)
        if kind == "garbage":
            return Response("<html><body>upstream</body></html>", media_type="text/html")
        media = "text/plain" if answer.text is not None else "application/json"
        payload = answer.payload()
        headers = dict(answer.headers)
        if kind == "truncate":
            self._connections.drop_after(request, len(payload) // 2)
        return Response(payload, answer.status, headers, media)

    async def _answer(self, endpoint: Endpoint, request: Request, fault: Fault | None) -> Answer:
        try:
            if fault and fault.kind == "error":
                return Answer(
                    {"success": False, "error": "server_error", "msg": "Service unavailable"}, fault.status or 503
                )
            if fault and fault.kind == "rate-limit":
                raise self._too_many(Refused(endpoint.threshold_s, fault.delay_s or 1.0))
            if fault and fault.kind == "auth":
                raise refusal(404, "auth_error", "Invalid user key")
            self._engine.settle_to_read() if request.method == "GET" else self._engine.settle()
            key = self._key(request)
            self._limit(endpoint, key)
            body = await self._body(request)
            call = Call(self._engine, key, request.path_params, dict(request.query_params), body)
            call.fault = fault.kind if fault and fault.kind in ("phantom", "dud") else None
            if not allowed(key.permissions, endpoint, {**body, **request.path_params}):
                raise refusal(
                    401, "auth_error", f"This API key does not have permission for {endpoint.name or endpoint.path}."
                )
            found = endpoint.handler(call)
            answer = await found if inspect.isawaitable(found) else found
        except Refusal as refused:
            answer = refused.answer
        if request.method != "GET":
            self._engine.world.save()
        return answer

    def _key(self, request: Request) -> ApiKey:
        world = self._engine.world
        header = request.headers.get("authorization", "")
        secret = header[7:].strip() if header.lower().startswith("bearer ") else request.query_params.get("api_key", "")
        if not secret:
            raise refusal(
                403 if request.url.path.startswith(("/api/v0/charges", "/api/v1/invoices")) else 401,
                "auth_error",
                "This action requires login.",
            )
        key = world.account.key(secret)
        if key is None:
            raise refusal(404 if world.quirks.on("bad-key-404") else 401, "auth_error", "Invalid user key")
        return key

    def _limit(self, endpoint: Endpoint, key: ApiKey) -> None:
        world = self._engine.world
        if world.account.tfa and not key.tfa_session and endpoint.name not in TFA_FREE:
            raise refusal(
                401, "auth_error", "This action requires Two Factor Authentication (2FA). Please log in with 2FA."
            )
        speed = world.clock.speed
        if world.quirks.on("shared-limit") and (refused := world.limits.shared(key.id, speed)):
            raise self._too_many(refused)
        if refused := world.limits.endpoint(key.id, f"{endpoint.method} {endpoint.path}", endpoint.threshold_s, speed):
            raise self._too_many(refused)
        if endpoint.name in SEARCHES:
            self._count_search()

    def _count_search(self) -> None:
        account, day = self._engine.world.account, int(self._engine.world.now // 86_400)
        if account.searches_on != day:
            account.searches_on, account.searches = day, 0
        account.searches += 1
        if account.searches > int(account.settings.get("search_quota", SEARCHES_PER_DAY)):
            body = {
                "success": False,
                "error": "search_quota_exceeded",
                "msg": "Daily search quota exceeded; it resets at midnight UTC.",
            }
            raise Refusal(Answer(body, 429))

    def _too_many(self, refused: Refused) -> Refusal:
        threshold = refused.threshold_s
        message = "API requests too frequent" + (f" endpoint threshold={threshold}" if threshold else "")
        if threshold is None:
            wait = max(1, ceil(refused.retry_after_s))
            headers = {
                "retry-after": str(wait),
                "x-ratelimit-limit": str(refused.limit),
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": str(wait),
            }
            return Refusal(Answer({"detail": message, "retry_after": wait}, 429, headers=headers))
        if self._engine.world.quirks.on("plain-429"):
            return Refusal(Answer(None, 429, text=message))
        return Refusal(Answer({"detail": message}, 429))

    async def _body(self, request: Request) -> dict[str, Any]:
        raw = bytearray()
        try:
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MOST_BODY:
                    raise refusal(400, "invalid_request", "Request body too large")
        except ClientDisconnect:
            raise Dropped from None
        if not raw.strip():
            return {}
        try:
            body: object = json.loads(bytes(raw))
        except (ValueError, RecursionError):
            raise refusal(400, "invalid_request", "Invalid json body") from None
        if not isinstance(body, dict):
            raise refusal(400, "invalid_request", "Invalid json body")
        return cast("dict[str, Any]", body)
