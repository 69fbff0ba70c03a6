"""Consents that are used without a token in anybody's hands: given beforehand, or carried out in the console."""

import sqlite3
from collections.abc import Mapping

from pydantic import JsonValue

from remote_gpu_trainer.approval.grant import grant
from remote_gpu_trainer.approval.judge import Desk, Problem, Use, judge, plan_problem, to_destroy
from remote_gpu_trainer.approval.refusal import Refusal, rejected
from remote_gpu_trainer.approval.rows import binding_of, consent_of, log, mark_spent, request_of
from remote_gpu_trainer.approval.token import derived
from remote_gpu_trainer.database.rows import insert_intent
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel, Consent
from remote_gpu_trainer.domain.ids import ApprovalId, LeaseId
from remote_gpu_trainer.domain.plans import StandingPlan, TeardownPlan
from remote_gpu_trainer.domain.runs import Intent
from remote_gpu_trainer.errors import ConsentError, TokenRejected


def spend_standing(
    desk: Desk,
    standing: ApprovalId,
    approval: ApprovalId,
    *,
    plan_digest: str,
    lease: LeaseId,
    request: Mapping[str, JsonValue],
    key: bytes,
) -> tuple[Consent, Intent] | TokenRejected | ConsentError:
    """Use a consent given beforehand up on one teardown and open its intent, in one transaction; or why not.

    Raises:
        InvalidRequest: there is no such request.
        UnknownRun: the journal does not hold the lease; the transaction is to be undone.
    """
    row, asked = desk.row(standing), request_of(desk.row(approval))
    given = request_of(row)
    if given.state is ApprovalState.OPEN:
        return _refused(desk, row, Refusal.UNDECIDED, "it is open, not approved")
    # A row that was made by hand has no hash that the key gives again.
    token = derived(key=key, binding=binding_of(given)) if given.state is ApprovalState.APPROVED else ""
    verdict = judge(desk, standing, token, plan_digest=given.plan_digest, key=key, use=_on(asked))
    if isinstance(verdict, TokenRejected):
        return verdict
    if (problem := plan_problem(asked, plan_digest) or to_destroy(desk.db, lease).binds(asked)) is not None:
        return _refused(desk, desk.row(approval), *problem)
    how = consent_of(given)
    granted = grant(desk, approval, channel=Channel.STANDING, assurance=how.assurance, key=key, by=str(standing))
    if isinstance(granted, ConsentError):
        return granted
    mark_spent(desk.db, desk.now, desk.row(standing), {"on": approval})
    consent = mark_spent(desk.db, desk.now, desk.row(approval), {"beforehand": standing})
    return consent, insert_intent(desk.db, desk.now, lease, "destroy", request, approval=approval)


def _on(asked: ApprovalRequest) -> Use:
    """Letting a consent given beforehand stand for the yes to this teardown."""

    def problem(given: ApprovalRequest) -> Problem | None:
        plan, teardown = given.plan, asked.plan
        if not isinstance(plan, StandingPlan) or not isinstance(teardown, TeardownPlan):
            return Refusal.OTHER_ACTION, "it was not given beforehand for a teardown"
        if (plan.account_id, plan.lease, plan.instance) != (teardown.account_id, teardown.lease, teardown.instance):
            return Refusal.OTHER_INSTANCE, "it was given for another instance"
        return None

    return Use("destroy", problem)


def _refused(desk: Desk, row: sqlite3.Row, refusal: Refusal, seen: str) -> TokenRejected:
    log(desk.db, desk.now, row, "refused", {"refusal": refusal.value})
    return rejected(refusal, row["id"], seen, action="destroy")


def spend_witnessed(desk: Desk, approval: ApprovalId, *, key: bytes) -> Consent | ConsentError:
    """End the request of an instance that the person destroyed in the console. No token and no intent comes of it.

    Raises:
        InvalidRequest: there is no such request.
    """
    request = request_of(desk.row(approval))
    if request.state is ApprovalState.OPEN:
        granted = grant(desk, approval, channel=Channel.CONSOLE, assurance=AssuranceLevel.CONSOLE, key=key)
        if isinstance(granted, ConsentError):
            return granted
    elif not _of_the_console(request):
        return ConsentError(
            f"approval {approval!r} is {request.state.value} and not one that waits for the console",
            next_step="poll_status to see where the instance stands",
        )
    return mark_spent(desk.db, desk.now, desk.row(approval), {}, told="witnessed")


def _of_the_console(request: ApprovalRequest) -> bool:
    return request.state is ApprovalState.APPROVED and request.assurance is AssuranceLevel.CONSOLE
