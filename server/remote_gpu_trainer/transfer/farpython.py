"""The machine's own Python, which runs what is sent there."""

FIND = (
    'if [ -z "$PYTHONPATH$PYTHONHOME" ]; then for p in /usr/bin/python3.[1-9][0-9] /usr/bin/python3.[89]; do '
    '[ -x "$p" ] && exec "$p" -I -S "$@"; done; fi; '
    'p=$(command -v python3 || command -v python) || { echo no python on this machine >&2; exit 127; }; exec "$p" "$@"'
)
"""The system's own first, where its name says that it is new enough: in front of it in PATH may stand a shell script
that looks for the right one for a tenth of a second, or an environment that a job is just changing. Not where the
environment was set up for another one."""


def python(*arguments: str) -> list[str]:
    """A command that runs the machine's Python, by whichever name it goes."""
    return ["sh", "-c", FIND, "sh", *arguments]
