"""What a factor signs: one request, one plan, in canonical JSON (RFC 8785)."""

from collections.abc import Sequence
from typing import Protocol

import rfc8785
from pydantic import JsonValue

from remote_gpu_trainer.database.text import stamp
from remote_gpu_trainer.domain.approvals import ApprovalRequest
from remote_gpu_trainer.domain.instances import InstanceIdentity
from remote_gpu_trainer.domain.plans import Plan, RentPlan, StandingPlan, TeardownPlan


class Approver(Protocol):
    """A registered factor whose signature would be accepted."""

    @property
    def title(self) -> str:
        """Whose it is, and the fingerprint of its key."""
        ...


def statement_of(request: ApprovalRequest, approvers: Sequence[Approver]) -> bytes:
    """The exact bytes for one request to those who may answer it.

    A factor that is registered or removed between the question and the answer makes another statement.
    The plan's digest stands for everything that the plan says; what decides is spelled out beside it, so that the
    statement can be read without the journal. Numbers that could be large, and money, are text.
    """
    plan = request.plan
    return rfc8785.dumps(
        {
            "version": 1,
            "approval": request.id,
            "action": plan.action,
            "account": str(plan.account_id),
            "name": plan.name,
            "plan": request.plan_digest,
            **_about(plan),
            "policy": plan.policy_digest,
            "program": plan.program_version,
            "nonce": plan.nonce,
            "prepared": stamp(plan.prepared_at),
            "approver": sorted(one.title for one in approvers),
            "asked": stamp(request.requested_at),
            "expires": stamp(request.expires_at),
        }
    )


def _about(plan: Plan) -> dict[str, JsonValue]:
    match plan:
        case TeardownPlan():
            return _teardown(plan)
        case RentPlan():
            return {
                "offer": str(plan.offer_id),
                "machine": str(plan.machine_id),
                "usd_per_hour": str(plan.usd_per_hour),
                "total_usd": str(plan.total),
                "over": plan.over,
            }
        case StandingPlan():
            return {
                "instance": _identity(plan.instance),
                "lease": plan.lease,
                "least_level": plan.least_level.name,
                "off_box": plan.off_box,
                "idle_minutes": str(plan.idle_minutes),
                "most_unsaved_bytes": str(plan.most_unsaved_bytes),
                "hours": str(plan.hours),
            }


def _teardown(plan: TeardownPlan) -> dict[str, JsonValue]:
    return {
        "instance": _identity(plan.instance),
        "lease": plan.lease,
        "machine_state": plan.machine_state.value,
        "stopped_at": None if plan.stopped_at is None else stamp(plan.stopped_at),
        "evidence": [
            {
                "copy": one.copy_id,
                "destination": one.destination,
                "manifest": one.manifest_digest,
                "files": len(one.files),
                "bytes": str(sum(file.size for file in one.files)),
                "lowest_level": one.lowest_level.name,
                "load_report": one.report_digest,
                "copied": stamp(one.copied_at),
                "verified": stamp(one.verified_at),
            }
            for one in plan.evidence
        ],
        "fingerprints": [
            {"moment": one.moment, "at": stamp(one.at), "digest": one.digest, "by": one.by.value}
            for one in plan.fingerprints
        ],
        "not_saved": {
            "files": len(plan.losses),
            "bytes": str(sum(one.size for one in plan.losses)),
            "list": plan.losses_digest,
            "complete": plan.losses_complete,
            "reasons": [str(reason) for reason in sorted({one.reason for one in plan.losses})],
        },
        "writers": len(plan.running_writers),
        "spent_usd": str(plan.spent),
        "usd_per_hour_running": _price(plan.usd_per_hour_running),
        "usd_per_hour_stopped": _price(plan.usd_per_hour_stopped),
    }


def _identity(identity: InstanceIdentity) -> dict[str, JsonValue]:
    return {
        "id": str(identity.id),
        "machine": str(identity.machine_id),
        "label": identity.label,
        "contract_start": None if identity.started_at is None else stamp(identity.started_at),
    }


def _price(price: float | None) -> str | None:
    return None if price is None else str(price)
