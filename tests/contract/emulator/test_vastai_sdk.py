"""The official Python SDK lives a renter's life here, in a process that knows only an address and a key."""

import json
from typing import Any

from tests.contract.emulator.cli import Cli

LIFE = """
import json, os, sys
from vastai import VastAI
sdk = VastAI(api_key=os.environ["VAST_API_KEY"], server_url=os.environ["VAST_URL"])
step, *rest = sys.argv[1:]
answer = getattr(sdk, step)(*json.loads(rest[0]), **json.loads(rest[1]))
print("ANSWER" + json.dumps(answer))
"""


def ask(cli: Cli, step: str, *words: Any, **named: Any) -> Any:
    """Call one method of the SDK."""
    said = cli.preloaded.run([step, json.dumps(words), json.dumps(named)], source=LIFE)
    assert "ANSWER" in said.out, said.err
    return json.loads(said.out.split("ANSWER", 1)[1])


def test_a_rental_by_the_sdk_is_found_shown_stopped_started_and_destroyed(cli: Cli) -> None:
    query = "gpu_name=RTX_4090 num_gpus=1 verified=true rentable=true direct_port_count>=2 duration>50"
    offers = ask(cli, "search_offers", query=query, order="dph_total")
    assert [offer["dph_total"] for offer in offers] == sorted(offer["dph_total"] for offer in offers)
    made = ask(cli, "create_instance", offers[0]["id"], image="ubuntu:22.04", disk=10, label="by-sdk")
    contract = made["new_contract"]
    cli.renter.wait(120)
    shown = ask(cli, "show_instance", contract)
    assert (shown["actual_status"], shown["label"]) == ("running", "by-sdk")
    assert contract in [row["id"] for row in ask(cli, "show_instances")]
    assert ask(cli, "stop_instance", contract)["success"] is True
    assert ask(cli, "show_instance", contract)["actual_status"] == "exited"
    assert ask(cli, "start_instance", contract)["success"] is True
    assert ask(cli, "label_instance", contract, "renamed")["success"] is True
    assert ask(cli, "destroy_instance", contract)["success"] is True
    assert cli.renter.look(f"/instances/{contract}")["phase"] == "destroyed"
