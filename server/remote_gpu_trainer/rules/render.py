"""A rule as its section of the profile: the same text for the page, the resource and the reader of code."""

from remote_gpu_trainer.rules.base import Rule, Severity

_EFFECT = {
    Severity.BLOCK: "refuses",
    Severity.ACKNOWLEDGE: "asks for acknowledgement",
    Severity.WARN: "warns",
}


def section(rule: Rule) -> str:
    """Markdown of one rule under a level-three heading whose anchor is ``rule.anchor``."""
    if rule.checks:
        acts = f"usually {_EFFECT[rule.severity]}; looks at {', '.join(rule.stages)}"
        acts += "" if rule.waivable else "; cannot be waived"
    else:
        acts = f"advice only: {rule.unchecked}"
    return "\n".join(
        (
            f"### {rule.id} {rule.name}",
            "",
            f"Rule: {acts}.",
            "",
            f"- **What:** {rule.symptom}",
            f"- **Why:** {rule.cause}",
            f"- **Example:** {rule.example}",
            f"- **Fix:** {_sentence(rule.fix)}",
            f"- **Passes when:** {_sentence(rule.unless)}",
            f"- **Source:** {_sentence(rule.source)}",
            "",
        )
    )


def _sentence(text: str) -> str:
    upper = text[0].upper() + text[1:] if text[:1].islower() and not _is_name(text) else text
    return upper if upper.endswith((".", "!", "?")) else f"{upper}."


def _is_name(text: str) -> bool:
    first = text.split(maxsplit=1)[0]
    return "_" in first or "." in first or first in ("hf", "du", "df", "free", "nvidia-smi")
