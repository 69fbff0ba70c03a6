"""What the rules cost: all of them on one offer, and on a thousand.

Run: ``PYTHONPATH=. python benchmarks/rules.py``. Writes ``benchmarks/results/rules.json``. The goals: under 1 ms for
every rule of a search and of a rental together on one offer, and under 200 ms for the rules of a search on 1,000
offers. The peer in the same run is ``json.dumps`` of the same offers: what it costs merely to write them down.
"""

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from remote_gpu_trainer.domain.ids import OfferId
from remote_gpu_trainer.rules.base import Stage
from remote_gpu_trainer.rules.registry import check
from tests.unit.rules import samples

ROUNDS, OFFERS = 200, 1000


def median_ms(call: Callable[[], object], rounds: int) -> float:
    """Median milliseconds of a call, after one to warm up."""
    call()
    times: list[float] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


def main() -> None:
    """Measure and write."""
    draw = random.Random(7)
    facts = [
        samples.search(
            offer=samples.offer(
                id=OfferId(number),
                verified=draw.random() > 0.2,
                reliability=draw.choice([None, 0.9, 0.97, 0.995]),
                cuda_max=draw.choice([None, 11.8, 12.2, 12.8]),
                egress_usd_per_gb=draw.choice([0.0, 0.002, 0.05]),
                direct_ports=draw.choice([0, 1, 40]),
                remaining_hours=draw.choice([None, 2.0, 700.0]),
            )
        )
        for number in range(OFFERS)
    ]
    search, rent = samples.search(), samples.rent()

    def one() -> None:
        check(Stage.SEARCH, search)
        check(Stage.RENT, rent)

    one_ms = median_ms(one, ROUNDS)
    many_ms = median_ms(lambda: [check(Stage.SEARCH, each) for each in facts], 9)
    peer_ms = median_ms(lambda: [json.dumps(each.offer.model_dump(mode="json")) for each in facts], 9)
    result = {
        "what": "rules of search and rental on one offer; rules of a search on 1,000; peer: writing those as JSON",
        "one_offer_ms": round(one_ms, 4),
        "thousand_offers_ms": round(many_ms, 2),
        "peer_json_ms": round(peer_ms, 2),
        "ratio_to_peer": round(many_ms / peer_ms, 2),
        "findings": sum(len(check(Stage.SEARCH, each)) for each in facts),
        "goals": {"one_offer_ms": 1.0, "thousand_offers_ms": 200.0},
        "met": one_ms < 1.0 and many_ms < 200.0,
        "rounds": ROUNDS,
        "machine": {"system": platform.system(), "arch": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "at": datetime.now(UTC).date().isoformat(),
    }
    target = Path(__file__).parent / "results" / "rules.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
