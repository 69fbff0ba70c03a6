"""The person's own doors, tried by somebody else: the page, the passkey, the signature, the commands."""

import json
import os
import secrets
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.pageserver import PageServer
from remote_gpu_trainer.approval.passkey import Passkey, new_challenge, origin_of, register
from remote_gpu_trainer.approval.passkeyfiles import keep_passkey
from remote_gpu_trainer.approval.sshkeys import AllowedSigner, parse_allowed_signers
from remote_gpu_trainer.approval.statement import statement_of
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState, AssuranceLevel
from remote_gpu_trainer.errors import ConsentError
from tests.adversarial.scene import TOKEN, Scene
from tests.stage import environment
from tests.unit.approval.securitykey import SoftKey
from tests.unit.approval.softpasskey import PRESENT, VERIFIED, SoftPasskey
from tests.unit.database.builders import START

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("adversarial")]

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ERA = "2026-07-28"


class Hidden(HTMLParser):
    """The secret of the form."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.secret = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("name") == "form":
            self.secret = given.get("value") or ""


class Stranger:
    """Somebody at the page's port. ``opened`` has what the person's browser has; the rest has not."""

    def __init__(self, server: PageServer, request: ApprovalRequest, name: str) -> None:
        self.server, self.request, self.name = server, request, name
        self.origin = f"http://localhost:{server.port}"
        self.link = server.link(request.id)
        self.client = httpx.Client(verify=NO_TLS, trust_env=False, timeout=10, base_url=self.origin)

    def open(self) -> str:
        return Hidden(self.client.get(self.link, follow_redirects=True).text).secret

    def agree(self, *, form: str, headers: dict[str, str] | None = None, **more: str) -> httpx.Response:
        sent = {"form": form, "decision": "agree", "typed": self.name, **more}
        wanted = {"origin": self.origin} if headers is None else headers
        return self.client.post(f"/{self.request.id}/answer", data=sent, headers=wanted)


def elsewhere(origin: str) -> Callable[[Stranger], httpx.Response]:
    return lambda s: s.agree(form=s.open(), headers={"origin": origin})


def from_host(host: str) -> Callable[[Stranger], httpx.Response]:
    return lambda s: s.agree(form=s.open(), headers={"origin": s.origin, "host": host.format(port=s.server.port)})


def without_opening(s: Stranger) -> httpx.Response:
    return s.agree(form=secrets.token_urlsafe(32))


def with_a_cookie_made_up(s: Stranger) -> httpx.Response:
    s.client.cookies.set("rgt_approval", secrets.token_urlsafe(32))
    return s.agree(form=secrets.token_urlsafe(32))


def with_the_secret_of_another_page(s: Stranger) -> httpx.Response:
    secret = s.open()
    s.client.cookies.clear()
    return s.agree(form=secret)


def after_the_person_opened_it(s: Stranger) -> httpx.Response:
    s.open()
    with httpx.Client(verify=NO_TLS, trust_env=False, timeout=10, base_url=s.origin) as other:
        return other.get(s.link)


def with_a_link_made_up(s: Stranger) -> httpx.Response:
    return s.client.get(f"/{s.request.id}/open/{secrets.token_urlsafe(32)}")


def in_a_frame(s: Stranger) -> httpx.Response:
    return s.client.get(s.link, headers={"sec-fetch-dest": "iframe"})


def by_reading(s: Stranger) -> httpx.Response:
    s.open()
    return s.client.get(f"/{s.request.id}/answer?decision=agree&typed={s.name}")


def as_json(s: Stranger) -> httpx.Response:
    form = s.open()
    body = json.dumps({"form": form, "decision": "agree", "typed": s.name})
    return s.client.post(
        f"/{s.request.id}/answer", content=body, headers={"origin": s.origin, "content-type": "application/json"}
    )


def with_two_answers(s: Stranger) -> httpx.Response:
    form = s.open()
    body = f"form={form}&decision=refuse&decision=agree&typed={s.name}"
    return s.client.post(
        f"/{s.request.id}/answer",
        content=body,
        headers={"origin": s.origin, "content-type": "application/x-www-form-urlencoded"},
    )


def with_a_look_alike(s: Stranger) -> httpx.Response:
    return s.agree(form=s.open(), typed=s.name.replace("a", "\u0430", 1))


PAGE: dict[str, tuple[Callable[[Stranger], httpx.Response], str]] = {
    "from another origin": (elsewhere("http://evil.example"), "does not come from the page itself"),
    "from another port of this computer": (elsewhere("http://localhost:1"), "does not come from the page itself"),
    "from a file": (elsewhere("null"), "does not come from the page itself"),
    "from nowhere": (lambda s: s.agree(form=s.open(), headers={}), "does not come from the page itself"),
    "by a name that was rebound": (from_host("evil.example:{port}"), "This page is only at http://localhost:"),
    "by address": (from_host("127.0.0.1:{port}"), "This page is only at http://localhost:"),
    "without opening the link": (without_opening, "did not open the link"),
    "with a cookie made up": (with_a_cookie_made_up, "did not open the link"),
    "with the secret and without the cookie": (with_the_secret_of_another_page, "did not open the link"),
    "with the cookie and without the secret": (lambda s: (s.open(), s.agree(form=""))[1], "not come from the page"),
    "with the link a second time": (after_the_person_opened_it, "was opened already"),
    "with a link made up": (with_a_link_made_up, "no link to an approval"),
    "in a frame": (in_a_frame, "not shown inside another one"),
    "by reading an address": (by_reading, "Nothing was decided"),
    "as JSON": (as_json, "not the form of this page"),
    "with a yes and a no": (with_two_answers, "stands twice"),
    "with a look-alike of the name": (with_a_look_alike, "holds characters outside ASCII"),
}


@pytest.fixture(scope="module")
def book(scene: Scene) -> Iterator[SqliteApprovalBook]:
    with SqliteApprovalBook(scene.journal, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(book: SqliteApprovalBook) -> Iterator[PageServer]:
    with PageServer(book) as running:
        yield running


@pytest.fixture(scope="module")
async def asked(scene: Scene) -> ApprovalRequest:
    """One question for all: whatever is tried, it stays open."""
    async with scene.door(ERA) as door:
        return await door.ask()


def is_open(book: SqliteApprovalBook, request: ApprovalRequest) -> bool:
    known = book.get(request.id)
    return known is not None and known.state is ApprovalState.OPEN


@pytest.mark.parametrize("name", PAGE)
def test_the_page_says_no_to_an_answer(
    scene: Scene, book: SqliteApprovalBook, server: PageServer, asked: ApprovalRequest, name: str
) -> None:
    attempt, reason = PAGE[name]
    stranger = Stranger(server, asked, scene.run)
    with stranger.client:
        answer = attempt(stranger)

    assert answer.status_code >= 400 and reason in answer.text, answer.text
    assert not TOKEN.search(answer.text)
    assert is_open(book, asked) and scene.there()


PORT = 40_404
SOFT = SoftPasskey()
ASSERTIONS: dict[str, tuple[Callable[[ApprovalRequest], str], str]] = {
    "with another challenge": (lambda r: SOFT.assertion(b"x" * 32, origin_of(PORT)), "challenge"),
    "from another origin": (lambda r: SOFT.assertion(SOFT.challenge(r), "http://localhost:1"), "origin"),
    "for another relying party": (
        lambda r: SOFT.assertion(SOFT.challenge(r), origin_of(PORT), rp_id="evil.example"),
        "RP ID",
    ),
    "without verification": (
        lambda r: SOFT.assertion(SOFT.challenge(r), origin_of(PORT), flags=PRESENT),
        "not verified",
    ),
    "without presence": (lambda r: SOFT.assertion(SOFT.challenge(r), origin_of(PORT), flags=VERIFIED), "not present"),
    "from a copied authenticator": (
        lambda r: SOFT.assertion(SOFT.challenge(r), origin_of(PORT), counter=1),
        "sign count",
    ),
    "signed by another key": (lambda r: SOFT.assertion(SOFT.challenge(r), origin_of(PORT), forged=True), "signature"),
    "never registered": (
        lambda r: SoftPasskey(b"a-passkey-of-mine").assertion(SOFT.challenge(r), origin_of(PORT)),
        "not of a passkey that is registered",
    ),
    "with a key twice": (
        lambda r: SOFT.assertion(SOFT.challenge(r), origin_of(PORT)).replace("{", '{"type": "x", ', 1),
        "stands in it twice",
    ),
}


@pytest.fixture(scope="module")
def passkey() -> Passkey:
    challenge = new_challenge()
    answer = SOFT.registration(challenge, origin_of(PORT))
    return register(answer, challenge=challenge, port=PORT, label="mine", at=START)


@pytest.mark.parametrize("name", ASSERTIONS)
def test_a_passkeys_answer_is_refused(
    scene: Scene, book: SqliteApprovalBook, asked: ApprovalRequest, passkey: Passkey, name: str
) -> None:
    make, reason = ASSERTIONS[name]

    with pytest.raises(ConsentError, match=reason) as refused:
        book.approve_passkey(asked.id, make(asked), known=(passkey,), port=PORT)

    assert refused.value.effect == "Nothing was approved."
    assert is_open(book, asked) and scene.there()


def test_the_name_alone_is_no_yes_where_the_policy_wants_a_passkey(
    scene: Scene, book: SqliteApprovalBook, asked: ApprovalRequest, passkey: Passkey, tmp_path: Path
) -> None:
    keep_passkey(tmp_path / "passkeys", passkey)
    with PageServer(book, level_of=lambda plan: AssuranceLevel.HARDWARE, passkeys=tmp_path / "passkeys") as server:
        stranger = Stranger(server, asked, scene.run)
        with stranger.client:
            answer = stranger.agree(form=stranger.open())

    assert answer.status_code == 422 and "the passkey&#39;s answer is not accepted" in answer.text
    assert is_open(book, asked) and scene.there()


@pytest.mark.parametrize("level", [AssuranceLevel.SEALED, AssuranceLevel.CONSOLE])
def test_the_page_takes_no_yes_where_the_policy_wants_it_elsewhere(
    scene: Scene, book: SqliteApprovalBook, asked: ApprovalRequest, level: AssuranceLevel
) -> None:
    with PageServer(book, level_of=lambda plan: level) as server:
        stranger = Stranger(server, asked, scene.run)
        with stranger.client:
            answer = stranger.agree(form=stranger.open())

    assert answer.status_code == 403 and "this page takes only a no" in answer.text
    assert is_open(book, asked) and scene.there()


KEY = SoftKey()
SIGNED: dict[str, tuple[Callable[[bytes], str], str]] = {
    "in another namespace": (lambda s: KEY.sign(s, namespace="git"), "namespace"),
    "in no namespace": (lambda s: KEY.sign(s, namespace=""), "namespace"),
    "with flags 0x00": (lambda s: KEY.sign(s, flags=0), "touch"),
    "with presence and no verification": (lambda s: KEY.sign(s, flags=1), "not unlocked by PIN or finger"),
    "with verification and no presence": (lambda s: KEY.sign(s, flags=4), "touch"),
    "with flags that only claim it": (lambda s: KEY.sign(s, flags=0, claimed_flags=5), "signature"),
    "over another statement": (lambda s: KEY.sign(s.replace(b"destroy", b"release")), "signature"),
    "by a key that was never pinned": (lambda s: SoftKey().sign(s), "not among"),
    "cut short": (lambda s: KEY.sign(s)[:200], "is not accepted"),
    "with something behind it": (lambda s: KEY.sign(s, trailing=b"x"), "is not accepted"),
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_signature_is_refused(scene: Scene, book: SqliteApprovalBook, asked: ApprovalRequest, name: str) -> None:
    sign, reason = SIGNED[name]

    told = refusal_of(
        book, asked, sign(statement_of(asked, parse_allowed_signers(KEY.line))), parse_allowed_signers(KEY.line)
    )

    assert reason in told, told
    assert is_open(book, asked) and scene.there()


def test_a_signature_of_a_signer_who_was_removed_is_refused(
    scene: Scene, book: SqliteApprovalBook, asked: ApprovalRequest
) -> None:
    told = refusal_of(
        book,
        asked,
        KEY.sign(statement_of(asked, parse_allowed_signers(KEY.line))),
        parse_allowed_signers(f"# {KEY.line}"),
    )

    assert "not among" in told or "no signer" in told, told
    assert is_open(book, asked) and scene.there()


def refusal_of(
    book: SqliteApprovalBook, request: ApprovalRequest, armored: str, signers: tuple[AllowedSigner, ...]
) -> str:
    with pytest.raises(ConsentError) as refused:
        book.approve_signed(request.id, armored, signers=signers)
    return str(refused.value)


COMMANDS: dict[str, tuple[list[str], str]] = {
    "approve with the name on a pipe": (["approve", "{id}"], "no controlling terminal"),
    "approve on a page without a terminal": (["approve", "{id}", "--web"], "no controlling terminal"),
    "approve with what is for registering": (
        ["approve", "{id}", "--by-hand"],
        "go with --enroll. Nothing was",
    ),
    "approve with the answer as an argument": (["approve", "{id}", "{name}"], "unexpected extra argument"),
    "approve with a flag of yes": (["approve", "{id}", "--yes"], "No such option"),
    "a command that destroys": (["destroy", "{name}"], "No such command"),
    "a command that mints": (["mint", "{id}"], "No such command"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_shell_without_a_terminal_approves_nothing(
    scene: Scene, book: SqliteApprovalBook, asked: ApprovalRequest, name: str
) -> None:
    words, reason = COMMANDS[name]

    said = refused_without_a_terminal(scene, [word.format(id=asked.id, name=scene.run) for word in words])

    assert reason in said, said
    assert is_open(book, asked) and scene.there()


NOWHERE = "no controlling terminal"
ENROLMENTS: dict[str, tuple[list[str], str]] = {
    "without a factor": ([], NOWHERE),
    "a passkey": (["passkey"], NOWHERE),
    "a sealed key": (["sealed"], NOWHERE),
    "a security key": (["security-key", "--key", "/dev/null"], NOWHERE),
    "a security key that is not named": (["security-key"], NOWHERE),
    "what is no factor": (["a-nod"], "is no factor"),
    "another's option": (["passkey", "--by-hand"], "--by-hand belongs to sealed"),
    "another's name": (["sealed", "--name", "ada"], "--key and --name belong to security-key"),
}


@pytest.mark.parametrize("name", ENROLMENTS)
def test_a_shell_without_a_terminal_registers_nothing(scene: Scene, name: str) -> None:
    words, reason = ENROLMENTS[name]
    home = scene.folder / "home" / "rgt"
    before = {file.name for file in home.iterdir()}

    said = refused_without_a_terminal(scene, ["approve", "--enroll", *words])

    assert reason in said and "Nothing was registered." in said and "approved" not in said, said
    assert {file.name for file in home.iterdir()} == before and scene.there()


def refused_without_a_terminal(scene: Scene, words: list[str]) -> str:
    """Run ``rgt`` as an agent's shell tool does: everything that it said."""
    env = {**environment(scene.folder, scene.market), "PATH": os.environ["PATH"], "RGT_APPROVE": "yes", "CI": "1"}
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "remote_gpu_trainer",
            *words,
        ],
        input=f"{scene.run}\n" * 5,
        capture_output=True,
        text=True,
        env=env,
        timeout=50,
        start_new_session=True,
        check=False,
    )

    said = " ".join((ended.stdout + ended.stderr).split())
    assert ended.returncode != 0, said
    assert not TOKEN.search(said) and "http://localhost" not in said
    return said
