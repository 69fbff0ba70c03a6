"""The official Python SDK lives a renter's life here, in a process that knows only an address and a key."""

import json
from pathlib import Path
from typing import Any

from tests.contract.emulator.cli import Cli

LIFE = """
import json, os, sys
from vastai import VastAI
sdk = VastAI(api_key=os.environ["VAST_API_KEY"], server_url=os.environ["VAST_URL"])
for step, words, named in json.loads(sys.argv[1]):
    print("ANSWER" + json.dumps(getattr(sdk, step)(*words, **named)))
"""
QUERY = "gpu_name=RTX_4090 num_gpus=1 verified=true rentable=true direct_port_count>=2 duration>50"


def ask_all(cli: Cli, *steps: tuple[str, list[Any], dict[str, Any]]) -> list[Any]:
    """Call methods of the SDK one after another in one process; their answers."""
    said = cli.preloaded.run([json.dumps(steps)], source=LIFE)
    answers = [json.loads(line.removeprefix("ANSWER")) for line in said.out.splitlines() if line[:6] == "ANSWER"]
    assert len(answers) == len(steps), said.err
    return answers


def ask(cli: Cli, step: str, *words: Any, **named: Any) -> Any:
    """Call one method of the SDK."""
    return ask_all(cli, (step, [*words], named))[0]


def test_a_rental_by_the_sdk_is_found_shown_stopped_started_and_destroyed(cli: Cli) -> None:
    offers = ask(cli, "search_offers", query=QUERY, order="dph_total")
    assert [offer["dph_total"] for offer in offers] == sorted(offer["dph_total"] for offer in offers)
    made = ask(cli, "create_instance", offers[0]["id"], image="ubuntu:22.04", disk=10, label="by-sdk")
    contract = made["new_contract"]
    cli.renter.wait(120)
    shown, listed, stopped, after, *done = ask_all(
        cli,
        ("show_instance", [contract], {}),
        ("show_instances", [], {}),
        ("stop_instance", [contract], {}),
        ("show_instance", [contract], {}),
        ("start_instance", [contract], {}),
        ("label_instance", [contract, "renamed"], {}),
        ("destroy_instance", [contract], {}),
    )
    assert (shown["actual_status"], shown["label"]) == ("running", "by-sdk")
    assert contract in [row["id"] for row in listed]
    assert (stopped["success"], after["actual_status"]) == (True, "exited")
    assert [answer["success"] for answer in done] == [True, True, True]
    held = cli.renter.look(f"/instances/{contract}")
    assert (held["phase"], held["label"]) == ("destroyed", "renamed")


def test_the_sdk_rebids_reads_logs_and_runs_a_command(cli: Cli) -> None:
    offer = ask(cli, "search_offers", query=QUERY, type="bid", order="dph_total")[0]
    price = round(offer["min_bid"] * 1.5, 4)
    made = ask(
        cli, "create_instance", offer["id"], image="ubuntu:22.04", disk=10, bid_price=price, onstart_cmd="echo begun"
    )
    contract = made["new_contract"]
    cli.renter.wait(120)
    cli.logged(contract, "begun")
    before, bid, after, log, daemon, stopped, listed = ask_all(
        cli,
        ("show_instance", [contract], {}),
        ("change_bid", [contract], {"price": price + 0.1}),
        ("show_instance", [contract], {}),
        ("logs", [contract], {"tail": "10"}),
        ("logs", [contract], {"daemon_logs": True, "filter": "success"}),
        ("stop_instance", [contract], {}),
        ("execute", [contract, "ls -1 /root"], {}),
    )
    assert (before["is_bid"], before["dph_base"], bid["success"]) == (True, price, True)
    assert after["dph_base"] == round(price + 0.1, 4)
    assert log == "begun\n"
    assert daemon.endswith("success, running ubuntu_22.04/ssh\n")
    assert stopped["success"] is True
    assert "onstart.sh" in listed.split()


def test_the_sdk_rents_volumes_and_copies(cli: Cli) -> None:
    (ask_,) = ask(cli, "search_volumes", query="disk_space>100", order="storage_cost", limit=1)
    made = ask(cli, "create_volume", ask_["id"], size=20, name="by-sdk")
    volume = made["new_contract"]
    contract = cli.renter.rent(image="ubuntu:22.04", disk=10)
    cli.renter.wait(120)
    port = cli.renter.show(contract)["machine_dir_ssh_port"]  # now: two looks within 10 ms are one too many
    file = Path(cli.renter.look(f"/instances/{contract}")["order"]["root"], "workspace", "m.bin")
    file.write_bytes(b"x" * 1000)
    shown, copied, direct = ask_all(
        cli,
        ("show_volumes", [], {}),
        ("copy", [f"C.{contract}:/workspace/m.bin", f"V.{volume}:/in"], {}),
        ("copy", [f"C.{contract}:/workspace", "local:/anywhere"], {}),
    )
    (row,) = [row for row in shown if row["id"] == volume]
    assert (row["label"], row["disk_space"], row["machine_id"]) == ("by-sdk", 20, ask_["machine_id"])
    assert "initiated" in copied["msg"]
    assert direct["src_addr"] == "127.0.0.1"
    assert direct["src_port"] == port
    cli.renter.wait(90)
    assert cli.renter.look(f"/instances/{contract}")["message"] == "Copy Operation Finished"
    back = ask(cli, "copy", f"V.{volume}:/in/m.bin", f"C.{contract}:/workspace/back")
    assert back["success"] is True
    cli.renter.wait(90)
    assert (file.parent / "back" / "m.bin").read_bytes() == b"x" * 1000
    assert ask(cli, "delete_volume", volume)["success"] is True
    assert volume not in [row["id"] for row in ask(cli, "show_volumes")]
