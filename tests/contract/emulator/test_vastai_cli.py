"""The official CLI lives a whole renter's life here and does not notice the difference."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.emulator.cli import SPEED, Cli

QUERY = "gpu_name=RTX_4090 num_gpus=1 verified=true rentable=true direct_port_count>=2 cuda_vers>=12.4 duration>50"


def search(cli: Cli, *more: str) -> list[dict[str, Any]]:
    return cli.raw("search", "offers", QUERY, "-o", "dph", *more)


def rent(cli: Cli, **body: Any) -> int:
    """Rent a small image over raw HTTP and wait until it runs."""
    renter = cli.renter
    contract = renter.rent(renter.offer(), image="ubuntu:22.04", disk=10, **body)
    renter.wait(120)
    assert renter.look(f"/instances/{contract}")["phase"] == "running"
    return contract


def phase(cli: Cli, contract: int) -> str:
    return cli.renter.look(f"/instances/{contract}")["phase"]


def test_search_filters_and_orders(cli: Cli) -> None:
    rows = search(cli)
    assert rows
    assert all(row["gpu_name"] == "RTX 4090" and row["num_gpus"] == 1 for row in rows)
    assert [row["dph_total"] for row in rows] == sorted(row["dph_total"] for row in rows)
    bids = search(cli, "--type", "bid")
    assert bids[0]["dph_total"] < rows[0]["dph_total"]
    table = cli.ok("search", "offers", QUERY, "-o", "dlperf_usd-")
    assert "RTX_4090" in table
    assert str(rows[0]["id"]) in table


def test_a_bid_is_rented_with_everything_the_command_line_offers(cli: Cli) -> None:
    offer = search(cli, "--type", "bid")[0]
    cli.ok("create", "ssh-key", cli.public_key)
    words = ["create", "instance", str(offer["id"]), "--image", "ubuntu:22.04", "--disk", "12", "--ssh", "--direct"]
    words += ["--env", "-e HELLO=world -p 8080:8080", "--onstart-cmd", "echo started; env | grep HELLO"]
    words += ["--bid_price", str(round(offer["min_bid"] * 1.5, 4)), "--cancel-unavail", "--label", "by-cli"]
    made = cli.raw(*words)
    assert made["success"] is True
    contract = str(made["new_contract"])
    cli.renter.wait(120)
    shown = cli.raw("show", "instance", contract)
    assert (shown["actual_status"], shown["label"], shown["is_bid"]) == ("running", "by-cli", True)
    assert shown["extra_env"] == {"HELLO": "world", "-p 8080:8080": "1"}
    assert shown["image_runtype"] == "ssh_direc ssh_proxy"
    port = shown["ports"]["22/tcp"][0]["HostPort"]
    assert cli.ok("ssh-url", contract).strip() == f"ssh://root@127.0.0.1:{port}"
    text = cli.ok("logs", contract, "--tail", "20")
    assert "started" in text
    assert "HELLO=world" in text
    assert "start container" in cli.ok("logs", contract, "--daemon-logs")
    assert "Per gpu bid price changed" in cli.ok("change", "bid", contract, "--price", "0.9")
    assert cli.raw("show", "instance", contract)["dph_base"] == 0.9


def test_ssh_opens_the_box_at_the_address_the_cli_tells(cli: Cli) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh client here")
    cli.renter.api.post("/api/v0/ssh/", json={"ssh_key": cli.public_key})
    contract = rent(cli)
    for row in (cli.renter.show(contract),):
        for port in (row["ports"]["22/tcp"][0]["HostPort"], str(row["ssh_port"])):
            ssh = ["ssh", "-i", str(cli.key_file), "-p", port, "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
            ssh += ["-o", f"UserKnownHostsFile={cli.home}/known", "-F", "none", f"root@{row['public_ipaddr']}"]
            done = subprocess.run(
                [*ssh, "echo $CONTAINER_ID; nvidia-smi -L"], capture_output=True, text=True, timeout=20, check=True
            )
            assert done.stdout.split("\n")[0] == str(contract)
            assert "4090" in done.stdout


def test_the_list_shows_ids_labels_and_pages(cli: Cli) -> None:
    contract = rent(cli, label="listed")
    assert str(contract) in cli.ok("show", "instances", "-q").split()
    rows = cli.raw("show", "instances", "--label", "listed")
    assert [row["id"] for row in rows] == [contract]
    assert rows[0]["duration"] is not None
    table = cli.ok("show", "instances", "--status", "running", "--cols", "id,status,label")
    assert "listed" in table
    one = cli.raw("show", "instances", "--limit", "1")
    assert len(one["instances"]) == 1
    assert one["total_instances"] >= 1


def test_label_stop_start_reboot_and_destroy(cli: Cli) -> None:
    contract = rent(cli)
    name = str(contract)
    assert "label for" in cli.ok("label", "instance", name, "mine")
    assert cli.renter.show(contract)["label"] == "mine"
    assert "stopping instance" in cli.ok("stop", "instance", name)
    assert phase(cli, contract) == "stopped"
    assert cli.raw("show", "instance", name)["actual_status"] == "exited"
    assert "starting instance" in cli.ok("start", "instance", name)
    cli.renter.wait(60)
    assert phase(cli, contract) == "running"
    assert "Rebooting instance" in cli.ok("reboot", "instance", name)
    cli.renter.wait(60)
    assert phase(cli, contract) == "running"
    assert "Aborted" in cli.ok("destroy", "instance", name, stdin="n\n")
    assert phase(cli, contract) == "running"
    assert "destroying instance" in cli.ok("destroy", "instance", name, stdin="y\n")
    assert phase(cli, contract) == "destroyed"
    assert "not found" in cli.run("show", "instance", name).err
    again = cli.run("destroy", "instance", name, "-y")
    assert "Failed with error 404" in again.err


def test_destroy_asks_nobody_when_it_is_told_so(cli: Cli) -> None:
    contract = rent(cli)

    assert "destroying instance" in cli.ok("destroy", "instance", str(contract), "-y")

    assert phase(cli, contract) == "destroyed"


def test_execute_runs_on_a_stopped_instance(cli: Cli) -> None:
    contract = rent(cli)
    cli.renter.state(contract, "stopped")
    said = cli.run("execute", str(contract), "ls /workspace")
    # vastai 1.9.1 fetches the result and then trips over it being a text: it got the text all the same.
    assert "'str' object has no attribute 'get'" in said.err or said.status == 0
    assert said.err.count("Result not ready") == 0


def test_ssh_keys_user_and_money(cli: Cli) -> None:
    before = {key["id"] for key in cli.renter.api.get("/api/v0/ssh/").json()}
    cli.ok("create", "ssh-key", cli.public_key)
    after = {key["id"] for key in cli.raw("show", "ssh-keys")}
    (new,) = after - before
    cli.ok("delete", "ssh-key", str(new))
    assert {key["id"] for key in cli.renter.api.get("/api/v0/ssh/").json()} == before
    user = cli.raw("show", "user")
    assert user["id"] == cli.renter.ready.account_id
    assert user["balance"] > 0
    rent(cli)
    cli.renter.do("/clock", speed=0)  # two readings can only be compared while nothing bills in between
    try:
        cli.renter.wait(3600)
        rows = cli.raw("show", "invoices", "--start_date", "2020-01-01", "--end_date", "2100-01-01")
        meter = cli.renter.look("/meter")["total_usd"]
    finally:
        cli.renter.do("/clock", speed=SPEED)
    charged = sum(float(row["amount"]) for row in rows if row["type"] == "charge")
    assert charged == pytest.approx(meter, abs=0.01)


def test_volumes_are_searched_rented_listed_and_deleted(cli: Cli) -> None:
    offer = cli.raw("search", "volumes", "disk_space>20")[0]
    made = cli.raw("create", "volume", str(offer["id"]), "--size", "20")
    number = made["volume_name"].removeprefix("V.")
    assert [str(row["id"]) for row in cli.raw("show", "volumes")] == [number]
    cli.ok("delete", "volume", number)
    assert cli.raw("show", "volumes") == []


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_copy_brings_files_home_from_a_running_and_from_a_stopped_instance(
    cli: Cli, tmp_path: Path, stopped: bool
) -> None:
    if shutil.which("rsync") is None or shutil.which("ssh") is None:
        pytest.skip("rsync and an ssh client are needed for the machine-level copy")
    cli.renter.api.post("/api/v0/ssh/", json={"ssh_key": cli.public_key})
    contract = rent(cli)
    workspace = Path(cli.renter.look(f"/instances/{contract}")["order"]["root"], "workspace", "out")
    workspace.mkdir(parents=True)
    content = os.urandom(300_000)
    (workspace / "model.bin").write_bytes(content)
    if stopped:
        cli.renter.state(contract, "stopped")
    target = tmp_path / "home"
    cli.ok("copy", f"C.{contract}:/workspace/out/", f"local:{target}", "-i", str(cli.key_file))
    assert (target / "model.bin").read_bytes() == content
    cli.ok("copy", f"local:{target}/", f"C.{contract}:/workspace/back", "-i", str(cli.key_file))
    assert (workspace.parent / "back" / "model.bin").read_bytes() == content
    cli.renter.wait(1)
    cost = cli.renter.cost(contract)
    assert cost["sent_bytes"] >= len(content)
    assert cost["received_bytes"] >= len(content)
