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
    text = cli.logged(contract, "HELLO=world")
    assert "started" in text
    assert [line for line in text.splitlines() if "HELLO" in line] == ["HELLO=world"]
    assert cli.ok("logs", contract, "--filter", "^HELLO").split("\n")[-3:-1] == ["HELLO=world", ""]
    assert "start container" in cli.ok("logs", contract, "--daemon-logs")
    assert "Per gpu bid price changed" in cli.ok("change", "bid", contract, "--price", "0.9")
    assert cli.raw("show", "instance", contract)["dph_base"] == 0.9


def test_the_cli_adds_the_one_that_the_platform_leaves_out_of_jupyters_port(cli: Cli) -> None:
    offer = search(cli)[0]
    made = cli.raw("create", "instance", str(offer["id"]), "--image", "ubuntu:22.04", "--jupyter")
    cli.renter.wait(120)
    port = cli.renter.look(f"/instances/{made['new_contract']}")["box"]["proxy_port"]
    assert cli.raw("show", "instance", str(made["new_contract"]))["ssh_port"] == port - 1
    assert cli.ok("ssh-url", str(made["new_contract"])).strip() == f"ssh://root@127.0.0.1:{port}"


def test_cancel_unavail_is_the_difference_between_nothing_and_a_stopped_instance(cli: Cli) -> None:
    offer = search(cli)[0]
    stranger = cli.renter.do("/strangers", machine_id=offer["machine_id"])["strangers"][-1]["id"]
    try:
        words = ["create", "instance", str(offer["id"]), "--image", "ubuntu:22.04", "--label", "unavailable"]
        assert "no longer available" in (said := cli.run(*words, "--cancel-unavail", "--raw")).err + said.out
        assert [row for row in cli.raw("show", "instances") if row["label"] == "unavailable"] == []
        made = cli.raw(*words)
        shown = cli.raw("show", "instance", str(made["new_contract"]))
        assert (made["success"], shown["actual_status"], shown["cur_state"]) == (True, None, "stopped")
    finally:
        cli.renter.control.request("DELETE", "/strangers", json={"id": stranger})


def test_an_outbid_instance_is_shown_stopped_and_a_higher_bid_brings_it_back(cli: Cli) -> None:
    offer = search(cli, "--type", "bid")[0]
    made = cli.raw(
        *("create", "instance", str(offer["id"]), "--image", "ubuntu:22.04", "--ssh"),
        *("--bid_price", str(round(offer["min_bid"] * 1.2, 4))),
    )
    contract = made["new_contract"]
    cli.renter.wait(120)
    cli.renter.do(f"/instances/{contract}/preempt", over_usd=0.02)
    shown = cli.raw("show", "instance", str(contract))
    assert (shown["actual_status"], shown["intended_status"], shown["cur_state"]) == ("exited", "running", "stopped")
    assert shown["min_bid"] > shown["dph_base"]
    cli.ok("change", "bid", str(contract))  # without a price the platform takes one that wins
    cli.renter.wait(60)
    again = cli.raw("show", "instance", str(contract))
    assert (again["actual_status"], again["dph_base"]) == ("running", shown["min_bid"])
    cli.renter.do(f"/instances/{contract}/restore")


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


def test_execute_runs_its_command_on_the_disk_of_a_stopped_instance(cli: Cli) -> None:
    contract = rent(cli)
    workspace = Path(cli.renter.look(f"/instances/{contract}")["order"]["root"], "workspace")
    (workspace / "old.pt").write_text("weights")
    refused = cli.run("execute", str(contract), "ls /workspace")
    assert "not available for this command" in refused.err + refused.out
    cli.renter.state(contract, "stopped")
    said = cli.run("execute", str(contract), "rm /workspace/old.pt")
    # vastai 1.9.1 fetches the result, expects an object and trips over the text: it got that all the same.
    assert "'str' object has no attribute 'get'" in said.err
    assert not (workspace / "old.pt").exists()


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
    offers = cli.raw("search", "volumes", "disk_space>20", "-o", "storage_cost")
    assert [row["storage_cost"] for row in offers] == sorted(row["storage_cost"] for row in offers)
    assert all(row["disk_space"] > 20 for row in offers)
    made = cli.raw("create", "volume", str(offers[0]["id"]), "--size", "20", "--name", "kept")
    number = made["volume_name"].removeprefix("V.")
    (row,) = cli.raw("show", "volumes")
    assert (str(row["id"]), row["label"], row["disk_space"], row["instances"]) == (number, "kept", 20, [])
    assert row["machine_id"] == offers[0]["machine_id"]
    assert number in cli.ok("show", "volumes")
    cli.ok("delete", "volume", number)
    assert cli.raw("show", "volumes") == []


def test_a_volume_made_with_an_instance_outlives_it_and_is_linked_to_the_next(cli: Cli) -> None:
    cli.renter.api.post("/api/v0/ssh/", json={"ssh_key": cli.public_key})
    offer = search(cli)[0]
    (ask,) = cli.raw("search", "volumes", f"machine_id={offer['machine_id']} verified=any")
    words = ["create", "instance", str(offer["id"]), "--image", "ubuntu:22.04", "--ssh", "--mount-path", "/data"]
    first = cli.raw(
        *words,
        *("--create-volume", str(ask["id"]), "--volume-size", "20"),
        *("--onstart-cmd", "echo step 9 > /data/checkpoint; echo saved"),
    )["new_contract"]
    cli.renter.wait(120)
    cli.logged(first, "saved")
    (held,) = cli.raw("show", "instance", str(first))["volume_info"]
    assert f"#{held['id']} 0/20 GB" in cli.ok("show", "instances", "--cols", "id,volumes")
    cli.ok("destroy", "instance", str(first), "-y")
    assert [row["id"] for row in cli.raw("show", "volumes")] == [held["id"]]
    second = cli.raw(*words, "--link-volume", str(held["id"]), "--onstart-cmd", "cat /data/checkpoint")["new_contract"]
    cli.renter.wait(120)
    cli.logged(second, "step 9")
    cli.ok("destroy", "instance", str(second), "-y")
    cli.ok("delete", "volume", str(held["id"]))


def test_copies_between_instances_and_to_the_cloud_are_started_and_cancelled(cli: Cli) -> None:
    one, two = rent(cli), rent(cli)
    roots = [Path(cli.renter.look(f"/instances/{number}")["order"]["root"], "workspace") for number in (one, two)]
    (roots[0] / "m.bin").write_bytes(b"x" * 10_000)
    cloud = cli.renter.do("/connections", cloud_type="s3", name="bucket")
    assert str(cloud["id"]) in cli.ok("show", "connections")
    sync = ["cloud", "copy", "--src", "/workspace", "--dst", "/kept", "--instance", str(one)]
    sync += ["--connection", str(cloud["id"]), "--transfer", "Instance To Cloud"]
    cli.renter.do("/clock", speed=0)  # so that nothing ends before it is cancelled
    try:
        assert "copy initiated" in cli.ok("copy", f"C.{one}:/workspace/m.bin", f"C.{two}:/workspace/in")
        assert "copy canceled" in cli.ok("cancel", "copy", str(two))
        assert "Cloud Copy Started" in cli.ok(*sync)
        assert "copy canceled" in cli.ok("cancel", "sync", str(one))
        cli.renter.wait(90)
        assert not (roots[1] / "in").exists()
        assert not Path(cloud["folder"], "kept").exists()
        cli.ok("copy", f"C.{one}:/workspace/m.bin", f"C.{two}:/workspace/in")
        cli.ok(*sync)
        cli.renter.wait(90)
    finally:
        cli.renter.do("/clock", speed=SPEED)
    assert (roots[1] / "in" / "m.bin").stat().st_size == 10_000
    assert Path(cloud["folder"], "kept", "workspace", "m.bin").stat().st_size == 10_000


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
