"""The control surface, apart from the platform's paths: time, preemption, hosts, faults, quirks, exact figures."""

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from remote_gpu_trainer.emulator import puppet, scenarios
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.faults import KINDS, Fault
from remote_gpu_trainer.emulator.http.snapshots import contract_view, meter_view, state_view
from remote_gpu_trainer.emulator.linefaults import KINDS as LINE_KINDS
from remote_gpu_trainer.emulator.puppet import Impossible
from remote_gpu_trainer.emulator.quirks import ALL

PREFIX = "/_emulator"
Json = dict[str, Any]
Work = Callable[[Request, Json], Awaitable[Any]]


class Control:
    """Handlers over one engine. Each takes the request and its JSON body and returns JSON."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.world = engine, engine.world

    async def state(self, request: Request, body: Json) -> Any:
        """Everything at a glance."""
        return state_view(self.world)

    async def meter(self, request: Request, body: Json) -> Any:
        """Exact money: picodollars as whole numbers, beside USD."""
        return meter_view(self.world)

    async def instances(self, request: Request, body: Json) -> Any:
        """All contracts, destroyed ones too."""
        return {"instances": [contract_view(self.world, c) for c in self.world.contracts.values()]}

    async def instance(self, request: Request, body: Json) -> Any:
        """One contract in full."""
        return contract_view(self.world, puppet.find(self.world, request.path_params["id"]))

    async def act(self, request: Request, body: Json) -> Any:
        """Do something to one instance: see ``puppet.VERBS``."""
        contract = puppet.find(self.world, request.path_params["id"])
        extra = await puppet.act(self.engine, contract, request.path_params["verb"], body)
        await self.world.fleet.settled()
        return contract_view(self.world, contract) | extra

    async def clock(self, request: Request, body: Json) -> Any:
        """Set ``speed``, let ``advance_s`` pass at once; gives the time."""
        if "speed" in body:
            self.world.clock.set_speed(float(body["speed"]))
        if "advance_s" in body:
            await self.engine.advance(float(body["advance_s"]))
        return {"now": self.world.now, "speed": self.world.clock.speed}

    async def faults(self, request: Request, body: Json) -> Any:
        """List (GET), arm (POST) or clear (DELETE) faults.

        ``route`` is a method and a path glob, such as ``PUT /api/v0/asks/*``, or ``SSH ID`` for connections to a box.
        """
        over_ssh = str(body.get("route", "")).startswith(puppet.SSH)
        if request.method == "POST" and over_ssh:
            puppet.arm_line(self.world, body)
        elif request.method == "POST":
            method, _, path = str(body.get("route", "")).partition(" ")
            fields = {k: body[k] for k in ("kind", "count", "after", "status", "delay_s") if k in body}
            self.world.faults.arm(
                Fault(str(body.get("method", method) or "*"), str(body.get("path", path) or "*"), **fields)
            )
        if request.method == "DELETE":
            self.world.faults.armed.clear()
            for box in self.world.fleet.snapshot().values():
                box.line_faults.clear()
        armed = [fault.__dict__ for fault in self.world.faults.armed] + puppet.lines_armed(self.world)
        return {"armed": armed, "kinds": KINDS, "ssh_kinds": LINE_KINDS}

    async def quirks(self, request: Request, body: Json) -> Any:
        """List (GET) or switch (POST ``{name: bool}``) quirks."""
        for name, on in body.items():
            self.world.quirks.switch(name, bool(on))
        return {q.name: {"on": self.world.quirks.on(q.name), "what": q.what} for q in ALL}

    async def account(self, request: Request, body: Json) -> Any:
        """Set ``balance_usd``, ``card``, ``tfa``, ``search_quota``."""
        return puppet.set_account(self.engine, body)

    async def keys(self, request: Request, body: Json) -> Any:
        """Make an API key with ``permissions`` and perhaps a ``tfa_session``; or ``revoke`` one by id."""
        if "revoke" in body:
            for key in self.world.account.keys:
                key.deleted = key.deleted or key.id == int(body["revoke"])
            return {"revoked": int(body["revoke"])}
        key = self.world.account.add_key(str(body.get("name", "made by control")), body.get("permissions"))
        key.tfa_session = bool(body.get("tfa_session", False))
        return {"id": key.id, "key": key.key}

    async def strangers(self, request: Request, body: Json) -> Any:
        """List (GET), seat (POST) or send away (DELETE ``{"id"}``) other renters."""
        if request.method == "POST":
            puppet.seat(self.engine, body)
        if request.method == "DELETE":
            puppet.send_away(self.engine, int(body["id"]))
        return {"strangers": [s.to_json() for s in self.world.floor.strangers.values()]}

    async def connections(self, request: Request, body: Json) -> Any:
        """Add a cloud connection (``cloud_type``, ``name``); its bucket is a folder that the answer names."""
        number = 1000 + self.world.account.fresh_id() % 1000
        found = {"id": number, "cloud_type": str(body.get("cloud_type", "s3")), "name": str(body.get("name", "bucket"))}
        self.world.account.connections.append(found)
        return found | {"folder": str(self.world.cloud_folder(number))}

    async def scenarios(self, request: Request, body: Json) -> Any:
        """All scenes of trouble."""
        return {"scenarios": [{"id": s.id, "name": s.name, "symptom": s.symptom} for s in scenarios.ALL]}

    async def stage(self, request: Request, body: Json) -> Any:
        """Make a machine on which a scene comes true; says which offer to rent, and how."""
        return scenarios.stage(self.engine, scenarios.find(request.path_params["scenario"]))

    async def strike(self, request: Request, body: Json) -> Any:
        """Play the platform's part of a scene on the instance ``{"instance": id}``."""
        contract = puppet.find(self.world, int(body["instance"]))
        answer = await scenarios.strike(self.engine, scenarios.find(request.path_params["scenario"]), contract)
        await self.world.fleet.settled()
        return answer

    async def machines(self, request: Request, body: Json) -> Any:
        """Change one machine's figures (POST): prices, ``listed_until``, ``online`` and the like."""
        return puppet.set_machine(self.engine, int(request.path_params["id"]), body)


def routes(engine: Engine) -> list[Route]:
    """The control routes, each behind the control token."""
    control = Control(engine)

    def guarded(work: Work) -> Callable[[Request], Awaitable[Response]]:
        async def view(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
            if not hmac.compare_digest(given.encode(), engine.world.control_token.encode()):
                return JSONResponse({"error": "the control surface needs its own token as a bearer"}, 403)
            try:
                raw = await request.body()
                body: object = json.loads(raw) if raw.strip() else {}
                if not isinstance(body, dict):
                    raise ValueError("the body must be a JSON object")
                engine.settle()
                answer = await work(request, cast("Json", body))
            except (ValueError, KeyError, TypeError, Impossible) as wrong:
                return JSONResponse(
                    {"error": f"{type(wrong).__name__}: {wrong}"}, 409 if isinstance(wrong, Impossible) else 400
                )
            if request.method != "GET":
                engine.world.save()
            return JSONResponse(answer)

        return view

    table: list[tuple[str, Work, list[str]]] = [
        ("/state", control.state, ["GET"]),
        ("/meter", control.meter, ["GET"]),
        ("/instances", control.instances, ["GET"]),
        ("/instances/{id:int}", control.instance, ["GET"]),
        ("/instances/{id:int}/{verb}", control.act, ["POST"]),
        ("/clock", control.clock, ["GET", "POST"]),
        ("/faults", control.faults, ["GET", "POST", "DELETE"]),
        ("/quirks", control.quirks, ["GET", "POST"]),
        ("/account", control.account, ["GET", "POST"]),
        ("/keys", control.keys, ["POST"]),
        ("/strangers", control.strangers, ["GET", "POST", "DELETE"]),
        ("/connections", control.connections, ["POST"]),
        ("/machines/{id:int}", control.machines, ["GET", "POST"]),
        ("/scenarios", control.scenarios, ["GET"]),
        ("/scenarios/{scenario}/stage", control.stage, ["POST"]),
        ("/scenarios/{scenario}/strike", control.strike, ["POST"]),
    ]
    return [Route(PREFIX + path, guarded(work), methods=methods) for path, work, methods in table]
