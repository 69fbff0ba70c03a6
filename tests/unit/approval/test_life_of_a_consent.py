"""Whatever happens in whatever order, a token works once, for its plan, in its time, or not at all."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.refusal import MAX_ATTEMPTS, Refusal
from remote_gpu_trainer.approval.token import mint
from remote_gpu_trainer.database.file import Database
from remote_gpu_trainer.database.highwater import TOLERANCE
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.errors import ConsentError, TokenRejected
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.database.builders import ACCOUNT, INSTANCE, LEASE, HandClock, a_lease, a_standing, a_teardown

TTL = 900.0
Held = tuple[ApprovalRequest, str]


class Consent(RuleBasedStateMachine):
    """A model of the book: what each request must be, held against what the book says."""

    requests = Bundle("requests")
    tokens = Bundle("tokens")
    standings = Bundle("standings")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = HandClock()
        self.true_time = 0.0
        self.model: dict[str, ApprovalState] = {}
        self.asked_at: dict[str, float] = {}
        self.attempts: dict[str, int] = {}
        self.beforehand: set[str] = set()
        self.spent = 0
        self.open_file()
        self.journal.open_lease(a_lease(), account_id=ACCOUNT, request={})
        self.journal.bind_instance(LEASE, INSTANCE)

    def open_file(self) -> None:
        self.database = Database(self.folder / "journal.db")
        self.journal = SqliteJournal(self.database, clock=self.clock)
        self.book = SqliteApprovalBook(self.database, clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            shutil.rmtree(self.folder)

    def live(self, approval: str) -> bool:
        return self.model[approval] in (ApprovalState.OPEN, ApprovalState.APPROVED)

    def expire(self) -> None:
        for approval, at in self.asked_at.items():
            if self.live(approval) and self.true_time - at >= TTL:
                self.model[approval] = ApprovalState.EXPIRED

    @rule(target=requests, nonce=st.sampled_from(["n1", "n2", "n3"]))
    def ask(self, nonce: str) -> ApprovalRequest:
        request = self.book.request(a_teardown(nonce=nonce), ttl_s=TTL)
        if request.id not in self.model:
            self.asked(request)
        assert self.live(request.id)
        return request

    def asked(self, request: ApprovalRequest) -> None:
        for approval in self.model:
            if self.live(approval) and (approval in self.beforehand) == (request.id in self.beforehand):
                self.model[approval] = ApprovalState.VOID
        self.model[request.id] = ApprovalState.OPEN
        self.asked_at[request.id] = self.true_time
        self.attempts[request.id] = 0

    @rule(target=standings, nonce=st.sampled_from(["n1", "n2"]))
    def agree_beforehand(self, nonce: str) -> ApprovalRequest:
        request = self.book.request(a_standing(nonce=nonce), ttl_s=TTL)
        if request.id not in self.model:
            self.beforehand.add(request.id)
            self.asked(request)
        if self.model[request.id] is ApprovalState.OPEN:
            self.book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
            self.model[request.id] = ApprovalState.APPROVED
        return request

    @rule(standing=standings, request=requests, other_plan=st.booleans())
    def use_what_was_agreed_beforehand(
        self, standing: ApprovalRequest, request: ApprovalRequest, other_plan: bool
    ) -> None:
        states = (self.model[standing.id], self.model[request.id])
        digest = "0" * 64 if other_plan else request.plan_digest
        try:
            self.book.spend_by_standing(request.id, standing.id, plan_digest=digest, lease=LEASE, request={})
        except ConsentError:
            assert other_plan or states != (ApprovalState.APPROVED, ApprovalState.OPEN)
        else:
            assert not other_plan and states == (ApprovalState.APPROVED, ApprovalState.OPEN)
            self.model[standing.id] = self.model[request.id] = ApprovalState.SPENT
            self.spent += 1

    @rule(target=tokens, request=requests)
    def approve(self, request: ApprovalRequest) -> Held | MultipleResults[Held]:
        try:
            token = self.book.approve(request.id, channel=Channel.TERMINAL, assurance=AssuranceLevel.PERSON)
        except ConsentError:
            assert self.model[request.id] is not ApprovalState.OPEN
            nothing: MultipleResults[Held] = multiple()
            return nothing
        assert self.model[request.id] is ApprovalState.OPEN
        self.model[request.id] = ApprovalState.APPROVED
        return (request, token)

    @rule(request=requests)
    def decline(self, request: ApprovalRequest) -> None:
        try:
            self.book.decline(request.id, channel=Channel.PAGE, reason="no")
        except ConsentError:
            assert not self.live(request.id)
        else:
            assert self.live(request.id) or self.model[request.id] is ApprovalState.DECLINED
            self.model[request.id] = ApprovalState.DECLINED

    @rule(held=tokens, other_plan=st.booleans())
    def spend(self, held: Held, other_plan: bool) -> None:
        request, token = held
        digest = "0" * 64 if other_plan else request.plan_digest
        try:
            self.book.spend(request.id, token, plan_digest=digest, lease=LEASE, request={})
        except TokenRejected as problem:
            reason = problem.details["reason"]
            if reason == Refusal.OTHER_PLAN:
                assert other_plan and self.model[request.id] is ApprovalState.APPROVED
            else:
                assert reason == self.model[request.id].value
        else:
            assert not other_plan and self.model[request.id] is ApprovalState.APPROVED
            self.model[request.id] = ApprovalState.SPENT
            self.spent += 1

    @rule(request=requests)
    def guess(self, request: ApprovalRequest) -> None:
        try:
            self.book.spend(request.id, mint(), plan_digest=request.plan_digest, lease=LEASE, request={})
        except TokenRejected:
            if self.live(request.id):
                self.attempts[request.id] += 1
                if self.attempts[request.id] == MAX_ATTEMPTS:
                    self.model[request.id] = ApprovalState.LOCKED
        else:
            raise AssertionError("a guess was accepted")

    @rule(seconds=st.sampled_from([1.0, 60.0, 400.0, 899.0, 900.0]))
    def pass_by(self, seconds: float) -> None:
        self.clock.pass_by(seconds)
        self.true_time += seconds
        self.expire()

    @rule()
    def void_by_moving_the_clock_back(self) -> None:
        # Expiry is seen first, as it is in use: somebody looks, and then the clock is moved.
        self.book.open_requests()
        self.clock.step(-TOLERANCE.total_seconds() - 3600)
        self.book.open_requests()
        for approval in self.model:
            if self.live(approval):
                self.model[approval] = ApprovalState.VOID

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.open_file()

    @rule(request=consumes(requests))
    def void(self, request: ApprovalRequest) -> None:
        self.book.void(request.id, "the machine changed")
        if self.live(request.id):
            self.model[request.id] = ApprovalState.VOID

    @invariant()
    def the_book_and_the_model_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        for approval, state in self.model.items():
            known = self.book.get(ApprovalId(approval))
            assert known is not None and known.state is state
        destroys = [intent for intent in self.journal.open_intents() if intent.action == "destroy"]
        spent = [
            one for one, state in self.model.items() if state is ApprovalState.SPENT and one not in self.beforehand
        ]
        assert len(destroys) == self.spent == len(spent)


TestLifeOfAConsent = Consent.TestCase
TestLifeOfAConsent.settings = settings(max_examples=60, stateful_step_count=30)
