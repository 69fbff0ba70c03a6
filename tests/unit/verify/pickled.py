"""Checkpoints as torch and the Trainer of transformers write them, made without either."""

import io
import pickle
import sys
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

ARGUMENTS = "transformers.training_args"


def archived(pickled: bytes, **storages: bytes) -> bytes:
    """A zip as ``torch.save`` writes it; storages as ``_0``, ``_1``."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", pickled)
        archive.writestr("m/version", "3\n")
        for key, data in storages.items():
            archive.writestr(f"m/data/{key[1:]}", data)
    return out.getvalue()


@contextmanager
def _standing_in(module: str, **members: object) -> Generator[None]:
    """While it lasts, pickle finds a module of that name."""
    package, made = module.partition(".")[0], ModuleType(module)
    vars(made).update(members)
    kept = {name: sys.modules.get(name) for name in (package, module)}
    sys.modules.update({package: ModuleType(package), module: made})
    try:
        yield
    finally:
        for name, before in kept.items():
            sys.modules.pop(name)
            if before is not None:
                sys.modules[name] = before


def arguments(**settings: object) -> bytes:
    """The pickle of an object of a class that only transformers has."""
    kind: Any = type("TrainingArguments", (), {"__module__": ARGUMENTS})
    thing = kind()
    for name, value in {"output_dir": "out", "learning_rate": 5e-5, "max_steps": 400, **settings}.items():
        setattr(thing, name, value)
    with _standing_in(ARGUMENTS, TrainingArguments=kind):
        return pickle.dumps(thing, 2)


def whole(what: object) -> bytes:
    """A checkpoint that holds just this, with the pickle protocol that torch uses."""
    return archived(pickle.dumps(what, 2))
