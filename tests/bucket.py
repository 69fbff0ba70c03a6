"""A store that speaks S3 over HTTP on loopback, as a person's environment would name it, with faults on request."""

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, cast
from urllib.parse import parse_qs

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

BUCKET = "results"
BLOCK = 1 << 16


@dataclass
class Faults:
    """What goes wrong, and what was asked. Names are those of the API's operations, such as ``UploadPart``."""

    denied: set[str] = field(default_factory=set[str])
    """Operations that this key may not use."""
    cut_after_sent: int | None = None
    """Bytes of parts that still come through; then the network is gone for parts."""
    cut_after_read: int | None = None
    """Bytes of an object's body after which each connection is cut."""
    lists_checksums: bool = True
    """Whether the list of an upload's parts names their sha256, as Amazon's does."""
    before: Callable[[str], None] | None = None
    """Told the name of each operation before it is carried out."""
    before_range: Callable[[str, str], None] | None = None
    """Told the address of an object and the range of it that is about to go out."""
    asked: list[str] = field(default_factory=list[str])
    received: int = 0
    """Bytes of parts that came in."""
    read: int = 0
    """Bytes of objects that went out."""
    ranges: list[str] = field(default_factory=list[str])
    sums: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    lengths: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    uploads: dict[str, str] = field(default_factory=dict[str, str])
    """By the address of an object: the upload that made it."""
    knows_parts: bool = True
    """Whether an object may be asked for by its parts, with the checksum of each, as Amazon's may."""
    lifecycle: str | None = None
    """Rules of the bucket, as Amazon's XML, where moto keeps only some of what a rule may say."""
    spoil: int | None = None
    """Number of a part of which one byte is wrong the next time that it goes out."""
    lock: threading.Condition = field(default_factory=threading.Condition)
    parts_under_way: int = 0

    @contextmanager
    def part_under_way(self) -> Generator[None]:
        """Count one part that is coming in."""
        with self.lock:
            self.parts_under_way += 1
        try:
            yield
        finally:
            with self.lock:
                self.parts_under_way -= 1
                self.lock.notify_all()

    def rest(self) -> None:
        """Wait until nothing comes in any more, after a sender died."""
        with self.lock:
            assert self.lock.wait_for(lambda: not self.parts_under_way, timeout=20)

    def heal(self) -> None:
        """Nothing goes wrong any more, and nothing was asked yet."""
        self.denied.clear()
        self.cut_after_sent = self.cut_after_read = self.before = self.before_range = None
        self.lists_checksums = self.knows_parts = True
        self.spoil = self.lifecycle = None
        self.asked.clear()
        self.ranges.clear()
        self.received = self.read = 0


class Faulty:
    """The store behind its faults."""

    def __init__(self, app: Any, faults: Faults) -> None:
        self._app, self._faults = app, faults

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        faults, operation = self._faults, _operation(environ)
        faults.asked.append(operation)
        number = 0
        if operation == "GetObject":
            number = int(_query(environ).get("partNumber", ["0"])[0]) if faults.knows_parts else 0
            start = self._by_part(environ, number, start) if number else start
            faults.ranges.append(str(environ.get("HTTP_RANGE")))
            if faults.before_range is not None:
                faults.before_range(str(environ["PATH_INFO"]), str(environ.get("HTTP_RANGE")))
        if faults.before is not None:
            faults.before(operation)
        if operation in faults.denied:
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>not allowed</Message></Error>"]
        if faults.lifecycle is not None and operation == "GetBucket" and "lifecycle" in _query(environ):
            start("200 OK", [("Content-Type", "application/xml")])
            return [f"<LifecycleConfiguration>{faults.lifecycle}</LifecycleConfiguration>".encode()]
        if operation == "UploadPart":
            with faults.part_under_way():
                self._take_part(environ)
                return self._into_upload(environ, start)
        if operation == "CompleteMultipartUpload":
            faults.uploads[environ["PATH_INFO"]] = _query(environ)["uploadId"][0]
            return self._into_upload(environ, start)
        if operation == "ListParts" and faults.lists_checksums:
            answer = self._app(environ, _of_any_length(start))
            return self._with_checksums(b"".join(answer), _query(environ)["uploadId"][0])
        if operation == "GetObject":
            return self._given(self._app(environ, start), environ, spoilt=0 < number == faults.spoil)
        answer = self._app(environ, start)
        return cast(Iterable[bytes], answer)

    def _take_part(self, environ: dict[str, Any]) -> None:
        faults, body = self._faults, BytesIO()
        left = int(environ["CONTENT_LENGTH"])
        while left and (block := environ["wsgi.input"].read(min(BLOCK, left))):
            with faults.lock:
                if faults.cut_after_sent is not None:
                    faults.cut_after_sent -= len(block)
                cut = faults.cut_after_sent is not None and faults.cut_after_sent < 0
                faults.received += 0 if cut else len(block)
            if cut:
                _cut(environ)
            body.write(block)
            left -= len(block)
        if left:  # the sender died: half a part is no part
            raise ConnectionError
        query = _query(environ)
        digest = base64.b64encode(hashlib.sha256(body.getvalue()).digest()).decode("ascii")
        part = query["uploadId"][0], int(query["partNumber"][0])
        faults.sums[part], faults.lengths[part] = digest, len(body.getvalue())
        environ["wsgi.input"] = BytesIO(body.getvalue())

    def _into_upload(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Say of an upload that is gone what Amazon says, where the store fails by a fault of its own."""
        try:
            return list(self._app(environ, start))
        except KeyError:
            pass
        start("404 Not Found", [("Content-Type", "application/xml")])
        return [b"<Error><Code>NoSuchUpload</Code><Message>it was ended or completed</Message></Error>"]

    def _by_part(self, environ: dict[str, Any], number: int, start: Any) -> Any:
        """Let a part be found by its bytes, and its checksum be told: moto gives the whole."""
        upload = self._faults.uploads[environ["PATH_INFO"]]
        before = sum(self._faults.lengths[upload, one] for one in range(1, number))
        environ["HTTP_RANGE"] = f"bytes={before}-{before + self._faults.lengths[upload, number] - 1}"
        environ["QUERY_STRING"] = ""
        return _with_header(start, "x-amz-checksum-sha256", self._faults.sums[upload, number])

    def _given(self, answer: Iterable[bytes], environ: dict[str, Any], *, spoilt: bool) -> Generator[bytes]:
        came = 0
        if spoilt:
            self._faults.spoil = None
            answer = [bytes([whole[0] ^ 1]) + whole[1:] for whole in answer]
        for whole in answer:
            for at in range(0, len(whole), BLOCK):
                if self._faults.cut_after_read is not None and came >= self._faults.cut_after_read:
                    _cut(environ)
                block = whole[at : at + BLOCK]
                came += len(block)
                with self._faults.lock:
                    self._faults.read += len(block)
                yield block

    def _with_checksums(self, text: bytes, upload: str) -> list[bytes]:
        def sum_of(found: "re.Match[bytes]") -> bytes:
            digest = self._faults.sums.get((upload, int(found[1])))
            kept = b"" if digest is None else b"<ChecksumSHA256>%s</ChecksumSHA256>" % digest.encode("ascii")
            return found[0] + kept

        return [re.sub(rb"<PartNumber>(\d+)</PartNumber>", sum_of, text)]


def _of_any_length(start: Any) -> Any:
    def begun(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start(status, [one for one in headers if one[0].lower() != "content-length"], *rest)

    return begun


def _with_header(start: Any, name: str, value: str) -> Any:
    def begun(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start(status, [*headers, (name, value)], *rest)

    return begun


def _query(environ: dict[str, Any]) -> dict[str, list[str]]:
    return parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)


def _operation(environ: dict[str, Any]) -> str:
    method, query = str(environ["REQUEST_METHOD"]), _query(environ).keys()
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "GET": "ListParts", "DELETE": "AbortMultipartUpload"}
        return names.get(method, "CompleteMultipartUpload")
    inside = str(environ["PATH_INFO"]).strip("/").count("/") > 0
    return f"{method.title()}{'Object' if inside else 'Bucket'}"


def _cut(environ: dict[str, Any]) -> None:
    cast(socket.socket, environ["werkzeug.socket"]).shutdown(socket.SHUT_RDWR)
    raise ConnectionError


@contextmanager
def served(faults: Faults | None = None) -> Generator[dict[str, str]]:
    """A running store; the variables with which boto3 finds it."""
    app = Faulty(DomainDispatcherApplication(create_backend_app), faults or Faults())
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client() -> Any:
    """A plain client for what the environment names."""
    return cast(Any, boto3).session.Session().client("s3")
