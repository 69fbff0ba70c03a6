"""How fast a connection brings bytes, as far as the line decides it."""

WINDOW_S = 0.25
WAITED = 0.5
"""Share of the time that is spent on waiting where the line is what holds the bytes back, and not this computer."""


class Pace:
    """The rate of one connection, over and over. Told of each piece, with times in seconds of one clock."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._idle_since = self._waited = 0.0
        self._bytes = 0

    def came(self, size: int, now: float) -> float | None:
        """Note a piece at its arrival.

        Returns:
            Every quarter of a second the bytes for each second of it, infinite where it was not the line that was
            waited for; else None.
        """
        if self._began is None:
            return None  # how long the first piece took says more about the start of a command
        self._bytes += size
        self._waited += now - self._idle_since
        took = now - self._began
        if took < WINDOW_S:
            return None
        self._began = None
        return self._bytes / took if self._waited >= WAITED * took else float("inf")

    def done(self, now: float) -> None:
        """Note that a piece was dealt with, and that the next one is waited for."""
        self._idle_since = now
        if self._began is None:
            self._began, self._bytes, self._waited = now, 0, 0.0
