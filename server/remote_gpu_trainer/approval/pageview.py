"""The page as HTML: the same dossier as everywhere, made easy to read, and forms that work without any script."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token
from markupsafe import Markup

from remote_gpu_trainer.approval.dossier import levels_of, per_hour, render, when
from remote_gpu_trainer.approval.pagecurve import curve_of
from remote_gpu_trainer.approval.pagedrawing import HEIGHT, WIDTH, drawing_of
from remote_gpu_trainer.approval.pagetree import tree_of
from remote_gpu_trainer.approval.refusal import effect_of
from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.domain.approvals import ApprovalRequest, AssuranceLevel
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.plans import MachineState, TeardownPlan
from remote_gpu_trainer.domain.units import show_bytes, show_usd

_SHOWN_BETTER = ("What will be lost", "What is saved")
"""Sections whose lists are also drawn as rows and as a tree."""

_VERBS = {"destroy": "Destroy", "rent": "Rent", "preapprove": "Agree beforehand to destroy"}


@dataclass(frozen=True)
class Section:
    """One part of the dossier."""

    title: str
    html: Markup
    folded: Markup
    """Lists that the page shows in a better form of its own, word for word, to be opened."""


def question_page(
    request: ApprovalRequest,
    *,
    form: str,
    nonce: str,
    level: AssuranceLevel = AssuranceLevel.PERSON,
    passkey: str | None = None,
    problem: str | None = None,
) -> str:
    """The dossier and the two forms.

    Args:
        request: What is asked.
        form: The secret that an answer has to bring along.
        nonce: For the one style sheet, and for the one script where a passkey is asked for.
        level: What a yes needs; below ``hardware`` and above ``person`` the page only takes a no.
        passkey: What the browser asks the passkey for, as JSON; None where none is registered or needed.
        problem: Why the last try was no yes.
    """
    plan = request.plan
    head, sections = _sections(render(plan))
    saved = plan if isinstance(plan, TeardownPlan) else None
    curve = None if saved is None else curve_of(saved.evidence)
    return _template("question.html").render(
        nonce=nonce,
        head=head,
        sections=sections,
        plan=saved,
        grave=saved is not None and _grave(saved),
        trees=[] if saved is None else [(one, tree_of(one.files), levels_of(one)) for one in saved.evidence],
        losses=[] if saved is None else sorted(saved.losses, key=lambda loss: -loss.size),
        loads=VerificationLevel.LOADS,
        saved_bytes=0 if saved is None else sum(file.size for one in saved.evidence for file in one.files),
        saved_files=0 if saved is None else sum(len(one.files) for one in saved.evidence),
        curve=curve,
        drawing=drawing_of(curve) if curve is not None and curve.lines else None,
        width=WIDTH,
        height=HEIGHT,
        verb=_VERBS[plan.action],
        name=visible(plan.name),
        approval=request.id,
        form=form,
        level=level.value,
        passkey=passkey,
        problem=problem,
        effect=effect_of(plan.action),
        expires=when(request.expires_at),
        expires_iso=request.expires_at.isoformat(),
    )


def token_page(request: ApprovalRequest, token: str, *, nonce: str) -> str:
    """The one page that ever shows a token. A yes that was given beforehand is used by the server and shows none."""
    if request.plan.action == "preapprove":
        until = f"It holds until {when(request.expires_at)}, for one use. To take it back: rgt decline {request.id}"
        return message_page(f"Agreed beforehand, for {visible(request.plan.name)}", until, nonce=nonce)
    return _template("answer.html").render(
        nonce=nonce,
        heading=f"Approved: {_VERBS[request.plan.action].lower()} {visible(request.plan.name)}",
        text="Nothing has happened yet: the token lets the agent act once, after one more look.",
        token=token,
        approval=request.id,
        expires=when(request.expires_at),
        expires_iso=request.expires_at.isoformat(),
    )


def message_page(heading: str, text: str, *, nonce: str) -> str:
    """A page that only says something."""
    return _template("answer.html").render(nonce=nonce, heading=heading, text=text, token=None)


def enrol_page(*, form: str, nonce: str, options: str, registered: Sequence[str], problem: str | None = None) -> str:
    """The page that registers a passkey.

    Args:
        form: The secret that the answer has to bring along.
        nonce: For the style sheet and the script.
        options: What the browser asks the authenticator for, as JSON.
        registered: The names of those that are registered already.
        problem: Why the last try registered nothing.
    """
    return _template("enrol.html").render(
        nonce=nonce, form=form, options=options, registered=[visible(one) for one in registered], problem=problem
    )


def document_page(heading: str, document: str) -> str:
    """One of our Markdown documents as a page of its own, for keeping."""
    html = Markup(_markdown().render(document))  # noqa: S704  # HTML, links and images are off
    return _template("document.html").render(nonce="", heading=visible(heading), document=html)


def _grave(plan: TeardownPlan) -> bool:
    return (
        bool(plan.losses)
        or not plan.losses_complete
        or not plan.evidence
        or plan.machine_state is MachineState.UNREADABLE
    )


def _sections(document: str) -> tuple[Markup, list[Section]]:
    # By its tokens and never by its text: a line from the machine may begin as a heading does.
    markdown = _markdown()
    parts: list[tuple[str, list[Token]]] = [("", [])]
    tokens = markdown.parse(document)
    for number, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            parts.append((tokens[number + 1].content, []))
        parts[-1][1].append(token)
    made: list[Section] = []
    for title, part in parts:
        env: dict[str, list[str]] = {"folded": []} if title.startswith(_SHOWN_BETTER) else {}
        html = markdown.renderer.render(part[3 if title else 0 :], markdown.options, env)
        made.append(Section(title, Markup(html), Markup("".join(env.get("folded", [])))))  # noqa: S704  # as in document_page
    return made[0].html, made[1:]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(visible=visible, size=show_bytes, usd=show_usd, per_hour=per_hour, when=when)
    return environment


def _template(name: str):
    return _environment().get_template(name)


@cache
def _markdown() -> MarkdownIt:
    # Only what the dossier uses. Links, images, entities and HTML stay text, wherever they come from.
    markdown = MarkdownIt("zero").enable(["fence", "heading", "list", "emphasis"])
    markdown.add_render_rule("fence", _fence)
    return markdown


def _fence(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    source = escapeHtml(token.info.removeprefix("text "))
    content = f"<pre>{escapeHtml(token.content)}</pre>"
    if "folded" in env:
        env["folded"].append(f"<details><summary>The same as text ({source})</summary>{content}</details>\n")
        return ""
    return f"<figure><figcaption>{source}</figcaption>{content}</figure>\n"
