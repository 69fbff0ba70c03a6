"""What the life of a contract does to its box, over raw HTTP and SSH: reboot, recycle, and faults on its line."""

import contextlib
import shutil
import subprocess
from typing import Any

import paramiko
import pytest

from tests.scenarios.emulator.tenant import Tenant

GONE = (OSError, paramiko.SSHException, EOFError)


def test_a_reboot_keeps_the_disk_and_a_recycle_makes_a_new_one_on_the_same_gpu(tenant: Tenant) -> None:
    renter, scene = tenant.renter, tenant.stage("VAST2")
    contract = tenant.running(scene, onstart="echo boot >> /workspace/boots")
    gpus = renter.look(f"/instances/{contract}")["gpu_ids"]
    tenant.run(
        tenant.login(tenant.address(contract)), "echo weights > /workspace/w; nohup sleep 613.7 >/dev/null 2>&1 &"
    )
    assert renter.api.put(f"/api/v0/instances/reboot/{contract}/", json={}).status_code == 200
    renter.wait(60)
    client = tenant.login(tenant.address(contract))
    booted = "until [ -f /workspace/boots ] && [ $(wc -l < /workspace/boots) = {} ]; do sleep 0.05; done; "
    _, said = tenant.run(client, booted.format(2) + "cat /workspace/w; pgrep -fc '[s]leep 613.7'")
    assert said.split() == ["weights", "0"]
    assert renter.api.put(f"/api/v0/instances/recycle/{contract}/", json={}).status_code == 200
    renter.running(contract)
    renter.wait(5)
    client = tenant.login(tenant.address(contract))
    status, said = tenant.run(client, booted.format(1) + "cat /workspace/w")
    assert (status, "No such file" in said) == (1, True)
    assert renter.look(f"/instances/{contract}")["gpu_ids"] == gpus


@pytest.mark.parametrize("fault", [{"refuse_auth": True}, {"cut_after_bytes": 2_000}])
def test_a_switched_fault_breaks_every_login_until_it_is_switched_off(tenant: Tenant, fault: dict[str, Any]) -> None:
    contract = tenant.running(tenant.stage("VAST2"))
    tenant.renter.do(f"/instances/{contract}/box-faults", **fault)
    for _ in range(2):
        with pytest.raises(GONE):
            tenant.run(tenant.login(tenant.address(contract)), "head -c 100000 /dev/zero")
    tenant.renter.do(f"/instances/{contract}/box-faults", refuse_auth=False, cut_after_bytes=None)
    assert tenant.run(tenant.login(tenant.address(contract)), "echo in") == (0, "in\n")
    wrong = tenant.renter.control.post(f"/instances/{contract}/box-faults", json={"no_such": 1})
    assert wrong.status_code == 409


@pytest.mark.skipif(shutil.which("rsync") is None or shutil.which("ssh") is None, reason="rsync and ssh are needed")
def test_the_machines_rsync_reads_a_stopped_instance_or_fails_as_some_report(tenant: Tenant, tmp_path: Any) -> None:
    renter = tenant.renter
    contract = tenant.running(tenant.stage("VAST2"))
    tenant.run(tenant.login(tenant.address(contract)), "echo weights > /workspace/w")
    renter.state(contract, "stopped")
    key = tmp_path / "id"
    key.write_text(tenant.pem)
    key.chmod(0o600)
    body = {"src_id": f"C.{contract}", "dst_id": "local", "src_path": "/workspace/w", "dst_path": str(tmp_path)}
    told = renter.api.put("/api/v0/commands/rsync/", json=body).json()
    ssh = f"ssh -i {key} -p {told['src_port']} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -F none"
    words = [
        "rsync",
        "-a",
        "-e",
        ssh,
        f"vastai_kaalia@{told['src_addr']}::C.{contract}//workspace/w",
        str(tmp_path / "home"),
    ]
    renter.do("/quirks", **{"stopped-copy-fails": True})
    with contextlib.ExitStack() as after:
        after.callback(renter.do, "/quirks", **{"stopped-copy-fails": False})
        failed = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert (failed.returncode != 0, "Unknown module" in failed.stderr) == (True, True)
    subprocess.run(words, capture_output=True, timeout=30, check=True)
    assert (tmp_path / "home").read_text() == "weights\n"
