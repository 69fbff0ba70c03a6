"""A renter with raw HTTP: the platform's API with a key, and the control surface with its token."""

import ssl
from typing import Any, Self

import httpx

from remote_gpu_trainer.emulator.service import Ready

Json = dict[str, Any]
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx3Y0d7Z5u0m6mJm0N1o3s1J0v2f8qk0g1r9p5tQ2eN renter@example"
IMAGE = "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime"
_TLS = ssl.create_default_context()
"""Made once: a client of its own loads all certificates, which takes longer than a test."""
BOOTED_S = 900.0
"""Emulated seconds after which every image of the tests is up."""


class Renter:
    """One customer of one emulator whose clock stands still."""

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.api = httpx.Client(
            base_url=ready.url,
            headers={"Authorization": f"Bearer {ready.api_key}"},
            timeout=10,
            trust_env=False,
            verify=_TLS,
        )
        self.control = httpx.Client(
            base_url=ready.control_url,
            headers={"Authorization": f"Bearer {ready.control_token}"},
            timeout=30,
            trust_env=False,
            verify=_TLS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        self.control.close()

    def do(self, path: str, /, **body: Any) -> Json:
        """Tell the control surface something; it must agree."""
        answer = self.control.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def look(self, path: str) -> Json:
        answer = self.control.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, seconds: float) -> None:
        self.do("/clock", advance_s=seconds)

    def search(self, **query: Any) -> list[Json]:
        answer = self.api.post("/api/v0/bundles/", json=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["offers"]

    def offer(self, **query: Any) -> Json:
        """A plain, good offer: the cheapest verified RTX 4090 with direct ports."""
        wanted: Json = {
            "gpu_name": {"eq": "RTX 4090"},
            "num_gpus": {"eq": 1},
            "verified": {"eq": True},
            "rentable": {"eq": True},
            "direct_port_count": {"gte": 2},
            "cuda_max_good": {"gte": 12.4},
            "duration": {"gte": 86400 * 100},
            "order": [["dph_total", "asc"]],
        }
        return self.search(**(wanted | query))[0]

    def create(self, offer: Json, **body: Any) -> httpx.Response:
        wanted: Json = {"client_id": "me", "image": IMAGE, "disk": 20, "runtype": "ssh_direc ssh_proxy"}
        return self.api.put(f"/api/v0/asks/{offer['id']}/", json=wanted | body)

    def rent(self, offer: Json | None = None, **body: Any) -> int:
        answer = self.create(offer or self.offer(), **body)
        assert answer.status_code == 200, answer.text
        return answer.json()["new_contract"]

    def bid(self, factor: float = 1.5, **body: Any) -> int:
        """Rent an interruptible at ``factor`` times the least bid."""
        offer = self.offer(type="bid")
        return self.rent(offer, price=round(offer["min_bid"] * factor, 4), **body)

    def running(self, contract: int) -> int:
        self.wait(BOOTED_S)
        assert self.show(contract)["actual_status"] == "running", self.show(contract)
        return contract

    def show(self, contract: int) -> Json:
        row = self.api.get(f"/api/v0/instances/{contract}/").json()["instances"]
        assert row is not None
        return row

    def words(self, contract: int) -> tuple[str | None, str, str, str]:
        """actual, intended, current, next."""
        row = self.show(contract)
        return row["actual_status"], row["intended_status"], row["cur_state"], row["next_state"]

    def state(self, contract: int, state: str) -> httpx.Response:
        return self.api.put(f"/api/v0/instances/{contract}/", json={"state": state})

    def destroy(self, contract: int) -> httpx.Response:
        return self.api.request("DELETE", f"/api/v0/instances/{contract}/", json={})

    def cost(self, contract: int) -> Json:
        return self.look(f"/instances/{contract}")["cost"]
