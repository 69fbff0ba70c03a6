"""The process that loads strangers' files. Each arrives as an open descriptor over the socket given by number.

A request is one JSON object in one message, with the descriptor; an answer is one JSON line, of which the parent
believes nothing.
"""

import json
import os
import socket
import sys

from remote_gpu_trainer.verify import confine
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.registry import BY_NAME
from remote_gpu_trainer.verify.source import Source

LIBRARIES = {"numpy", "PIL", "pyarrow"}
NAMES_MOST, TEXT_MOST = 50_000, 500


def examine(fd: int, name: str) -> Outcome:
    """Load one file; every failure of the file is a finding."""
    outcome = Outcome(loaded=False)
    try:
        return BY_NAME[name].function()(Source(fd))
    except BrokenArtifact as broken:
        outcome.error(broken.code, str(broken))
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            outcome.error("unreadable", f"ModuleNotFoundError: {str(error)[:200]}")
        else:  # nothing is wrong with the file
            outcome.note("no-loader", f"its loader needs {error.name}, which is not installed here")
    except MemoryError:
        outcome.error("memory-limit", "it needs more memory than a loader is given")
    except confine.Forbidden as forbidden:
        outcome.error("forbidden-action", f"loading it tried what no loader may: {forbidden}")
    except Exception as error:  # whatever a library raises on a stranger's bytes is a finding on that file, not an end
        outcome.error("unreadable", f"{type(error).__name__}: {str(error)[:200]}")
    return outcome


def answer_of(outcome: Outcome) -> bytes:
    """The answer line, within what the parent takes: letters that are letters, texts and numbers of a bounded size."""
    facts = {key: _text(value) if isinstance(value, str) else value for key, value in outcome.facts.items()}
    return json.dumps(
        {
            "loaded": outcome.loaded,
            "findings": [[code, weight, _text(text)] for code, weight, text in outcome.findings[:100]],
            "facts": {key: value for key, value in facts.items() if not isinstance(value, int) or abs(value) < 2**63},
            "names": [_text(name) for name in outcome.names[:NAMES_MOST]],
            "shards": outcome.shards,
            "numbers": {_text(key): repr(number) for key, number in outcome.numbers.items()},
        }
    ).encode()


def _text(text: str) -> str:
    return text[:TEXT_MOST].encode("utf-8", "replace").decode()


def serve(channel: socket.socket) -> None:
    """Answer until the parent closes."""
    while True:
        message, fds, _, _ = socket.recv_fds(channel, 4096, 1)
        if not message or not fds:
            return
        request = json.loads(message)
        confine.limit_file(
            memory_bytes=request["memory_bytes"],
            library_bytes=request["library_bytes"],
            cpu_seconds=request["cpu_seconds"],
        )
        try:
            answer = answer_of(examine(fds[0], request["format"]))
        finally:
            os.close(fds[0])
        channel.sendall(answer + b"\n")


def main() -> None:
    """Give everything up, then serve."""
    confine.leave_network()
    confine.limit_process()
    channel = socket.socket(fileno=int(sys.argv[1]))
    confine.forbid_actions()
    serve(channel)


if __name__ == "__main__":
    main()
