"""``python -m remote_gpu_trainer.emulator``: serve a local vast.ai until interrupted."""

import argparse
import asyncio
import contextlib
import json
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from remote_gpu_trainer.emulator.book import LEAST_OFFERS
from remote_gpu_trainer.emulator.quirks import NAMES
from remote_gpu_trainer.emulator.service import Ready, run
from remote_gpu_trainer.emulator.world import Setup


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="rgt emulator", description="Serve a local vast.ai on loopback.")
    arguments.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one")
    arguments.add_argument(
        "--state", type=Path, required=True, help="folder that holds everything; a restart finds its contracts there"
    )
    arguments.add_argument("--seed", type=int, default=7, help="the market is drawn from it (first start only)")
    arguments.add_argument("--speed", type=float, default=1.0, help="emulated seconds per real second; 0 stands still")
    arguments.add_argument("--offers", type=int, default=LEAST_OFFERS, help="least number of offers (first start only)")
    arguments.add_argument(
        "--ssh",
        choices=("paramiko", "openssh", "none"),
        default="paramiko",
        help="what serves SSH in the boxes; none: no boxes",
    )
    arguments.add_argument(
        "--isolation", choices=("auto", "none"), default="auto", help="how boxes are kept from the rest of the system"
    )
    arguments.add_argument(
        "--network",
        choices=("shared", "own"),
        default="shared",
        help="boxes share this computer's network, or each has its own: ports as on the platform, and no way out",
    )
    arguments.add_argument(
        "--without",
        action="append",
        default=[],
        choices=sorted(NAMES),
        metavar="QUIRK",
        help="a quirk that is off from the start, such as lively-market; may be given more than once",
    )
    arguments.add_argument(
        "--json", action="store_true", help="say when ready in one line of JSON, then nothing more on stdout"
    )
    return arguments


def announce(ready: Ready, folder: Path, *, as_json: bool) -> None:
    """Say where it answers and with which keys."""
    if as_json:
        sys.stdout.write(json.dumps(ready.to_json()) + "\n")
    else:
        sys.stdout.write(
            f"A local vast.ai answers at {ready.url}\n"
            f"  export VAST_URL={ready.url}\n  export VAST_API_KEY={ready.api_key}\n"
            f"Control surface: {ready.control_url}  token {ready.control_token}\n"
            f"Boxes are kept apart by: {ready.isolation}\n"
            f"Ctrl-C ends it; the folder {folder} keeps its state.\n"
        )
    sys.stdout.flush()


def _allow_many_boxes() -> None:
    """A box holds about six descriptors, and many systems give a program 1,024 until it asks for more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says "unlimited" and then refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and serve. Returns the exit status."""
    options = parser().parse_args(argv)
    setup = Setup(
        options.state,
        options.seed,
        options.speed,
        time.time(),
        options.ssh,
        options.isolation,
        options.network,
        options.offers,
        tuple(options.without),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _allow_many_boxes()
    try:
        asyncio.run(run(setup, options.port, lambda ready: announce(ready, options.state, as_json=options.json)))
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
