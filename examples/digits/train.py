"""Train a small network on the bundled digits; resume from the newest valid checkpoint, bit for bit."""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.datasets import load_digits

Tensors = dict[str, Any]
KEEP = 3
BATCH = 64


def replace(path: Path, data: bytes) -> None:
    """Write `data` so that `path` is always whole: temporary file, fsync, rename, fsync of the folder."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def newest(folder: Path) -> tuple[Tensors, dict[str, str]] | None:
    """The newest checkpoint that reads whole; a torn one is named and skipped."""
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            with safe_open(str(path), framework="numpy") as held:
                meta = cast("dict[str, str]", held.metadata() or {})
                tensors = {name: held.get_tensor(name) for name in held.keys()}
            int(meta["step"])
            json.loads(meta["rng"])
        except (SafetensorError, OSError, KeyError, ValueError) as bad:
            print(f"skipped {path.name}: {bad}", flush=True)
            continue
        return tensors, meta
    return None


def forward(w: Tensors, x: Any) -> tuple[Any, Any]:
    """Hidden activations and class probabilities for `x` of shape (n, 64)."""
    hidden = np.maximum(x @ w["w1"] + w["b1"], 0)
    logits = hidden @ w["w2"] + w["b2"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden, odds / odds.sum(axis=1, keepdims=True)


def train_step(state: Tensors, step: int, x: Any, y: Any) -> tuple[float, float]:
    """One step of Adam, in place; returns loss and accuracy of the batch."""
    w = {k: state[k] for k in ("w1", "b1", "w2", "b2")}
    hidden, p = forward(w, x)
    rows = np.arange(len(y))
    loss, right = float(-np.log(p[rows, y] + 1e-12).mean()), float((p.argmax(axis=1) == y).mean())
    d = p.copy()
    d[rows, y] -= 1
    d /= len(y)
    back = (d @ w["w2"].T) * (hidden > 0)
    grads = {"w2": hidden.T @ d, "b2": d.sum(axis=0), "w1": x.T @ back, "b1": back.sum(axis=0)}
    for k, g in grads.items():
        m, v = state["m." + k], state["v." + k]
        m *= 0.9
        m += 0.1 * g
        v *= 0.999
        v += 0.001 * g * g
        state[k] -= 2e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return loss, right


def main() -> None:
    """Train to `--steps`, whatever was done before."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--out", type=Path, default=Path("/workspace/out"))
    args.add_argument("--steps", type=int, default=600)
    args.add_argument("--checkpoint-every", type=int, default=50)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--step-delay-ms", type=float, default=0)
    o = args.parse_args()
    folder: Path = o.out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    digits: Any = load_digits()
    order = np.random.default_rng(12345).permutation(len(digits.target))
    x, y = (digits.data[order] / 16.0), digits.target[order]
    cut = len(y) * 4 // 5
    rng = np.random.default_rng(o.seed)
    state: Tensors = {
        "w1": rng.normal(0, 0.18, (64, 64)), "b1": np.zeros(64),
        "w2": rng.normal(0, 0.18, (64, 10)), "b2": np.zeros(10),
    }  # fmt: skip
    state.update({f"{part}.{k}": np.zeros_like(a) for part in "mv" for k, a in list(state.items()) if "." not in k})
    found, start, loss = newest(folder), 0, float("nan")
    if found:
        state = {k: np.array(a) for k, a in found[0].items()}
        start, loss = int(found[1]["step"]), float(found[1]["loss"])
        rng.bit_generator.state = json.loads(found[1]["rng"])
        print(f"resumed from step {start}", flush=True)
    log: Path = o.out / "metrics.jsonl"
    old = log.read_text().splitlines(keepends=True) if log.exists() else []
    replace(log, "".join(old[:start]).encode())  # one line a step, so the checkpoint's step is a line count
    with log.open("a") as metrics:
        for step in range(start + 1, o.steps + 1):
            pick = rng.integers(0, cut, BATCH)
            loss, right = train_step(state, step, x[pick], y[pick])
            metrics.write(json.dumps({"step": step, "loss": loss, "accuracy": right}) + "\n")
            metrics.flush()
            if step % o.checkpoint_every == 0 or step == o.steps:
                os.fsync(metrics.fileno())
                meta = {"step": str(step), "loss": repr(loss), "rng": json.dumps(rng.bit_generator.state)}
                replace(folder / f"step-{step:08d}.safetensors", save(state, metadata=meta))
                for spent in sorted(folder.glob("step-*.safetensors"))[:-KEEP]:
                    spent.unlink()
                print(f"step {step} loss {loss:.4f}", flush=True)
            if o.step_delay_ms:
                time.sleep(o.step_delay_ms / 1000)
    weights = {k: state[k] for k in ("w1", "b1", "w2", "b2")}
    accuracy = float((forward(weights, x[cut:])[1].argmax(axis=1) == y[cut:]).mean())
    replace(o.out / "model.safetensors", save(weights))
    result = {
        "step": max(start, o.steps),
        "test_accuracy": accuracy,
        "resumed_from_step": start if found else None,
        "loss": loss,
    }
    replace(o.out / "result.json", json.dumps(result).encode())
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
