"""What optimizers and schedulers keep beside tensors, each held to what Python and torch write of it.

torch's own ``weights_only`` calls these with any arguments; ``bytearray(2**40)`` is then a bomb, and ``_codecs.encode``
unpacks whatever its second argument names.
"""

from remote_gpu_trainer.verify.loaders.described import Box, Call
from remote_gpu_trainer.verify.outcome import BrokenArtifact

ENCODE = "_codecs encode"
SIZE, DEVICE = "torch Size", "torch device"
_LATIN = {"latin1", "latin-1"}
_OF_PYTHON = {
    f"{module} {name}": name for module in ("builtins", "__builtin__") for name in ("set", "complex", "bytearray")
}
PLAIN = {SIZE, DEVICE, ENCODE, *_OF_PYTHON}


def called(name: str, args: list[object]) -> Call:
    """The description of such a call.

    Raises:
        BrokenArtifact: ``unsafe-pickle``, its arguments are not what belongs there.
    """
    match _OF_PYTHON.get(name, name), args:
        case "torch Size", [Box(kind="EMPTY_TUPLE" | "EMPTY_LIST", items=sides)]:
            good = all(type(side) is int and side >= 0 for side in sides)
        case "torch device", [str()] | [str(), int()]:
            good = True
        case "_codecs encode", [str(), str() as codec]:
            good = codec in _LATIN
        case "set", [] | [Box(kind="EMPTY_LIST")]:
            good = True
        case "complex", [int() | float(), int() | float()]:
            good = True
        case "bytearray", [] | [bytes()] | [Call(name="_codecs encode")]:
            good = True
        case "bytearray", [str(), str() as codec]:
            good = codec in _LATIN
        case _:
            good = False
    if not good:
        raise BrokenArtifact("unsafe-pickle", f"it calls {name.replace(' ', '.')} as no checkpoint does")
    return Call(name, args)
