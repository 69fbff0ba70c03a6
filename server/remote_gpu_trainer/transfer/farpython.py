"""The machine's own Python, which runs what is sent there."""

USR = "/usr"
IN_PATH = (
    'p=$(command -v python3 || command -v python) || { echo no python on this machine >&2; exit 127; }; exec "$p" "$@"'
)
"""A line of shell that runs the Python of the environment, as a job would get it, with the arguments that it gets."""


def find(usr: str = USR) -> str:
    """A line of shell that runs Python with the arguments that it gets.

    The system's own comes first, where its name says that it is new enough, and its library is all there: Debian's
    ``python3-minimal`` has neither ``json`` nor ``concurrent``. In front of it in PATH may stand a shell script that
    looks for the right one for a tenth of a second, or an environment that a job is just changing. It is passed over
    where the environment was set up for another one.
    """
    return (
        f'if [ -z "$PYTHONPATH$PYTHONHOME" ]; then for p in {usr}/bin/python3.[1-9][0-9] {usr}/bin/python3.[89]; do '
        f'[ -x "$p" ] && [ -d "{usr}/lib/${{p##*/}}/concurrent" ] && exec "$p" -I -S "$@"; done; fi; ' + IN_PATH
    )


def python(*arguments: str) -> list[str]:
    """A command that runs the machine's Python, by whichever name it goes."""
    return ["sh", "-c", find(), "sh", *arguments]
