"""What another page in the same real browser can do to the question: nothing."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Error, Page, expect

from remote_gpu_trainer.domain.approvals import ApprovalRequest
from tests.browser.conftest import Desk
from tests.unit.database.builders import LEASE

pytestmark = pytest.mark.xdist_group("browser")

Opened = Callable[[ApprovalRequest], Page]


class Elsewhere:
    """A site of somebody else's, which serves whatever a test gives it."""

    def __init__(self) -> None:
        site = self
        self.page = ""
        self.seen: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append(self.path)
                content = site.page.encode()
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=5)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    site = Elsewhere()
    yield site
    site.close()


def a_form(target: str, secret: str) -> str:
    return (
        f'<form id="f" method="post" action="{target}"><input name="form" value="{secret}">'
        f'<input name="decision" value="agree"><input name="typed" value="{LEASE}"></form>'
        '<script>document.getElementById("f").submit()</script>'
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "evil.example"])
def test_a_form_of_another_site_is_refused_even_with_the_secret_of_the_form(
    desk: Desk, page: Page, opened: Opened, elsewhere: Elsewhere, host: str
) -> None:
    request = desk.ask()
    opened(request)
    secret = page.locator("input[name=form]").first.input_value()
    elsewhere.page = a_form(f"http://localhost:{desk.server.port}/{request.id}/answer", secret)

    page.goto(f"http://{host}:{elsewhere.port}/")

    expect(page.locator("body")).to_contain_text("This does not come from the page itself. Nothing was decided.")
    assert desk.is_open(request)


def test_a_name_that_was_rebound_to_this_computer_reads_nothing_and_does_not_use_up_the_link(
    desk: Desk, page: Page, opened: Opened
) -> None:
    request = desk.ask()
    link = desk.server.link(request.id)

    page.goto(link.replace("localhost", "evil.example"))

    expect(page.locator("body")).to_have_text(
        f"This page is only at http://localhost:{desk.server.port}. Nothing was decided."
    )
    answer = page.goto(link)
    assert answer is not None and answer.status == 200 and desk.is_open(request)


def test_the_page_shows_nothing_inside_another_one(
    desk: Desk, page: Page, opened: Opened, elsewhere: Elsewhere
) -> None:
    request = desk.ask()
    opened(request)
    elsewhere.page = f'<iframe id="i" src="http://localhost:{desk.server.port}/{request.id}/"></iframe>'

    page.goto(f"http://localhost:{elsewhere.port}/")

    frame = page.frame_locator("#i")
    expect(frame.get_by_role("button")).to_have_count(0)
    expect(frame.get_by_text("What will be lost")).to_have_count(0)


def test_another_site_cannot_read_the_page(desk: Desk, page: Page, opened: Opened, elsewhere: Elsewhere) -> None:
    request = desk.ask()
    opened(request)
    elsewhere.page = "<title>elsewhere</title>"
    page.goto(f"http://localhost:{elsewhere.port}/")

    read = page.evaluate(
        "url => fetch(url, {credentials: 'include'}).then(r => r.text(), problem => problem.name)",
        f"http://localhost:{desk.server.port}/{request.id}/",
    )

    assert read == "TypeError" and desk.is_open(request)


def test_another_browser_cannot_use_a_link_again(desk: Desk, page: Page, opened: Opened) -> None:
    request = desk.ask()
    link = desk.server.link(request.id)
    page.goto(link)
    page.context.clear_cookies()

    answer = page.goto(link)

    assert answer is not None and answer.status == 403
    expect(page.get_by_role("status")).to_contain_text("This link was opened already")
    assert desk.is_open(request)


def test_going_back_after_the_answer_shows_no_token_again(desk: Desk, page: Page, opened: Opened) -> None:
    request = desk.ask()
    opened(request)
    page.get_by_label("Name").fill(LEASE)
    page.get_by_role("button", name=f"Destroy {LEASE}").click()
    token = page.locator(".token").inner_text()

    page.goto("about:blank")
    with pytest.raises(Error, match="ERR_CACHE_MISS"):  # the browser kept nothing, and would have to ask again
        page.go_back()

    expect(page.locator("body")).not_to_contain_text(token)
