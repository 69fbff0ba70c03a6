"""Ports: random outside, found at run time, forwarded while the instance runs; and copies by the platform itself."""

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.emulator.renter import Renter


@pytest.fixture
def service() -> Iterator[int]:
    """Something that answers HTTP, as a service in a box would, on its internal port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_published_port_answers_on_its_external_one_and_is_billed(renter: Renter, service: int) -> None:
    contract = renter.running(renter.rent(env={f"-p {service}:{service}": "1", "-p 53:53/udp": "1"}))
    ports = renter.show(contract)["ports"]
    assert set(ports) == {f"{service}/tcp", "53/udp", "22/tcp"}
    outer = int(ports[f"{service}/tcp"][0]["HostPort"])
    assert outer != service
    assert renter.look(f"/instances/{contract}")["order"]["env"][f"VAST_TCP_PORT_{service}"] == str(outer)
    url = f"http://127.0.0.1:{outer}/"
    assert httpx.head(url, trust_env=False, headers={"Connection": "close"}).status_code == 200
    for _ in range(200):  # booked when the forwarder has seen both ends close, a moment after the client has
        if renter.cost(contract)["sent_bytes"] > 0:
            break
    assert renter.cost(contract)["sent_bytes"] > 0
    renter.state(contract, "stopped")
    with pytest.raises(httpx.TransportError):
        httpx.head(url, trust_env=False)


def test_giving_ports_back_leaves_every_later_request_answered(renter: Renter) -> None:
    contract = renter.running(renter.rent(env={f"-p {port}:{port}": "1" for port in range(8000, 8016)}))
    outer = {int(taken[0]["HostPort"]) for taken in renter.show(contract)["ports"].values()}
    renter.destroy(contract)
    renter.wait(30)
    for port in outer:
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
            raise AssertionError(f"port {port} is still open")
    one_context = ssl.create_default_context()  # shared: making one per client is most of a client's cost
    with contextlib.ExitStack() as all_open:
        for _ in range(20):
            api = all_open.enter_context(httpx.Client(trust_env=False, timeout=5, verify=one_context))
            assert api.get(renter.ready.url + "/api/v0/instances/").status_code


def test_at_most_sixty_four_ports_are_open_with_that_of_ssh(renter: Renter) -> None:
    contract = renter.running(renter.rent(env={f"-p {port}:{port}": "1" for port in range(9000, 9064)}))
    ports = renter.show(contract)["ports"]
    assert len(ports) == 64
    assert "22/tcp" in ports
    assert len({taken[0]["HostPort"] for taken in ports.values()}) == 64


def test_a_machine_without_open_ports_publishes_none(renter: Renter) -> None:
    offer = renter.offer()
    renter.do(f"/machines/{offer['machine_id']}", direct_port_count=0)
    contract = renter.running(renter.rent(offer, env={"-p 8080:8080": "1"}))
    assert renter.show(contract)["ports"] == {}


def root(renter: Renter, contract: int) -> Path:
    found = Path(renter.look(f"/instances/{contract}")["order"]["root"], "workspace")
    found.mkdir(parents=True, exist_ok=True)
    return found


def test_a_copy_between_instances_tells_late_and_bills_both_sides(renter: Renter) -> None:
    one, two = renter.running(renter.rent()), renter.running(renter.rent())
    (root(renter, one) / "out").mkdir()
    (root(renter, one) / "out" / "a.bin").write_bytes(b"x" * 10_000)
    body = {"src_id": f"C.{one}", "dst_id": str(two), "src_path": "/workspace/out/", "dst_path": "/workspace/in"}
    assert "initiated" in renter.api.put("/api/v0/commands/copy_direct/", json=body).json()["msg"]
    renter.wait(20)
    assert (root(renter, two) / "in" / "a.bin").read_bytes() == b"x" * 10_000
    renter.wait(30)
    assert renter.show(two)["status_msg"] == "Copy Operation Finished"
    assert renter.cost(one)["sent_bytes"] == renter.cost(two)["received_bytes"] == 10_000


def test_a_copy_reaches_a_volume_by_its_id_and_where_it_is_mounted(renter: Renter) -> None:
    offer = renter.offer()
    ask = renter.api.post("/api/v0/volumes/search/", json={"machine_id": {"eq": offer["machine_id"]}}).json()["offers"][
        0
    ]
    wish = {"create_new": True, "volume_id": ask["id"], "size": 20, "mount_path": "/data"}
    contract = renter.running(renter.rent(offer, volume_info=wish))
    (held,) = renter.show(contract)["volume_info"]
    (root(renter, contract) / "a.bin").write_bytes(b"x" * 10_000)
    body = {"src_id": f"C.{contract}", "dst_id": f"V.{held['id']}", "src_path": "/workspace/a.bin", "dst_path": "/in"}
    assert renter.api.put("/api/v0/commands/copy_direct/", json=body).json()["success"] is True
    renter.wait(60)
    assert held["avail_space"] - renter.show(contract)["volume_info"][0]["avail_space"] == pytest.approx(1e-5)
    back = {"src_id": str(contract), "dst_id": str(contract), "src_path": "/data/in/", "dst_path": "/workspace/out"}
    renter.api.put("/api/v0/commands/copy_direct/", json=back)
    renter.wait(60)
    assert (root(renter, contract) / "out" / "a.bin").read_bytes() == b"x" * 10_000
    gone = renter.api.put("/api/v0/commands/copy_direct/", json=body | {"dst_id": "V.1"})
    assert (gone.status_code, gone.json()["msg"]) == (400, "Invalid dst_id.")
    renter.destroy(contract)
    renter.api.request("DELETE", "/api/v0/volumes/", json={"id": held["id"]})
    renter.wait(1)
    assert not (root(renter, contract).parents[3] / "volumes" / str(held["id"])).exists()


@pytest.mark.parametrize("path", ["/../../../etc", "/workspace/../../../../etc/passwd", "/nothing/here"])
def test_a_copy_never_leaves_the_instances(renter: Renter, path: str) -> None:
    one, two = renter.rent(), renter.rent()
    root(renter, one)
    body = {"src_id": str(one), "dst_id": str(two), "src_path": path, "dst_path": "/workspace/in"}
    assert renter.api.put("/api/v0/commands/copy_direct/", json=body).status_code == 400


def test_a_stopped_instance_syncs_with_a_cloud_connection_and_a_copy_can_be_cancelled(renter: Renter) -> None:
    cloud = renter.do("/connections", cloud_type="s3", name="bucket")
    contract = renter.running(renter.rent())
    (root(renter, contract) / "m.bin").write_bytes(b"y" * 500)
    renter.state(contract, "stopped")
    body: dict[str, Any] = {
        "instance_id": str(contract),
        "src": "/workspace/",
        "dst": "/kept",
        "selected": str(cloud["id"]),
        "transfer": "Instance To Cloud",
        "flags": [],
    }
    assert renter.api.post("/api/v0/commands/rclone/", json=body).json()["success"] is True
    dropped = renter.api.request("DELETE", "/api/v0/commands/rclone/", json={"dst_id": str(contract)})
    assert dropped.json()["success"] is True
    renter.wait(60)
    assert not (Path(cloud["folder"]) / "kept").exists()
    renter.api.post("/api/v0/commands/rclone/", json=body)
    renter.wait(60)
    assert (Path(cloud["folder"]) / "kept" / "m.bin").read_bytes() == b"y" * 500
    assert renter.show(contract)["status_msg"] == "Cloud Copy Operation Finished"
    refused = renter.api.post("/api/v0/commands/rclone/", json=body | {"selected": "1"})
    assert (refused.status_code, refused.json()["success"]) == (400, False)


def test_a_file_is_corrupted_in_place_and_a_disk_filled_on_request(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    file = root(renter, contract) / "w.bin"
    file.write_bytes(b"\0" * 64)
    before = file.stat()
    renter.do(f"/instances/{contract}/corrupt", path="/workspace/w.bin", at=5)
    assert file.read_bytes()[5] == 0xFF
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert renter.do(f"/instances/{contract}/fill-disk", leave_bytes=0)["filled_bytes"] == 20_000_000_000
    assert renter.control.post(f"/instances/{contract}/corrupt", json={"path": "../x"}).status_code == 409
