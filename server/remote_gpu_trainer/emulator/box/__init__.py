"""A rented machine to hold in one's hand: SSH, processes and a disk on this computer."""

from remote_gpu_trainer.emulator.box.machine import Box
from remote_gpu_trainer.emulator.box.rsync import MachineRsync
from remote_gpu_trainer.emulator.box.spec import BoxError, BoxFaults, BoxSpec

__all__ = ["Box", "BoxError", "BoxFaults", "BoxSpec", "MachineRsync"]
