"""``python -m remote_gpu_trainer.emulator``: serve a local vast.ai until interrupted."""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from remote_gpu_trainer.emulator.boxes import BoxLike, BoxOrder, MakeBox, NullBox
from remote_gpu_trainer.emulator.engine import Engine
from remote_gpu_trainer.emulator.http.app import make_app
from remote_gpu_trainer.emulator.http.control import PREFIX
from remote_gpu_trainer.emulator.server import LOOPBACK, Connections, listen, make_server
from remote_gpu_trainer.emulator.world import Setup, World


def real_boxes() -> MakeBox:
    """A maker of boxes with SSH, files and processes."""
    from remote_gpu_trainer.emulator.box import Box, BoxSpec  # paramiko takes 0.4 s: only for real boxes

    def make(order: BoxOrder) -> BoxLike:
        return Box(BoxSpec(**vars(order)))

    return make


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="rgt emulator", description="Serve a local vast.ai on loopback.")
    arguments.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one")
    arguments.add_argument(
        "--state", type=Path, required=True, help="folder that holds everything; a restart finds its contracts there"
    )
    arguments.add_argument("--seed", type=int, default=7, help="the market is drawn from it (first start only)")
    arguments.add_argument("--speed", type=float, default=1.0, help="emulated seconds per real second; 0 stands still")
    arguments.add_argument("--offers", type=int, default=64, help="least number of offers (first start only)")
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
        "--json", action="store_true", help="say when ready in one line of JSON, then nothing more on stdout"
    )
    return arguments


async def serve(options: argparse.Namespace) -> None:
    """Run until a signal comes."""
    make_box: MakeBox = NullBox if options.ssh == "none" else real_boxes()
    setup = Setup(
        options.state, options.seed, options.speed, time.time(), options.ssh, options.isolation, options.offers
    )
    world = World(setup, make_box)
    engine, connections = Engine(world), Connections()
    listener = listen(options.port)
    world.url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    server = make_server(make_app(engine, connections), connections)
    engine.wake()
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110  # uvicorn has a flag and no event for it
        await asyncio.sleep(0.005)
    announce(world, as_json=options.json)
    try:
        await serving
    finally:
        await engine.close()


def announce(world: World, *, as_json: bool) -> None:
    """Say where it answers and with which keys."""
    key = next(k.key for k in world.account.keys if not k.deleted)
    ready = {
        "url": world.url,
        "api_key": key,
        "account_id": world.account.id,
        "control_url": world.url + PREFIX,
        "control_token": world.control_token,
    }
    if as_json:
        sys.stdout.write(json.dumps(ready) + "\n")
    else:
        sys.stdout.write(
            f"A local vast.ai answers at {world.url}\n  export VAST_URL={world.url}\n  export VAST_API_KEY={key}\n"
            f"Control surface: {ready['control_url']}  token {world.control_token}\n"
            f"Ctrl-C ends it; the folder {world.setup.folder} keeps its state.\n"
        )
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and serve. Returns the exit status."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(serve(options))
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
