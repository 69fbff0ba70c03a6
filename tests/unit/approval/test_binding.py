"""What a consent is bound to: every fact that the person was told is in the plan's digest, and the digest is signed."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import JsonValue

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.statement import statement_of
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.ids import InstanceId, MachineId
from remote_gpu_trainer.domain.plans import TeardownPlan
from tests.unit.database.builders import START, a_teardown

PLAN = a_teardown()
LATER = (START + timedelta(days=1)).isoformat()

FACTS: dict[str, tuple[tuple[str | int, ...], JsonValue]] = {
    "the account": (("account_id",), 7),
    "the instance": (("instance", "id"), InstanceId(7)),
    "the machine": (("instance", "machine_id"), MachineId(7)),
    "the label": (("instance", "label"), "rgt/other-k3vq7m"),
    "when it began": (("instance", "started_at"), LATER),
    "the run": (("lease",), "other-k3vq7m"),
    "the copy's manifest": (("evidence", 0, "manifest_digest"), "00" * 32),
    "where the copy lies": (("evidence", 0, "destination"), "/tmp/elsewhere"),
    "a file's level": (("evidence", 0, "files", 0, "level"), VerificationLevel.DIGEST),
    "a file's bytes": (("evidence", 0, "files", 0, "sha256"), "00" * 32),
    "a file's size": (("evidence", 0, "files", 0, "size"), 1),
    "what is left behind": (("losses", 0, "path"), "out/model.pt"),
    "the size of what is left behind": (("losses", 0, "size"), 1),
    "why it is left behind": (("losses", 0, "reason"), "too large"),
    "whether all was listed": (("losses_complete",), False),
    "who still writes": (("running_writers",), ["python train.py"]),
    "how the machine stands": (("machine_state",), "running"),
    "since when it rests": (("stopped_at",), LATER),
    "how the job ended": (("job",), "failed"),
    "volumes that bill on": (("volumes_billing_on",), ["volume 7 bills $0.01 an hour until deleted"]),
    "the money spent": (("spent",), 9.75),
    "the price of an hour running": (("usd_per_hour_running",), 9.75),
    "the price of an hour stopped": (("usd_per_hour_stopped",), None),
    "the policy": (("policy_digest",), "00" * 32),
    "the moment": (("prepared_at",), LATER),
}


def changed(plan: TeardownPlan, place: tuple[str | int, ...], value: JsonValue) -> TeardownPlan:
    """The plan with one fact changed, read anew as from a file."""
    whole = plan.model_dump(mode="json")
    part: Any = whole
    for name in place[:-1]:
        part = part[name]
    assert part[place[-1]] != value
    part[place[-1]] = value
    return TeardownPlan.model_validate(whole)


@pytest.mark.parametrize("fact", FACTS)
def test_each_fact_of_a_teardown_is_bound(book: SqliteApprovalBook, fact: str) -> None:
    other = changed(PLAN, *FACTS[fact])
    assert other.digest != PLAN.digest
    asked = book.request(other, ttl_s=900)
    same_question = asked.model_copy(update={"plan": PLAN, "plan_digest": PLAN.digest})
    assert statement_of(asked, ()) != statement_of(same_question, ())
