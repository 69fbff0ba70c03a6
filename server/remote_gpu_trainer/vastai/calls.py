"""What one call is: where it goes, how often it may be sent, and what did not happen when it is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue


class Repeat(StrEnum):
    """Whether a call may be sent again after a failure."""

    READ = "read"
    """Changes nothing: a lost answer is only an unreachable platform."""
    IDEMPOTENT = "idempotent"
    """A write whose repetition changes nothing more: state and label."""
    ONCE = "once"
    """Rents, destroys, pays or copies: sent once, and a doubtful answer is an AnswerLost."""


class About(StrEnum):
    """What an id in the path names, so that "not found" can be read."""

    NOTHING = "nothing"
    OFFER = "offer"
    INSTANCE = "instance"


@dataclass(frozen=True)
class Call:
    """One request to the platform.

    ``family`` names the endpoint whose least interval is kept; ``name`` and ``not_done`` are words for the reader of an
    error: "destroying instance 7" and "The instance was not destroyed."
    """

    name: str
    method: str
    path: str
    family: str
    repeat: Repeat
    not_done: str
    about: About = About.NOTHING
    body: Mapping[str, JsonValue] | None = field(default=None, repr=False)
    """Kept out of the repr: an order holds secrets in its env."""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float = 60.0
    """For the whole exchange, however slowly it drips."""
