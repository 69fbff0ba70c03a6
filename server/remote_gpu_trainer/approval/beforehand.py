"""Consents that are used without a token in anybody's hands: given beforehand, or carried out in the console."""

from remote_gpu_trainer.approval.grant import grant
from remote_gpu_trainer.approval.judge import Desk, judge
from remote_gpu_trainer.approval.refusal import Refusal, rejected
from remote_gpu_trainer.approval.rows import binding_of, consent_of, log, request_of
from remote_gpu_trainer.approval.token import derived
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel, Consent
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import StandingPlan, TeardownPlan
from remote_gpu_trainer.errors import ConsentError, TokenRejected

_SPEND = "UPDATE approvals SET state = ?, token_hash = NULL, token_salt = NULL WHERE id = ?"


def spend_standing(
    desk: Desk, standing: ApprovalId, approval: ApprovalId, *, key: bytes
) -> str | TokenRejected | ConsentError:
    """Use a consent given beforehand up on one teardown, in one transaction: the teardown's token, or why not.

    Raises:
        InvalidRequest: there is no such request.
    """
    row = desk.row(standing)
    given = request_of(row)
    if given.state is not ApprovalState.APPROVED:
        return rejected(Refusal.UNDECIDED, standing, f"it is {given.state.value}, not approved", action="destroy")
    # A row that was made by hand has no hash that the key gives again.
    token = derived(key=key, binding=binding_of(given))
    verdict = judge(desk, standing, token, plan_digest=given.plan_digest, key=key)
    if isinstance(verdict, TokenRejected):
        return verdict
    plan, teardown = given.plan, request_of(desk.row(approval)).plan
    if not isinstance(plan, StandingPlan) or not isinstance(teardown, TeardownPlan):
        return rejected(Refusal.OTHER_ACTION, standing, "it was not given beforehand for a teardown", action="destroy")
    if (plan.account_id, plan.lease, plan.instance) != (teardown.account_id, teardown.lease, teardown.instance):
        return rejected(Refusal.OTHER_INSTANCE, standing, "it was given for another instance", action="destroy")
    how = consent_of(given)
    granted = grant(desk, approval, channel=Channel.STANDING, assurance=how.assurance, key=key, by=str(standing))
    if isinstance(granted, str):
        desk.db.execute(_SPEND, (ApprovalState.SPENT, standing))
        log(desk.db, desk.now, desk.row(standing), "spent", {"on": approval})
    return granted


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
    desk.db.execute(_SPEND, (ApprovalState.SPENT, approval))
    row = desk.row(approval)
    log(desk.db, desk.now, row, "witnessed")
    return consent_of(request_of(row))


def _of_the_console(request: ApprovalRequest) -> bool:
    return request.state is ApprovalState.APPROVED and request.assurance is AssuranceLevel.CONSOLE
