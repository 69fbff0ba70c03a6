"""A real Chromium without a window, one for each module, and a page server on a real journal."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.pageserver import PageServer
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState
from tests.browser.plans import a_full_plan
from tests.unit.database.builders import HandClock

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
]
PATIENCE_MS = 15_000


@dataclass
class Desk:
    """Where a test asks, and looks what became of it."""

    book: SqliteApprovalBook
    server: PageServer
    results: Path

    def ask(self, files: int = 8) -> ApprovalRequest:
        return self.book.request(a_full_plan(self.results, files=files), ttl_s=900)

    def state(self, request: ApprovalRequest) -> ApprovalRequest:
        known = self.book.get(request.id)
        assert known is not None
        return known

    def is_open(self, request: ApprovalRequest) -> bool:
        return self.state(request).state is ApprovalState.OPEN


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # By module and not by session: while Playwright's own event loop runs, no test with another one can begin.
    program = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if program is None:
        pytest.skip("there is no chromium here: install the package chromium to test the page in a real browser")
    with sync_playwright() as playwright:
        yield from _launched(playwright, program)


def _launched(playwright: Playwright, program: str) -> Iterator[Browser]:
    # Playwright gives every launch a new, empty user data folder.
    browser = playwright.chromium.launch(executable_path=program, args=FLAGS, timeout=PATIENCE_MS)
    yield browser
    browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    with SqliteApprovalBook(folder / "journal.db", clock=HandClock()) as book, PageServer(book) as server:
        yield Desk(book, server, folder / "results")


@pytest.fixture
def opened(desk: Desk, page: Page) -> Callable[[ApprovalRequest], Page]:
    """Opens the page of a request by a fresh link."""

    def go(request: ApprovalRequest) -> Page:
        answer = page.goto(desk.server.link(request.id))
        assert answer is not None and answer.status == 200
        return page

    return go
