"""The page as HTML: the same dossier as everywhere, and two forms that work without any script."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token
from markupsafe import Markup

from remote_gpu_trainer.approval.dossier import render, when
from remote_gpu_trainer.approval.refusal import effect_of
from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.domain.approvals import ApprovalRequest

_VERBS = {"destroy": "Destroy", "rent": "Rent"}


def question_page(request: ApprovalRequest, *, form: str, nonce: str, problem: str | None = None) -> str:
    """The dossier and the two forms.

    Args:
        request: What is asked.
        form: The secret that an answer has to bring along.
        nonce: For the one style sheet.
        problem: Why the last try was no yes.
    """
    return _template("question.html").render(
        nonce=nonce,
        dossier=Markup(_markdown().render(render(request.plan))),  # noqa: S704  # HTML, links and images are off
        verb=_VERBS[request.plan.action],
        name=visible(request.plan.name),
        approval=request.id,
        form=form,
        problem=problem,
        effect=effect_of(request.plan.action),
        expires=when(request.expires_at),
        expires_iso=request.expires_at.isoformat(),
    )


def token_page(request: ApprovalRequest, token: str, *, nonce: str) -> str:
    """The one page that ever shows a token."""
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


def document_page(heading: str, document: str) -> str:
    """One of our Markdown documents as a page of its own, for keeping."""
    html = Markup(_markdown().render(document))  # noqa: S704  # HTML, links and images are off
    return _template("document.html").render(nonce="", heading=visible(heading), document=html)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined
    )


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
    source = token.info.removeprefix("text ")
    caption = f"<figcaption>{escapeHtml(source)}</figcaption>"
    return f"<figure>{caption}<pre>{escapeHtml(token.content)}</pre></figure>\n"
