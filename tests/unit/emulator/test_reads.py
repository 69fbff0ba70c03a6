"""Reading instances: the paged list, its filters and columns, logs and commands that appear late."""

import json
from typing import Any

import httpx
import pytest

from tests.unit.emulator.renter import Renter


def page(renter: Renter, **query: Any) -> httpx.Response:
    params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in query.items()}
    return renter.api.get("/api/v1/instances/", params=params)


def test_the_list_pages_by_token_and_counts_labels(renter: Renter) -> None:
    offers = renter.search(rentable={"eq": True}, limit=200)
    machines = {row["machine_id"]: row for row in offers if row["num_gpus"] == 1}
    ids = sorted(renter.rent(row, image="ubuntu", disk=8, label=f"l{n % 2}") for n, row in enumerate(machines.values()))
    assert len(ids) > 25
    seen: list[int] = []
    token = ""
    while token is not None:
        answer = page(renter, limit=10, after_token=token).json()
        assert answer["total_instances"] == len(ids)
        assert answer["label_counts"] == {"l0": (len(ids) + 1) // 2, "l1": len(ids) // 2}
        seen += [row["id"] for row in answer["instances"]]
        token = answer["next_token"]
    assert seen == ids
    assert len(page(renter, limit=500).json()["instances"]) == 25
    assert len(page(renter, limit=0).json()["instances"]) == 5


def test_filters_columns_and_order_of_the_list(renter: Renter) -> None:
    one, two = renter.rent(label="one"), renter.rent(renter.offer(num_gpus={"eq": 2}))
    rows = page(renter, select_filters={"label": {"eq": "one"}}, select_cols=["id", "label", "nothing"]).json()
    assert rows["instances"] == [{"id": one, "label": "one", "nothing": None}]
    unlabelled = page(renter, select_filters={"label": {"in": [None]}}).json()["instances"]
    assert [row["id"] for row in unlabelled] == [two]
    down = page(renter, order_by=[{"col": "num_gpus", "dir": "desc"}]).json()["instances"]
    assert [row["id"] for row in down] == [two, one]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"select_filters": {"dph_total": {"eq": 1}}}, "invalid_request"),
        ({"select_filters": {"id": {"is": 1}}}, "invalid_request"),
        ({"select_filters": "{"}, "invalid_request"),
        ({"order_by": [{"col": "nothing"}]}, "invalid_request"),
        ({"order_by": {"col": "id"}}, "invalid_request"),
        ({"after_token": "!!"}, "invalid_token"),
        ({"limit": "x"}, "invalid_request"),
    ],
)
def test_a_bad_list_query_is_refused(renter: Renter, query: dict[str, Any], error: str) -> None:
    renter.rent()
    answer = page(renter, **query)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_label_of_1024_characters_is_taken_later_and_one_more_is_not(renter: Renter) -> None:
    contract = renter.rent()
    assert renter.api.put(f"/api/v0/instances/{contract}/", json={"label": "x" * 1024}).status_code == 200
    assert renter.show(contract)["label"] == "x" * 1024
    assert renter.api.put(f"/api/v0/instances/{contract}/", json={"label": "x" * 1025}).status_code == 400


def test_a_log_appears_late_under_its_url(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    answer = renter.api.put(
        f"/api/v0/instances/request_logs/{contract}/", json={"tail": "5", "daemon_logs": "true", "filter": "start"}
    ).json()
    assert answer["success"] is True
    assert httpx.get(answer["result_url"], trust_env=False).status_code == 404
    renter.wait(2)
    text = httpx.get(answer["result_url"], trust_env=False).text
    assert f"start container C.{contract}" in text


def filtered(renter: Renter, contract: int, pattern: str) -> str:
    asked = {"daemon_logs": "true", "filter": pattern}
    url = renter.api.put(f"/api/v0/instances/request_logs/{contract}/", json=asked).json()["result_url"]
    renter.wait(2)
    return httpx.get(url, trust_env=False).text


def test_a_log_filter_is_a_grep_and_a_hostile_one_costs_nothing(renter: Renter) -> None:
    image = "a" * 900
    contract = renter.running(renter.rent(image=image))
    both = filtered(renter, contract, "^[[]")
    assert both.count("start container") == 2
    assert filtered(renter, contract, "success.*ssh$") == both.splitlines()[1] + "\n"
    assert filtered(renter, contract, "[") == both  # broken as a pattern, so it is plain text
    assert filtered(renter, contract, "nothing of it") == ""
    for hostile in ("a*a*a*a*b$", "(a+)+$", r"\(a*\)*\(a*\)*\1b", r"\(a\{1,30000\}\)\{1,30000\}", "\0"):
        assert filtered(renter, contract, hostile) == ""


def test_a_command_runs_on_a_stopped_box_and_not_on_a_running_one(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    refused = renter.api.put(f"/api/v0/instances/command/{contract}/", json={"command": "ls /workspace"})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_container")
    renter.state(contract, "stopped")
    answer = renter.api.put(f"/api/v0/instances/command/{contract}/", json={"command": "ls -l /workspace"}).json()
    renter.wait(2)
    assert httpx.get(answer["result_url"], trust_env=False).text == "ls -l /workspace\n"


@pytest.mark.parametrize("command", ["cat /etc/passwd", "", "ls 'unclosed", 7, "x" * 600])
def test_only_the_constrained_commands_are_taken(renter: Renter, command: Any) -> None:
    contract = renter.running(renter.rent())
    renter.state(contract, "stopped")
    answer = renter.api.put(f"/api/v0/instances/command/{contract}/", json={"command": command})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_args")


def test_logs_of_a_destroyed_instance_are_gone(renter: Renter) -> None:
    contract = renter.running(renter.rent())
    renter.destroy(contract)
    assert renter.api.put(f"/api/v0/instances/request_logs/{contract}/", json={}).status_code == 404
