"""A store that speaks S3 over HTTP on loopback, as a person's environment would name it."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "results"


@contextmanager
def served() -> Generator[dict[str, str]]:
    """A running store; the variables with which boto3 finds it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    server.stop()


def client() -> Any:
    """A plain client for what the environment names."""
    return cast(Any, boto3).session.Session().client("s3")
