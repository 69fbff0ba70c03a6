"""One-time links: who opened one first, and whether an answer comes from that browser and that page."""

import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

_COOKIE = "rgt_approval"
_MAX_FORM = 32_768


@dataclass
class Visit:
    """One link that was handed out, and the browser that opened it first."""

    once: str
    session: str | None = None
    form: str = ""
    tries: int = 0


class Visits:
    """The links of one server, one for each place.

    Args:
        port: Where the server listens, as ``localhost:port``.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._visits: dict[str, Visit] = {}

    def link(self, place: str) -> str:
        """A fresh address, good for one browser. An older one for the same place ends."""
        visit = Visit(once=secrets.token_urlsafe(32))
        self._visits[place] = visit
        return f"http://localhost:{self._port}/{place}/open/{visit.once}"

    def end(self, place: str) -> None:
        """Let nobody in any more."""
        self._visits.pop(place, None)

    def open(self, place: str, once: str) -> Response:
        """Let the first browser in.

        Raises:
            HTTPException: there is no such link, or it was opened already.
        """
        visit = self._visits.get(place)
        if visit is None or not hmac.compare_digest(visit.once.encode(), once.encode()):
            raise HTTPException(404, "This is no link to an approval.")
        if visit.session is not None:
            raise HTTPException(403, "This link was opened already, and it opens once. Ask for a new one.")
        visit.session, visit.form = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        response = RedirectResponse(f"/{place}/", status_code=303)
        response.set_cookie(_COOKIE, visit.session, path=f"/{place}/", httponly=True, samesite="lax")
        return response

    def of(self, request: Request, place: str) -> Visit:
        """The visit of the browser that asks.

        Raises:
            HTTPException: it did not open the link.
        """
        visit = self._visits.get(place)
        given = request.cookies.get(_COOKIE, "")
        if visit is None or visit.session is None or not hmac.compare_digest(visit.session.encode(), given.encode()):
            raise HTTPException(403, "This browser did not open the link of this approval.")
        return visit

    async def answer(self, request: Request, place: str) -> tuple[Visit, dict[str, str]]:
        """The visit, and the fields of the form that was shown to it.

        Raises:
            HTTPException: another browser, another page, or not this form.
        """
        visit = self.of(request, place)
        fields = await _fields(request)
        if not hmac.compare_digest(fields.get("form", "").encode(), visit.form.encode()):
            raise HTTPException(403, "This answer does not come from the page that was shown.")
        return visit, fields


async def _fields(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "This is not the form of this page.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM:
            raise HTTPException(413, "This form is too long.")
    try:
        parsed = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=8, errors="strict")
    except ValueError as problem:
        raise HTTPException(400, "This is not the form of this page.") from problem
    if any(len(values) != 1 for values in parsed.values()):
        raise HTTPException(400, "A field stands twice in this form.")
    return {name: values[0] for name, values in parsed.items()}
