"""The road, step by step, as an agent would walk it."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio

from remote_gpu_trainer import bundled
from remote_gpu_trainer.demo.emulation import Control
from remote_gpu_trainer.demo.person import StandIn
from remote_gpu_trainer.demo.report import Refusal, Report
from remote_gpu_trainer.demo.screen import Screen
from remote_gpu_trainer.demo.stage import Caller, ToolRefused, code_in

STEPS = 400
CHECKPOINT_EVERY = 25
DELAY_MS = 20.0
PREEMPT_AT = 150
LONGEST_LOOKS = 240
PAUSE_S = 0.25
_APPROVAL = re.compile(r"rgt approve (\S+)")
GONE_FOR_S = 1e6
"""Seconds of market time that the other bidder stays; only a higher bid ends it earlier."""
MADE_UP = "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG"

Json = dict[str, Any]


@dataclass
class Road:
    """State that the steps share."""

    report: Report
    screen: Screen
    control: Control
    run: str = ""
    instance_id: int = 0
    bid: float = 0.0
    copy: Json = field(default_factory=dict[str, Any])

    async def rent(self, caller: Caller) -> None:
        """Search, rent an interruptible, wait until it runs."""
        found = await caller.call(
            "search_offers",
            {
                "hours": 1,
                "disk_gib": 16,
                "rental": "interruptible",
                "image": "python:3.11-slim",
                "upload_gib": 0.01,
                "download_gib": 0.01,
                "max_usd_per_hour": 0.9,
            },
            told="interruptible offers, ranked by the cost of the whole job",
        )
        offer = next(
            (one for one in found["offers"] if all(f["severity"] == "warn" for f in one["findings"])),
            found["offers"][0],
        )
        self.bid = round(float(offer["min_bid_usd_per_hour"]) * 1.05, 4)
        self.screen.say(
            f"{offer['gpu']} at ${self.bid:.4f}/h: the whole job about ${offer['total_usd']:.4f}; "
            "stopped, its disk bills on; only destroy ends the meter"
        )
        view = await caller.call(
            "create_instance",
            {
                "name": "digits",
                "offer_id": offer["offer_id"],
                "image": "python:3.11-slim",
                "hours": 1,
                "disk_gib": 16,
                "rental": "interruptible",
                "bid_usd_per_hour": self.bid,
                "checkpoint_minutes": 1,
                "resumes": True,
                "upload_gib": 0.01,
                "download_gib": 0.01,
                "acknowledge": [one["id"] for one in offer["findings"] if one["acknowledgeable"]],
            },
            told="rent it, once",
        )
        self.run, self.instance_id = str(view["runs"][0]["run"]), int(view["runs"][0]["instance_id"])
        await self._until_running(caller)

    async def train(self, caller: Caller) -> None:
        """Push, start, be preempted in the middle, resume, finish."""
        await caller.call(
            "push_files",
            {"target": self.run, "source": str(bundled.path("examples/digits")), "destination": "/workspace/run"},
            told="examples/digits to the machine",
        )
        command = ["python3", "train.py", "--out", "/workspace/out", "--steps", str(STEPS)]
        command += ["--checkpoint-every", str(CHECKPOINT_EVERY), "--step-delay-ms", str(DELAY_MS)]
        await caller.call(
            "start_job",
            {
                "target": self.run,
                "command": command,
                "results": ["/workspace/out"],
                "resumes": True,
                "checkpoint_minutes": 1,
            },
            told="train a small network on the bundled digits",
        )
        await self._until_step(caller, PREEMPT_AT)
        self.control.preempt(self.instance_id, over_usd=0.02, for_s=GONE_FOR_S)
        self.report.preemptions += 1
        self.screen.say("another bidder takes the GPU: the machine stops without notice", style="red")
        view = await self._until(caller, lambda one: one["instance_phase"] != "running", "see what happened")
        self.screen.say(f"{view['cause']} ({view['rule']}): {view['next_step']}", style="red")
        self.bid = round(self.bid + 0.05, 4)
        await caller.call(
            "resume_run",
            {"target": self.run, "method": "rebid", "bid_usd_per_hour": self.bid},
            told=f"bid ${self.bid:.4f}/h and go on",
        )
        await self._until_running(caller)
        await self._until_step(caller, STEPS)
        await self._until(caller, lambda one: str(one["job"]).startswith("succeeded"), "wait for the end")
        await caller.call("read_logs", {"target": self.run, "lines": 20}, told="the job's own words")

    async def bring_home(self, caller: Caller) -> None:
        """Copy, then prove by loading."""
        self.copy = await caller.call("copy_out", {"target": self.run}, told="results home, hashed as they arrive")
        await self.prove(caller)
        result = json.loads(await anyio.Path(self._local("result.json")).read_text())
        self.report.final_step = int(result["step"])
        self.report.test_accuracy = float(result["test_accuracy"])
        resumed = result["resumed_from_step"]
        self.report.resumed_from_step = None if resumed is None else int(resumed)
        self.screen.say(
            f"resumed from step {resumed}, ended at {result['step']}, test accuracy {result['test_accuracy']:.3f}"
        )

    async def prove(self, caller: Caller) -> None:
        """Verify with expectations."""
        proof = await caller.call(
            "verify_local",
            {
                "copy_id": self.copy["copy_id"],
                "expect": {
                    "files": ["**/*.safetensors", "**/result.json", "**/metrics.jsonl"],
                    "min_step": STEPS,
                    "finite_metrics": ["loss", "test_accuracy"],
                    "min_level": "LOADS",
                },
            },
            told="load every file, compare with what was expected",
        )
        if not proof["passed"]:
            raise ToolRefused(f"the results are not proven: {proof['errors'] or proof['unmet'] or proof['missing']}")
        self.report.files_verified = int(proof["files_verified"])
        self.report.lowest_level = proof["lowest_level"]

    async def refused_without_person(self, caller: Caller) -> None:
        """A client that cannot ask: no token, then a made-up one."""
        plan = await self._refused(caller, {}, "no person asked", "consent_required")
        named = _APPROVAL.search(plan)
        if named is None:
            raise ToolRefused("the plan names no approval id")
        await self._refused(caller, {"approval_id": named[1], "token": MADE_UP}, "a made-up token", "token_rejected")

    async def refused_after_change(self, caller: Caller, person: StandIn) -> None:
        """The person agrees, and a proven file is altered in the meantime."""
        weights = self._local("model.safetensors")
        whole = await anyio.Path(weights).read_bytes()
        person.before_answer = lambda: _flip_last_byte(weights)
        await self._refused(caller, {}, "a proven file altered while the person decides", "plan_changed")
        await anyio.Path(weights).write_bytes(whole)
        self.screen.say("the file is put back and everything is proven again")
        await self.prove(caller)

    async def end(self, caller: Caller) -> None:
        """Ask once more, destroy, look at the money."""
        self.screen.say("a scripted stand-in for the person now types the run's name", style="magenta")
        done = await caller.call("destroy", {"target": self.run}, told="plan, consent, last look, one DELETE")
        self.report.destroyed = bool(done["destroyed"] and done["confirmed"]) and not self.control.there(
            self.instance_id
        )
        money = await caller.call("spend", {}, told="is the meter at rest?")
        self.report.meter_usd_per_hour_after = float(money["burn_usd_per_hour"]) + float(
            self.control.meter()["burn_usd_per_hour"]
        )
        self.report.cost_usd = float(self.control.meter()["total_usd"])
        self.screen.say(f"the meter is at rest; the market billed ${self.report.cost_usd:.4f} on its faster clock")

    async def _refused(self, caller: Caller, extra: Json, attempt: str, code: str) -> str:
        text = await caller.attempt("destroy", {"target": self.run, **extra}, told=attempt)
        there = self.control.there(self.instance_id)
        seen = "none" if text is None else code_in(text)
        if seen != code:
            self.report.failures.append(f"{attempt}: expected {code}, got {seen}: {text}")
        if text is not None:
            said = text.split("\n", 1)[0][-300:]
            self.report.refusals.append(Refusal(attempt=attempt, code=seen, said=said, instance_still_there=there))
        return text or ""

    async def _until_running(self, caller: Caller) -> None:
        answer = await caller.call(
            "poll_status",
            {"target": self.run, "wait_s": 60, "until": "running"},
            told="wait until it runs",
        )
        view = answer["runs"][0]
        if view["instance_phase"] != "running":
            raise ToolRefused(f"it does not run: {view['explanation']}")

    async def _until_step(self, caller: Caller, step: int) -> None:
        def reached(view: Json) -> bool:
            now = view["job_step"]
            if now is not None:
                self.screen.step(int(now), STEPS)
                if step == PREEMPT_AT and now >= step:
                    self.report.preempted_at_step = int(now)
            return now is not None and now >= step

        await self._until(caller, reached, f"train to step {step}")

    async def _until(self, caller: Caller, holds: Callable[[Json], bool], told: str) -> Json:
        self.screen.doing("poll_status", told)
        began = time.monotonic()
        for _ in range(LONGEST_LOOKS):
            answer = await caller.client.call_tool("poll_status", {"target": self.run})
            runs = cast(list[Json], cast(Json, answer.structured_content or {}).get("runs", []))
            if not answer.is_error and runs and holds(runs[0]):
                caller.done("poll_status", "ok", time.monotonic() - began)
                return runs[0]
            await anyio.sleep(PAUSE_S)
        raise ToolRefused(f"waited in vain: {told}")

    def _local(self, name: str) -> Path:
        folder = Path(self.copy["destination"])
        found = sorted(folder.rglob(name))
        if not found:
            raise ToolRefused(f"{name} is not among the results in {folder}")
        return found[0]


def _flip_last_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
