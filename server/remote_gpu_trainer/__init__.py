"""Rent a stranger's GPU, train on it through preemptions, bring the results home, prove them, and only then let go."""

from importlib.metadata import version

__version__ = version("remote-gpu-trainer")
