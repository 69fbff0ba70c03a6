"""What lies beside the weights of a checkpoint, by the names that transformers, trl and accelerate give it."""

from fnmatch import fnmatchcase

WEIGHTS = {"safetensors", "pytorch", "gguf", "onnx"}
"""Formats whose files carry weights."""
SETTINGS = ("training_args.bin",)
"""Settings that a Trainer pickles as an object of its own class. Source: transformers ``TRAINING_ARGS_NAME``."""
STATE = (
    "optimizer.pt", "optimizer.bin", "optimizer_*.pt", "optimizer_*.bin", "scheduler.pt", "scheduler.bin",
    "scheduler_*.bin", "scaler.pt", "rng_state.pth", "rng_state_*.pth", "random_states_*.pkl",
)  # fmt: skip
"""What a run resumes from: tensors, and no model. Source: transformers ``OPTIMIZER_NAME``, ``SCHEDULER_NAME``,
``SCALER_NAME`` and ``_save_rng_state``; accelerate ``utils/constants.py``."""


def folder_of(path: str) -> str:
    """The folder of a relative POSIX path; empty at the top."""
    return path.rpartition("/")[0]


def is_settings(path: str) -> bool:
    """Whether a file is named as pickled settings."""
    return path.rpartition("/")[2] in SETTINGS


def holds_model(path: str) -> bool:
    """Whether a weight file of that name may be the model, not what the run resumes from."""
    name = path.rpartition("/")[2]
    return not any(fnmatchcase(name, pattern) for pattern in (*SETTINGS, *STATE))
