"""The official ``vastai`` CLI as a client of the emulator, in a home of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.preloaded import Preloaded, Said
from tests.unit.emulator.renter import Renter

PROGRAM = Path(sys.executable).with_name("vastai")
SPEED = 200.0
"""Emulated seconds per real second while commands run."""


class Cli:
    """Runs commands as a person would in a shell."""

    def __init__(self, renter: Renter, home: Path) -> None:
        self.renter, self.home = renter, home
        self._key_file = home / "id_ed25519"
        self.env = {
            "HOME": str(home),
            "TMPDIR": str(home),
            "PATH": os.environ["PATH"],
            "VAST_URL": renter.ready.url,
            "VAST_API_KEY": renter.ready.api_key,
            "VASTAI_NO_UPDATE_CHECK": "1",
            "COLUMNS": "200",
        }

        self.preloaded = Preloaded(("vastai", "vastai.cli.main"), [["--help"]], self.env, home)

    @property
    def key_file(self) -> Path:
        """A private key, made when first asked for."""
        if not self._key_file.exists():
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key_file)]
            subprocess.run(make, check=True)
        return self._key_file

    @property
    def public_key(self) -> str:
        return self.key_file.with_suffix(".pub").read_text().strip()

    def run(self, *words: str, stdin: str = "") -> Said:
        return self.preloaded.run(words, stdin)

    def ok(self, *words: str, stdin: str = "") -> str:
        said = self.run(*words, stdin=stdin)
        assert said.status in (0, 1), said  # 1.9.1 ends some successful commands with sys.exit(True)
        assert "Traceback" not in said.err, said.err
        return said.out

    def raw(self, *words: str) -> Any:
        out = self.ok(*words, "--raw")
        return json.loads(out)

    def logged(self, contract: str | int, word: str) -> str:
        """The newest lines of an instance's log, once ``word`` is in them: what its onstart writes comes as it runs."""
        text = ""
        for _ in range(100):
            if word in (text := self.ok("logs", str(contract), "--tail", "20")):
                return text
        raise AssertionError(f"{word!r} never came into the log: {text}")
