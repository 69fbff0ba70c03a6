"""What the live platform does beside its documentation (seen by others, 2026): switches, on by default."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quirk:
    """One oddity: ``name`` is the switch, ``what`` says what it does while it is on."""

    name: str
    what: str
    default: bool = True


ALL = (
    Quirk(
        "refused-create-bills",
        "A create refused for its low bid still carries new_contract: a stopped instance that bills its disk.",
    ),
    Quirk("reads-lag", "A new instance is missing from reads for 1.5 s after its create."),
    Quirk("missing-is-null", "Show of a missing instance answers 200 with instances null; off: 404."),
    Quirk("bad-key-404", "A wrong or revoked key answers 404 auth_error; off: 401."),
    Quirk("stop-is-exited", "A clean stop shows actual_status exited and keeps its message; off: stopped."),
    Quirk("v0-list-retired", "GET /api/v0/instances/ answers 410 deprecated_endpoint; off: the list."),
    Quirk("reappears", "A destroyed instance shows up once more, for 3 s, 4 s after its delete."),
    Quirk("shared-limit", "5 requests in 10 s over all endpoints, then 429 with retry_after and x-ratelimit headers."),
    Quirk("plain-429", "Endpoint limits answer 429 in plain text; off: JSON with detail."),
    Quirk("jupyter-port-off-by-one", "ssh_port is one below the proxy's where the runtype holds jupyter."),
    Quirk("ports-late", "ports stays null for 2 s after an instance runs."),
    Quirk("command-stopped-only", "The constrained command (ls, rm, du) is refused on a running instance."),
    Quirk("create-leaks-key", "The create answer holds instance_api_key."),
    Quirk("late-keys-ignored", "A key posted to the account does not reach instances that exist; off: it does."),
    Quirk(
        "silent-unavailable",
        "Without cancel_unavail an unavailable offer becomes a stopped instance that bills; off: 410.",
    ),
    Quirk("expired-deleted", "Instances past their end date are deleted after 48 hours."),
    Quirk(
        "stopped-copy-fails",
        "The machine-level rsync of a stopped instance fails with Unknown module, as some report.",
        default=False,
    ),
    Quirk("lively-market", "Strangers rent, bid and leave; hosts drop off the network and mostly return."),
)
NAMES = frozenset(quirk.name for quirk in ALL)


class Quirks:
    """The switches. ``state`` maps every name to on or off."""

    def __init__(self, state: dict[str, bool] | None = None) -> None:
        self.state = {quirk.name: quirk.default for quirk in ALL} | (state or {})

    def on(self, name: str) -> bool:
        """Whether a quirk is on. Raises KeyError for a name that is none."""
        return self.state[name]

    def switch(self, name: str, on: bool) -> None:
        """Turn one on or off. Raises KeyError for a name that is none."""
        if name not in NAMES:
            raise KeyError(name)
        self.state[name] = on
