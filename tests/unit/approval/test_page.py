"""The page: one browser by one link, from the page itself, the exact name, and nothing of the machine's comes alive."""

import re
import secrets
import ssl
import threading
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.approval.elicitation import Answer
from remote_gpu_trainer.approval.pageserver import PageServer, serve_page
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, Channel
from remote_gpu_trainer.domain.ids import ApprovalId
from remote_gpu_trainer.domain.plans import Loss
from remote_gpu_trainer.errors import ConfigError
from tests.unit.database.builders import LEASE, HandClock, a_rent, a_standing, a_teardown

TOKEN = re.compile(r"(?:[0-9A-Z]{4}-){6}[0-9A-Z]{4}")

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The page speaks plain HTTP on loopback; without this each client reads all root certificates anew."""


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class Browser:
    """Does what a browser does: keeps cookies by path, follows the redirect, sends the page's Origin."""

    def __init__(self, server: PageServer) -> None:
        self.origin = f"http://localhost:{server.port}"
        self.client = httpx.Client(
            verify=NO_TLS, trust_env=False, timeout=10, follow_redirects=True, base_url=self.origin
        )
        self.page = ""

    def open(self, link: str) -> httpx.Response:
        response = self.client.get(link)
        self.page = response.text
        return response

    def form(self) -> str:
        hidden = [field for field in Tags(self.page).attributes("input") if field.get("type") == "hidden"]
        return hidden[0]["value"] or ""

    def answer(self, approval: str, *, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        sent = {"form": self.form(), **fields}
        response = self.client.post(
            f"/{approval}/answer", data=sent, headers={"origin": self.origin} if headers is None else headers
        )
        self.page = response.text
        return response


@pytest.fixture(scope="module")
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory, clock: HandClock) -> Iterator[SqliteApprovalBook]:
    with SqliteApprovalBook(tmp_path_factory.mktemp("page") / "journal.db", clock=clock) as opened:
        yield opened


@pytest.fixture(scope="module")
def told() -> list[tuple[ApprovalId, Answer]]:
    return []


@pytest.fixture(scope="module")
def server(book: SqliteApprovalBook, told: list[tuple[ApprovalId, Answer]]) -> Iterator[PageServer]:
    # One for all: starting and ending it takes longer than what is tested. Each test asks about a plan of its own.
    with PageServer(book, on_answer=lambda approval, answer: told.append((approval, answer))) as running:
        yield running


@pytest.fixture
def answers(told: list[tuple[ApprovalId, Answer]]) -> list[tuple[ApprovalId, Answer]]:
    told.clear()
    return told


@pytest.fixture
def asked(book: SqliteApprovalBook) -> ApprovalRequest:
    return book.request(a_teardown(nonce=secrets.token_hex(4)), ttl_s=900)


@pytest.fixture
def browser(server: PageServer) -> Iterator[Browser]:
    browser = Browser(server)
    yield browser
    browser.client.close()


def still_open(book: SqliteApprovalBook, request: ApprovalRequest) -> bool:
    known = book.get(request.id)
    return known is not None and known.state is ApprovalState.OPEN


def test_the_page_shows_the_dossier_word_for_word(server: PageServer, browser: Browser, asked: ApprovalRequest) -> None:
    assert browser.open(server.link(asked.id)).status_code == 200
    shown = " ".join(" ".join(Tags(browser.page).words).split())
    for line in render(asked.plan).split("\n"):
        words = " ".join(line.lstrip("#- ").replace("**", "").replace("```text ", "").replace("```", "").split())
        assert words in shown, words


def test_the_exact_name_approves_and_the_token_is_shown_once(
    server: PageServer,
    browser: Browser,
    book: SqliteApprovalBook,
    asked: ApprovalRequest,
    answers: list[tuple[ApprovalId, Answer]],
) -> None:
    browser.open(server.link(asked.id))
    page = browser.answer(asked.id, decision="agree", typed=LEASE)
    assert page.status_code == 200
    [token] = TOKEN.findall(page.text)
    assert book.check(asked.id, token, plan_digest=asked.plan_digest).channel is Channel.PAGE
    assert answers == [(asked.id, Answer(agreed=True, reason=""))]
    assert browser.client.get(f"/{asked.id}/").status_code == 403
    assert token not in repr(answers)


def test_a_refusal_keeps_its_reason_with_nothing_hidden_in_it(
    server: PageServer, browser: Browser, book: SqliteApprovalBook, asked: ApprovalRequest
) -> None:
    browser.open(server.link(asked.id))
    page = browser.answer(asked.id, decision="refuse", reason="keep\u202e it\r\n")
    assert "The instance was not destroyed." in page.text
    known = book.get(asked.id)
    assert known is not None and known.state is ApprovalState.DECLINED and known.reason == "keep\\u{202e} it"


def test_a_wrong_name_can_be_corrected_and_five_are_a_no(
    server: PageServer, browser: Browser, book: SqliteApprovalBook, asked: ApprovalRequest
) -> None:
    browser.open(server.link(asked.id))
    for _ in range(4):
        page = browser.answer(asked.id, decision="agree", typed="d\u0456gits-k3vq7m")
        assert page.status_code == 422 and 'role="alert"' in page.text and "outside ASCII" in page.text
        assert "d\u0456gits" not in page.text and still_open(book, asked)
    assert "Refused" in browser.answer(asked.id, decision="agree", typed="yes").text
    assert not still_open(book, asked)


def test_a_link_opens_once(server: PageServer, browser: Browser, asked: ApprovalRequest) -> None:
    link = server.link(asked.id)
    assert browser.open(link).status_code == 200
    other = Browser(server)
    with other.client:
        assert other.open(link).status_code == 403
        assert other.client.get(f"/{asked.id}/").status_code == 403
    assert browser.client.get(f"/{asked.id}/").status_code == 200


def test_a_newer_link_ends_the_older_one(server: PageServer, browser: Browser, asked: ApprovalRequest) -> None:
    older = server.link(asked.id)
    browser.open(server.link(asked.id))
    other = Browser(server)
    with other.client:
        assert other.open(older).status_code == 404


@pytest.mark.parametrize("path", ["open/", "open/guess", "", "answer", "../", "open/\u00e9"])
def test_without_the_one_time_part_there_is_nothing(
    server: PageServer, browser: Browser, asked: ApprovalRequest, path: str
) -> None:
    server.link(asked.id)
    response = browser.client.get(f"/{asked.id}/{path}")
    assert response.status_code in (403, 404, 405) and "debug.log" not in response.text


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "evil.example:{port}", "localhost", "localhost:1", "[::1]:{port}"]
)
def test_another_host_name_is_refused_as_by_rebinding(
    server: PageServer, browser: Browser, asked: ApprovalRequest, host: str
) -> None:
    link = server.link(asked.id)
    refused = browser.client.get(link, headers={"host": host.format(port=server.port)})
    assert refused.status_code == 403 and f"only at http://localhost:{server.port}" in refused.text
    assert browser.open(link).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:1"},
        {"origin": "https://localhost:{port}"},
        {"origin": "http://localhost:{port}", "sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:{port}", "sec-fetch-site": "same-site"},
    ],
)
def test_an_answer_from_another_origin_is_refused(
    server: PageServer, browser: Browser, book: SqliteApprovalBook, asked: ApprovalRequest, headers: dict[str, str]
) -> None:
    browser.open(server.link(asked.id))
    sent = {name: value.format(port=server.port) for name, value in headers.items()}
    assert browser.answer(asked.id, headers=sent, decision="agree", typed=LEASE).status_code == 403
    assert still_open(book, asked)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        ("decision=agree&typed=digits-k3vq7m", "application/x-www-form-urlencoded", 403),
        ("form={form}x&decision=agree&typed=digits-k3vq7m", "application/x-www-form-urlencoded", 403),
        ("form={form}&decision=agree&decision=refuse", "application/x-www-form-urlencoded", 400),
        ("form={form}&decision=perhaps", "application/x-www-form-urlencoded", 400),
        ("form={form}", "application/x-www-form-urlencoded", 400),
        ("form={form}&typed=%FF", "application/x-www-form-urlencoded", 400),
        ("form={form}&reason=" + "x" * 40_000, "application/x-www-form-urlencoded", 413),
        ('{{"decision":"agree"}}', "application/json", 415),
        ("form={form}&decision=agree&typed=digits-k3vq7m", "text/plain", 415),
    ],
)
def test_an_answer_that_is_not_the_pages_own_form_is_refused(
    server: PageServer,
    browser: Browser,
    book: SqliteApprovalBook,
    asked: ApprovalRequest,
    content: str,
    kind: str,
    status: int,
) -> None:
    browser.open(server.link(asked.id))
    response = browser.client.post(
        f"/{asked.id}/answer",
        content=content.format(form=browser.form()),
        headers={"origin": browser.origin, "content-type": kind},
    )
    assert response.status_code == status
    assert still_open(book, asked)


def test_the_page_is_not_framed(server: PageServer, browser: Browser, asked: ApprovalRequest) -> None:
    link = server.link(asked.id)
    assert browser.client.get(link, headers={"sec-fetch-dest": "iframe"}).status_code == 403
    headers = browser.open(link).headers
    assert headers["x-frame-options"] == "DENY" and "frame-ancestors 'none'" in headers["content-security-policy"]


def test_no_script_no_foreign_asset_and_nothing_is_stored(
    server: PageServer, browser: Browser, asked: ApprovalRequest
) -> None:
    headers = browser.open(server.link(asked.id)).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'nonce-")
    assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
    page = Tags(browser.page)
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert [link["href"] for link in page.attributes("a")] == ["#decision"]
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    [cookie] = browser.client.cookies.jar
    assert cookie.path == f"/{asked.id}/" and cookie.has_nonstandard_attr("HttpOnly") and cookie.expires is None


def test_every_field_has_a_label_and_its_hint(server: PageServer, browser: Browser, asked: ApprovalRequest) -> None:
    browser.open(server.link(asked.id))
    browser.answer(asked.id, decision="agree", typed="no such name")
    page = Tags(browser.page)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    labelled = {label["for"] for label in page.attributes("label")}
    fields = [*page.attributes("textarea"), *(f for f in page.attributes("input") if f["type"] != "hidden")]
    assert {field["id"] for field in fields} == labelled
    for field in fields:
        assert set((field["aria-describedby"] or "").split()) <= ids
    assert page.attributes("html")[0]["lang"] == "en"
    assert len(page.attributes("h1")) == 1


LIE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> [click](http://evil.example) `# h` **b** &amp; <b>"


def test_nothing_from_the_machine_comes_alive(server: PageServer, browser: Browser, book: SqliteApprovalBook) -> None:
    plans = [
        a_teardown(losses=(Loss(path=LIE, size=1, reason=LIE),), job=LIE, label=LIE, writers=(LIE,), volumes=(LIE,)),
        a_rent(gpu=LIE).model_copy(update={"over": LIE}),
    ]
    for plan in plans:
        asked = book.request(plan, ttl_s=900)
        browser.open(server.link(asked.id))
        page = Tags(browser.page)
        assert not {"script", "img", "b", "iframe"} & {tag for tag, _ in page.tags}
        assert [link["href"] for link in page.attributes("a")] == ["#decision"]
        assert any("<script>alert(1)</script>" in words for words in page.words)


def test_a_yes_that_is_given_beforehand_shows_no_token(
    server: PageServer, browser: Browser, book: SqliteApprovalBook
) -> None:
    asked = book.request(a_standing(), ttl_s=900)
    browser.open(server.link(asked.id))
    assert "Agree beforehand to destroy" in browser.page
    page = browser.answer(asked.id, decision="agree", typed=asked.plan.name)
    assert "Agreed beforehand" in page.text and f"rgt decline {asked.id}" in page.text
    assert not TOKEN.search(page.text)
    known = book.get(asked.id)
    assert known is not None and known.state is ApprovalState.APPROVED


def test_an_expired_question_is_not_answered(
    server: PageServer, browser: Browser, book: SqliteApprovalBook, asked: ApprovalRequest, clock: HandClock
) -> None:
    browser.open(server.link(asked.id))
    form = browser.form()
    clock.pass_by(900)
    page = browser.client.post(
        f"/{asked.id}/answer",
        data={"form": form, "decision": "agree", "typed": LEASE},
        headers={"origin": browser.origin},
    )
    assert page.status_code == 409 and "is expired" in page.text and not TOKEN.findall(page.text)


def test_of_many_clicks_at_once_one_counts(
    server: PageServer, browser: Browser, book: SqliteApprovalBook, asked: ApprovalRequest
) -> None:
    browser.open(server.link(asked.id))
    fields = {"form": browser.form(), "decision": "agree", "typed": LEASE}
    pages: list[httpx.Response] = []

    def click() -> None:
        pages.append(browser.client.post(f"/{asked.id}/answer", data=fields, headers={"origin": browser.origin}))

    clicks = [threading.Thread(target=click) for _ in range(6)]
    for one in clicks:
        one.start()
    for one in clicks:
        one.join(timeout=20)
    assert len(pages) == len(clicks)
    assert sum(len(TOKEN.findall(page.text)) for page in pages) == 1
    assert sorted(page.status_code for page in pages)[0] == 200
    assert all(page.status_code in (403, 409) for page in pages if not TOKEN.findall(page.text))


def test_serving_ends_with_the_answer(book: SqliteApprovalBook, asked: ApprovalRequest) -> None:
    seen: list[str] = []

    def person(link: str) -> None:
        def act() -> None:
            with httpx.Client(verify=NO_TLS, trust_env=False, timeout=10, follow_redirects=True) as client:
                page = client.get(link).text
                form = Tags(page).attributes("input")[0]["value"] or ""
                origin = link.split(f"/{asked.id}")[0]
                sent = {"form": form, "decision": "refuse", "reason": "not today"}
                seen.append(client.post(f"{origin}/{asked.id}/answer", data=sent, headers={"origin": origin}).text)

        threads.append(threading.Thread(target=act))
        threads[0].start()

    threads: list[threading.Thread] = []
    assert serve_page(book, asked.id, announce=person) == Answer(agreed=False, reason="not today")
    threads[0].join(timeout=20)
    assert "Refused" in seen[0]


def test_serving_ends_when_the_question_ends_elsewhere(book: SqliteApprovalBook, asked: ApprovalRequest) -> None:
    answer = serve_page(
        book, asked.id, announce=lambda _: book.decline(asked.id, channel=Channel.TERMINAL, reason="no")
    )
    assert not answer.agreed and "without an answer on the page" in answer.reason


def test_a_port_that_is_taken_is_said(server: PageServer, book: SqliteApprovalBook) -> None:
    with pytest.raises(ConfigError, match=f"port {server.port}"):
        PageServer(book, port=server.port)
