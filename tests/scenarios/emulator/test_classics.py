"""VAST1 to VAST13 played with raw HTTP and SSH: each shows its symptom as profiles/vastai.md describes it."""

import re
import socket
from io import BytesIO
from pathlib import Path

import paramiko
import pytest

from remote_gpu_trainer.emulator.scenarios import ALL
from tests.scenarios.emulator.tenant import Tenant

PROFILE = Path(__file__).parents[3] / "profiles" / "vastai.md"
GONE = (OSError, paramiko.SSHException, EOFError)
DAY = 86_400.0


def test_every_classic_has_a_scene_with_the_name_that_the_profile_gives_it() -> None:
    headings = dict(re.findall(r"^### (VAST\d+) (\S+)$", PROFILE.read_text(), re.MULTILINE))
    assert {scene.id: scene.name for scene in ALL} == {f"VAST{n}": headings[f"VAST{n}"] for n in range(1, 14)}
    assert all(f"test_{scene.id.lower()}_" in Path(__file__).read_text() for scene in ALL)


def test_an_unknown_scene_and_a_missing_instance_are_refused(tenant: Tenant) -> None:
    said = tenant.renter.control.post("/scenarios/VAST99/stage")
    assert (said.status_code, "VAST13" in said.text) == (409, True)
    assert tenant.renter.control.post("/scenarios/VAST3/strike", json={"instance": 1}).status_code == 409
    listed = tenant.renter.look("/scenarios")["scenarios"]
    assert [scene["id"] for scene in listed] == [f"VAST{n}" for n in range(1, 14)]


def test_vast1_a_stopped_instance_bills_its_disk_on_below_zero(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST1"), tenant.renter
    contract = tenant.running(scene)
    price = renter.show(contract)["dph_total"]
    assert renter.state(contract, "stopped").status_code == 200
    before = renter.cost(contract)
    tenant.strike(scene, contract)
    after, row = renter.cost(contract), renter.show(contract)
    assert after["gpu_pico"] == before["gpu_pico"]
    assert (after["disk_pico"] - before["disk_pico"]) / 1e12 == pytest.approx(60.0)
    assert row["dph_total"] == price  # what the listing says does not fall
    assert row["instance"]["totalHour"] == pytest.approx(200 * 0.15 / 720)
    renter.do("/account", balance_usd=0.01)
    renter.wait(3600)
    assert renter.api.get("/api/v0/users/current").json()["balance"] < 0
    assert renter.cost(contract)["disk_pico"] > after["disk_pico"]


def test_vast2_a_destroyed_instance_takes_its_checkpoint_along(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST2"), tenant.renter
    contract = tenant.running(scene)
    where = tenant.address(contract)
    tenant.run(tenant.login(where), "head -c 100000 /dev/urandom > /workspace/checkpoint.pt")
    assert renter.destroy(contract).json()["success"] is True
    tenant.strike(scene, contract)
    with pytest.raises(GONE):
        tenant.login(where)
    assert renter.api.get(f"/api/v0/instances/{contract}/").json() == {"instances": None}
    for path, body in (
        (f"/api/v0/instances/request_logs/{contract}/", {"tail": "10"}),
        ("/api/v0/commands/rsync/", {"src_id": str(contract), "dst_id": "local", "src_path": "/w", "dst_path": "/w"}),
        (f"/api/v0/instances/{contract}/", {"state": "running"}),
    ):
        assert renter.api.put(path, json=body).status_code in (400, 404)


def test_vast3_a_started_instance_waits_for_its_own_gpu_while_others_are_for_rent(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST3"), tenant.renter
    contract = tenant.running(scene)
    renter.state(contract, "stopped")
    tenant.strike(scene, contract)
    renter.state(contract, "running")
    renter.wait(3600)
    assert renter.words(contract) == ("exited", "running", "stopped", "running")
    others = renter.search(machine_id={"eq": scene["machine_id"]}, rentable={"eq": True})
    assert scene["offer"] in [offer["id"] for offer in others]
    assert renter.show(contract)["ports"] is None


def test_vast4_an_outbid_run_ends_at_once_without_a_signal_and_keeps_its_disk(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST4"), tenant.renter
    contract = tenant.running(scene)
    client = tenant.login(tenant.address(contract))
    job = (
        "trap 'echo saved > /workspace/on_sigterm; exit' TERM; echo step > /workspace/log; while :; do sleep 0.1; done"
    )
    channel = client.get_transport().open_session()
    channel.exec_command(job)
    _, said = tenant.run(client, "until [ -s /workspace/log ]; do sleep 0.05; done; cat /workspace/log")
    assert said == "step\n"
    tenant.strike(scene, contract)
    assert renter.words(contract) == ("exited", "running", "stopped", "running")
    renter.do(f"/instances/{contract}/restore")
    renter.wait(60)
    status, said = tenant.run(tenant.login(tenant.address(contract)), "cat /workspace/log; cat /workspace/on_sigterm")
    assert (status, "step\n" in said, "No such file" in said) == (1, True, True)  # two streams, in any order


def test_vast5_an_image_with_a_newer_cuda_than_the_driver_never_starts(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST5"), tenant.renter
    contract = tenant.rent(scene)
    tenant.strike(scene, contract)
    row = renter.show(contract)
    assert row["cuda_max_good"] == 12.4
    assert row["actual_status"] == "created"
    assert "unsatisfied condition: cuda>=12.8, please update your driver" in row["status_msg"]
    assert renter.cost(contract)["gpu_pico"] == 0
    assert renter.cost(contract)["disk_pico"] > 0


def test_vast6_a_port_is_another_one_outside_and_for_every_instance(tenant: Tenant) -> None:
    scene = tenant.stage("VAST6")
    outside: list[int] = []
    for _ in range(2):
        contract = tenant.running(scene)
        outer = int(tenant.renter.show(contract)["ports"]["8081/tcp"][0]["HostPort"])
        _, inside = tenant.run(tenant.login(tenant.address(contract)), "echo $VAST_TCP_PORT_8081")
        assert int(inside) == outer
        assert outer != 8081
        outside.append(outer)
    assert outside[0] != outside[1]
    too_many = {f"-p {port}:{port}": "1" for port in range(9000, 9065)}
    refused = tenant.renter.api.put(f"/api/v0/asks/{scene['offer']}/", json=scene["order"] | {"env": too_many})
    assert refused.status_code == 400
    with socket.create_connection(("127.0.0.1", outside[0]), 5):
        pass  # the mapped one answers, though nothing listens behind it


def test_vast6_a_service_does_not_answer_on_its_own_port_but_on_the_one_that_was_told(own_network: Tenant) -> None:
    scene = own_network.stage("VAST6")
    for name in ("first", "second"):
        contract = own_network.running(scene)
        row = own_network.renter.show(contract)
        serve = "nohup python3 -m http.server 8081 --directory /workspace > /dev/null 2>&1 &"
        client = own_network.login(own_network.address(contract))
        own_network.run(client, f"echo {name} > /workspace/who; {serve}")
        up = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8081))' 2>/dev/null"
        assert own_network.run(client, f"until {up}; do sleep 0.05; done; echo serves") == (0, "serves\n")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((row["public_ipaddr"], 8081), 5)
        outer = int(row["ports"]["8081/tcp"][0]["HostPort"])
        with socket.create_connection((row["public_ipaddr"], outer), 5) as line:
            line.sendall(b"GET /who HTTP/1.0\r\n\r\n")
            assert line.makefile("rb").read().endswith(f"{name}\n".encode())


def test_vast7_a_host_vanishes_with_the_work(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST7"), tenant.renter
    contract = tenant.running(scene)
    row = renter.show(contract)
    assert (row["verification"], row["reliability2"]) == ("unverified", 0.91)
    where = tenant.address(contract)
    client = tenant.login(where)
    tenant.run(client, "echo 17 > /workspace/step")
    tenant.strike(scene, contract)
    assert renter.words(contract)[0] == "offline"
    assert client.get_transport().is_active() is False
    with pytest.raises(GONE):
        tenant.login(where)
    with pytest.raises(GONE):
        tenant.login((where[0], row["ssh_port"]))
    spent = renter.cost(contract)["total_pico"]
    renter.wait(DAY)
    assert renter.words(contract)[0] == "offline"
    assert renter.cost(contract)["total_pico"] == spent


def test_vast8_a_big_copy_through_the_proxy_hangs_where_a_small_one_passes(tenant: Tenant) -> None:
    scene = tenant.stage("VAST8")
    contract = tenant.running(scene)
    assert "22/tcp" not in tenant.renter.show(contract)["ports"]
    tenant.strike(scene, contract)
    where = tenant.address(contract, proxy=True)
    status, _ = tenant.run(tenant.login(where), "head -c 1000000 /dev/zero")
    assert status == 0
    channel = tenant.login(where).get_transport().open_session()
    channel.settimeout(1.0)
    channel.exec_command("head -c 8000000 /dev/zero")
    received = 0
    with pytest.raises(TimeoutError):
        while data := channel.recv(1 << 16):
            received += len(data)
    assert 2_000_000 < received < 3_500_000


def test_vast9_every_byte_is_billed_both_ways_and_when_stopped(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST9"), tenant.renter
    contract = tenant.running(scene)
    client = tenant.login(tenant.address(contract))
    with client.open_sftp() as sftp:
        sftp.putfo(BytesIO(bytes(2_000_000)), "/workspace/data")
        with sftp.open("/workspace/data") as file:
            assert len(file.read()) == 2_000_000
    renter.wait(1)
    cost = renter.cost(contract)
    assert cost["received_bytes"] >= 2_000_000
    assert cost["sent_bytes"] >= 2_000_000
    for way, count in (("bwd", cost["received_bytes"]), ("bwu", cost["sent_bytes"])):
        assert cost[f"{way}_pico"] / 1e12 == pytest.approx(count / 1e9 * 0.05, rel=1e-3)
    renter.state(contract, "stopped")
    bucket = renter.do("/connections", cloud_type="s3", name="bucket")
    sync = {"instance_id": str(contract), "src": "/workspace/data", "dst": "/", "selected": str(bucket["id"])}
    started = renter.api.post("/api/v0/commands/rclone/", json=sync | {"transfer": "Instance To Cloud"})
    assert started.status_code == 200, started.text
    renter.wait(120)
    assert renter.cost(contract)["sent_bytes"] >= cost["sent_bytes"] + 2_000_000
    assert renter.show(contract)["inet_up_billed"] == renter.cost(contract)["sent_bytes"]


def test_vast10_a_disk_fills_up_and_cannot_grow(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST10"), tenant.renter
    contract = tenant.running(scene)
    tenant.strike(scene, contract)
    client = tenant.login(tenant.address(contract))
    _, said = tenant.run(client, "df -B1 --output=size,pcent / 2>/dev/null || df /")
    assert "10000000000" in said.replace(" ", "") or "100%" in said or "99%" in said
    with client.open_sftp() as sftp, pytest.raises(OSError, match=r"Failure|[Nn]o space"):
        sftp.putfo(BytesIO(bytes(4_000_000)), "/workspace/checkpoint.pt")
    status, said = tenant.run(client, "head -c 4000000 /dev/zero > /workspace/other.pt")
    assert status != 0, said
    assert renter.show(contract)["disk_usage"] == pytest.approx(10.0, abs=0.1)
    grown = renter.api.put(f"/api/v0/instances/{contract}/", json={"disk": 50})
    assert grown.status_code == 400
    assert renter.show(contract)["disk_space"] == 10


def test_vast11_a_secret_in_onstart_is_read_back(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST11"), tenant.renter
    contract = tenant.running(scene)
    assert "hf_not_a_real_one" in renter.show(contract)["onstart"]
    _, said = tenant.run(tenant.login(tenant.address(contract)), "cat /root/onstart.sh")
    assert "hf_not_a_real_one" in said
    root = Path(renter.look(f"/instances/{contract}")["order"]["root"])
    assert "hf_not_a_real_one" in (root / "root/onstart.sh").read_text()  # the host reads it without any key
    renter.state(contract, "stopped")
    listed = renter.api.get("/api/v1/instances/").json()["instances"]
    assert "hf_not_a_real_one" in next(row for row in listed if row["id"] == contract)["onstart"]


def test_vast12_a_volume_stays_on_its_machine(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST12"), tenant.renter
    home = scene["machine_id"]
    (ask,) = renter.api.post("/api/v0/volumes/search/", json={"machine_id": {"eq": home}}).json()["offers"]
    made = {"create_new": True, "volume_id": ask["id"], "size": 20, "mount_path": "/data"}
    first = tenant.running(scene, volume_info=made)
    status, _ = tenant.run(tenant.login(tenant.address(first)), "echo step 9 > /data/checkpoint")
    (held,) = renter.show(first)["volume_info"]
    assert (status, held["size"], held["mount_path"]) == (0, 20, "/data")
    linked = {"create_new": False, "volume_id": held["volume_id"], "mount_path": "/data"}
    renter.destroy(first)
    (kept,) = renter.api.get("/api/v0/volumes/").json()["volumes"]
    assert (kept["id"], kept["machine_id"], kept["instances"]) == (held["volume_id"], home, [])
    for_rent = renter.search(rentable={"eq": True}, disk_space={"gte": 40}, machine_id={"neq": home})
    refused = renter.api.put(f"/api/v0/asks/{for_rent[0]['id']}/", json=scene["order"] | {"volume_info": linked})
    assert refused.status_code == 400
    assert f"is on machine {home}" in refused.json()["msg"]
    again = tenant.running(scene, volume_info=linked | {"mount_path": "/kept"})
    assert tenant.run(tenant.login(tenant.address(again)), "cat /kept/checkpoint") == (0, "step 9\n")
    assert renter.show(again)["volume_info"][0]["volume_id"] == held["volume_id"]
    busy = renter.api.request("DELETE", "/api/v0/volumes/", json={"id": held["volume_id"]})
    assert busy.status_code == 400
    renter.destroy(again)
    assert renter.api.request("DELETE", "/api/v0/volumes/", json={"id": held["volume_id"]}).status_code == 200


def test_vast13_a_fat_image_over_a_slow_link_loads_for_half_an_hour(tenant: Tenant) -> None:
    scene, renter = tenant.stage("VAST13"), tenant.renter
    contract = tenant.rent(scene)
    renter.wait(300)
    early = renter.show(contract)["status_msg"]
    tenant.strike(scene, contract)
    row = renter.show(contract)
    assert row["actual_status"] == "loading"
    assert renter.cost(contract)["gpu_pico"] == 0
    assert early != row["status_msg"]
    asked = renter.api.put(f"/api/v0/instances/request_logs/{contract}/", json={"daemon_logs": "true"}).json()
    renter.wait(2)
    log = renter.api.get(asked["result_url"]).text
    assert re.search(r"(Downloading|Extracting) \d+%", log), log
    renter.wait(3 * 3600)
    assert renter.words(contract)[0] == "running"
