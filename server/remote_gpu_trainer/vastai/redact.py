"""Text from outside, made fit to be quoted: without our key, without control characters, short, and fenced."""

import re
from collections.abc import Iterable

_KEYLIKE = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{40,}(?![0-9A-Za-z])")
"""API keys and instance keys of the platform are long lower-case hex (64 digits, seen live 2026)."""
HIDDEN = "[hidden]"


class Redactor:
    """Hides given secrets, and whatever looks like a key of the platform."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True))

    def __repr__(self) -> str:
        """Says how many secrets it knows, never which."""
        return f"Redactor({len(self._secrets)} secrets)"

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _KEYLIKE.sub(HIDDEN, text)

    def quote(self, text: str, *, most: int = 300) -> str:
        """One printable line of at most ``most`` characters between double quotes; the text is untrusted."""
        line = " ".join(self.clean(text).split())
        line = "".join(c if c.isprintable() else "?" for c in line).replace('"', "'")
        return f'"{line if len(line) <= most else line[: most - 1] + "…"}"'
