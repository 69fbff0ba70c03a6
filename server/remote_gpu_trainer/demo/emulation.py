"""The emulator as a process of its own, and the hand that plays the other bidders."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
from pydantic import BaseModel

from remote_gpu_trainer.errors import RgtError

NOT_FOUND = 404


class EmulatorFailed(RgtError):
    """The emulator did not come up."""

    code = "emulator_failed"


class Ready(BaseModel):
    """The emulator's one line."""

    model_config = {"extra": "ignore"}

    url: str
    api_key: str
    control_url: str
    control_token: str


@dataclass(frozen=True)
class Control:
    """The emulator's control surface: what happens to us, and what is really there."""

    ready: Ready

    def instance(self, instance_id: int) -> dict[str, Any] | None:
        """What the emulator holds of an instance; None when there is none."""
        answer = self._send("GET", f"/instances/{instance_id}")
        return None if answer.status_code == NOT_FOUND else cast(dict[str, Any], answer.json())

    def there(self, instance_id: int) -> bool:
        """Whether an instance exists and has not been destroyed."""
        held = self.instance(instance_id)
        return held is not None and held.get("phase") != "destroyed"

    def preempt(self, instance_id: int, *, over_usd: float, for_s: float) -> None:
        """Another bidder pays more, for a while of market time."""
        body = {"over_usd": over_usd, "for_s": for_s}
        self._send("POST", f"/instances/{instance_id}/preempt", body).raise_for_status()

    def meter(self) -> dict[str, Any]:
        """What the market has billed and bills."""
        return cast(dict[str, Any], self._send("GET", "/meter").json())

    def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.ready.control_token}"}
        return httpx.request(method, f"{self.ready.control_url}{path}", json=body, headers=headers, timeout=30.0)


@contextlib.contextmanager
def emulator(folder: Path, *, seed: int, speed: float) -> Generator[Ready]:
    """An emulator process on a free port; ended at the end.

    Raises:
        EmulatorFailed: it ended, or said nothing readable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = ["--port", "0", "--state", str(folder), "--seed", str(seed), "--speed", str(speed), "--json"]
    words += ["--without", "lively-market"]  # a stranger who takes the offer would end what is to be shown
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "remote_gpu_trainer.emulator", *words], stdout=subprocess.PIPE, stderr=log
        )
        try:
            yield _ready(process, folder)
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _ready(process: subprocess.Popen[bytes], folder: Path) -> Ready:
    line = b"" if process.stdout is None else process.stdout.readline()
    try:
        return Ready.model_validate(json.loads(line))
    except ValueError as error:
        last = (folder / "emulator.log").read_text("utf-8", "replace")[-400:].strip()
        raise EmulatorFailed(f"the emulator did not start: {last!r}", effect="Nothing was rented.") from error
