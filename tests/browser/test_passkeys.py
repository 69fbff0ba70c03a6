"""Passkeys in a real browser with a virtual authenticator: registered, asked, verified, and refused for the reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.pageserver import PageServer, serve_enrolment
from remote_gpu_trainer.approval.passkey import Passkey
from remote_gpu_trainer.approval.passkeyfiles import load_passkeys
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel
from tests.browser.plans import a_full_plan
from tests.browser.test_reading import serious
from tests.unit.database.builders import LEASE, HandClock

pytestmark = pytest.mark.xdist_group("browser")


class Authenticator:
    """Chromium's own software authenticator, on one page."""

    def __init__(self, page: Page, *, verifies: bool = True) -> None:
        self.cdp: Any = page.context.new_cdp_session(page)
        self.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "usb",
            "hasUserVerification": True,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        self.id = self.send("WebAuthn.addVirtualAuthenticator", options=options)["authenticatorId"]

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self.cdp.send(method, params)

    def verifies(self, does: bool) -> None:
        self.send("WebAuthn.setUserVerified", authenticatorId=self.id, isUserVerified=does)

    def credential(self) -> dict[str, Any]:
        [one] = self.send("WebAuthn.getCredentials", authenticatorId=self.id)["credentials"]
        return one

    def clone(self, credential: dict[str, Any]) -> None:
        """Put an older copy of a credential in the place of the newer one, as a copied device is."""
        self.send("WebAuthn.clearCredentials", authenticatorId=self.id)
        self.send("WebAuthn.addCredential", authenticatorId=self.id, credential=credential)


@dataclass
class Guarded:
    book: SqliteApprovalBook
    server: PageServer
    folder: Path
    results: Path

    def ask(self) -> ApprovalRequest:
        return self.book.request(a_full_plan(self.results), ttl_s=900)

    def state(self, request: ApprovalRequest) -> ApprovalRequest:
        known = self.book.get(request.id)
        assert known is not None
        return known


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    folder = tmp_path / "passkeys"
    with (
        SqliteApprovalBook(tmp_path / "journal.db", clock=HandClock()) as book,
        PageServer(book, level_of=lambda plan: AssuranceLevel.HARDWARE, passkeys=folder) as server,
    ):
        yield Guarded(book, server, folder, tmp_path / "results")


def enrolled(page: Page, folder: Path, label: str = "my key ring") -> Passkey:
    """Go through the page that ``rgt approve --enroll`` serves."""
    links: list[str] = []
    made: list[Passkey | None] = []

    def serve() -> None:
        made.append(serve_enrolment(folder, clock=HandClock(), announce=links.append, patience_s=20))

    serving = Thread(target=serve)
    serving.start()
    for _ in range(200):
        if links:
            break
        page.wait_for_timeout(20)
    page.goto(links[0])
    assert serious(page) == []
    page.get_by_label("What you call it").fill(label)
    page.get_by_role("button", name="Register a passkey").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Registered")
    serving.join(timeout=20)
    assert made[0] is not None
    return made[0]


def agree(page: Page) -> None:
    page.get_by_label("Name").fill(LEASE)
    page.get_by_role("button", name=f"Destroy {LEASE}").click()


def test_a_registered_passkey_says_yes_at_level_hardware(guarded: Guarded, page: Page) -> None:
    Authenticator(page)
    passkey = enrolled(page, guarded.folder)
    assert load_passkeys(guarded.folder) == (passkey,)
    request = guarded.ask()
    page.goto(guarded.server.link(request.id))
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))

    agree(page)

    token = page.locator(".token").inner_text()
    known = guarded.book.check(request.id, token, plan_digest=request.plan_digest)
    assert known.assurance is AssuranceLevel.HARDWARE
    assert said == []


def test_a_passkey_that_verifies_nobody_sends_nothing(guarded: Guarded, page: Page) -> None:
    authenticator = Authenticator(page)
    enrolled(page, guarded.folder)
    authenticator.verifies(False)
    request = guarded.ask()
    page.goto(guarded.server.link(request.id))

    agree(page)

    expect(page.get_by_role("status")).to_contain_text("Nothing was sent")
    assert guarded.state(request).state is ApprovalState.OPEN


def test_a_copied_authenticator_is_known_by_its_counter(guarded: Guarded, page: Page) -> None:
    authenticator = Authenticator(page)
    enrolled(page, guarded.folder)
    copy = authenticator.credential()
    page.goto(guarded.server.link(guarded.ask().id))
    agree(page)
    expect(page.locator(".token")).to_be_visible()
    authenticator.clone(copy)
    request = guarded.ask()
    page.goto(guarded.server.link(request.id))

    agree(page)

    expect(page.get_by_role("alert")).to_contain_text("sign count")
    expect(page.get_by_role("alert")).to_contain_text("The instance was not destroyed.")
    assert guarded.state(request).state is ApprovalState.OPEN


def test_a_passkey_that_was_removed_is_not_asked_and_only_a_no_is_taken(guarded: Guarded, page: Page) -> None:
    Authenticator(page)
    enrolled(page, guarded.folder)
    for file in guarded.folder.glob("*.json"):
        file.unlink()
    request = guarded.ask()

    page.goto(guarded.server.link(request.id))

    expect(page.get_by_text("Here you can only refuse")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_count(0)
    page.get_by_role("button", name="Refuse, and keep it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Refused")


def test_without_the_script_the_name_alone_is_not_enough(guarded: Guarded, page: Page) -> None:
    Authenticator(page)
    enrolled(page, guarded.folder)
    request = guarded.ask()
    page.goto(guarded.server.link(request.id))

    page.evaluate(
        """name => {
        const form = document.querySelector("form[data-passkey]");
        form.elements.typed.value = name;
        form.submit();
    }""",
        LEASE,
    )

    expect(page.get_by_role("alert")).to_contain_text("the passkey's answer is not accepted")
    assert guarded.state(request).state is ApprovalState.OPEN
