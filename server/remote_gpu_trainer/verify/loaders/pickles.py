"""A pickle read as text: opcodes walked against an allow list, nothing ever called, imported or built."""

import pickletools
from dataclasses import dataclass, field
from typing import IO, Any

from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128", "UntypedStorage": "U8",
    "Float8_e4m3fnStorage": "F8_E4M3", "Float8_e5m2Storage": "F8_E5M2",
}  # fmt: skip
TENSOR_V2, TENSOR_V3 = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"
REBUILDERS = {TENSOR_V2, TENSOR_V3, "torch._utils _rebuild_parameter"}
DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "complex128": "C128", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
MAPPINGS = {"collections OrderedDict", "collections Counter"}
PLAIN = {"torch Size", "torch device", "builtins set", "__builtin__ set", "_codecs encode"}
"""What optimizers and schedulers hold beside tensors; torch's own ``weights_only`` lets these through as well."""
_NEVER_CALLED = {"torch.storage UntypedStorage", *(f"torch {name}" for name in (*STORAGES, *DTYPES))}
ALLOWED = {*MAPPINGS, *PLAIN, *REBUILDERS, *_NEVER_CALLED}
CONSTANTS = {
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
STEPS_MOST = 20_000_000
LINE_MOST = 4096


@dataclass(eq=False)
class Name:
    """A global that the pickle asks for."""

    text: str


@dataclass(eq=False)
class Call:
    """A call that the pickle asks for and does not get."""

    name: str
    args: list[object]


@dataclass(eq=False)
class Storage:
    """A persistent id."""

    kind: str
    key: str
    elements: int


@dataclass(eq=False)
class Box:
    """A list, dict or tuple; dict entries lie as pairs in a row."""

    kind: str
    items: list[object] = field(default_factory=list[object])


_MARK = object()


class _Plain:
    """A stream whose lines hold no escapes: ``pickletools`` would resolve them, and an unpickler would not."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        """As of any stream."""
        return self._stream.read(size)

    def readline(self) -> bytes:
        """A line of at most 4 KiB; a longer one comes without its end, which is malformed."""
        line = self._stream.readline(LINE_MOST)
        if b"\\" in line:
            raise BrokenArtifact("unsafe-pickle", "it hides a name behind escapes")
        return line


class Reader:
    """A machine with a stack and a memo that only ever holds descriptions."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}
        self.calls: list[Call] = []

    def read(self, stream: IO[bytes]) -> object:
        """The description of the one pickle at the stream's position, which ends behind it.

        Raises:
            BrokenArtifact: ``unsafe-pickle`` for an opcode or a global beyond the allow list; ``malformed-pickle``.
        """
        plain: Any = _Plain(stream)
        try:
            for steps, (opcode, arg, _) in enumerate(pickletools.genops(plain)):
                if steps > STEPS_MOST:
                    raise BrokenArtifact("unsafe-pickle", f"it has more than {STEPS_MOST} opcodes")
                if opcode.name == "STOP":
                    if len(self.stack) != 1:
                        raise BrokenArtifact("malformed-pickle", f"{len(self.stack)} values are left at its end")
                    return self.stack[0]
                self._step(opcode.name, arg)
        except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise BrokenArtifact("malformed-pickle", f"it is malformed: {str(error)[:120]}") from error
        raise BrokenArtifact("malformed-pickle", "it has no end")

    def _step(self, code: str, arg: object) -> None:
        if code in CONSTANTS:
            self.stack.append(arg if code not in {"NEWTRUE", "NEWFALSE"} else code == "NEWTRUE")
        elif code in {"PROTO", "FRAME"}:
            return
        elif code in {"BINPUT", "LONG_BINPUT"} and isinstance(arg, int):
            self.memo[arg] = self.stack[-1]
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif code in {"BINGET", "LONG_BINGET"} and isinstance(arg, int):
            self.stack.append(self.memo[arg])
        elif code in {"GLOBAL", "STACK_GLOBAL"}:
            self._global(str(arg) if code == "GLOBAL" else None)
        elif code in {"REDUCE", "BUILD", "BINPERSID"}:
            self._act(code)
        else:
            self._build(code)

    def _global(self, text: str | None) -> None:
        if text is None:
            name, module = self.stack.pop(), self.stack.pop()
            if not isinstance(name, str) or not isinstance(module, str):
                raise BrokenArtifact("unsafe-pickle", "it computes the name of a global")
            text = f"{module} {name}"
        if text not in ALLOWED:
            raise BrokenArtifact("unsafe-pickle", f"it asks for {text.replace(' ', '.')[:120]!r}, which is not allowed")
        self.stack.append(Name(text))

    def _act(self, code: str) -> None:
        top = self.stack.pop()
        if code == "BINPERSID":
            self.stack.append(self._storage(top))
        elif code == "BUILD":
            if not isinstance(target := self.stack[-1], Call) or target.name not in MAPPINGS:
                raise BrokenArtifact("unsafe-pickle", "it sets the state of something other than a mapping")
        else:
            callee = self.stack.pop()
            if not isinstance(callee, Name) or not isinstance(top, Box) or callee.text in _NEVER_CALLED:
                raise BrokenArtifact("unsafe-pickle", "it calls something other than an allowed global")
            call = Call(callee.text, list(top.items))
            self.calls.append(call)
            self.stack.append(call)

    def _storage(self, what: object) -> Storage:
        items = what.items if isinstance(what, Box) else []
        match items[:5]:
            case ["storage", Name(text=text), str() as key, str(), int() as elements] if elements >= 0:
                kind = STORAGES.get(text.rpartition(" ")[2])
                known = self.storages.get(key)
                if kind is None or (known is not None and (known.kind, known.elements) != (kind, elements)):
                    raise BrokenArtifact("malformed-pickle", f"storage {key[:40]!r} is described in two ways")
                return self.storages.setdefault(key, Storage(kind, key, elements))
            case _:
                raise BrokenArtifact("unsafe-pickle", "a persistent id is not a storage")

    def _build(self, code: str) -> None:
        stack = self.stack
        if code == "MARK":
            stack.append(_MARK)
        elif code in {"EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"}:
            stack.append(Box(code))
        elif code in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            count = int(code[-1])
            if len(stack) < count:
                raise IndexError("the stack is empty")
            items = stack[-count:]
            del stack[-count:]
            stack.append(Box("EMPTY_TUPLE", items))
        elif code in {"TUPLE", "APPENDS", "SETITEMS", "ADDITEMS"}:
            items = self._to_mark()
            if code == "TUPLE":
                stack.append(Box("EMPTY_TUPLE", items))
            else:
                self._extend(items)
        elif code == "APPEND":
            self._extend([stack.pop()])
        elif code == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._extend([key, value])
        else:
            raise BrokenArtifact("unsafe-pickle", f"it uses the opcode {code}, which no checkpoint needs")

    def _to_mark(self) -> list[object]:
        items: list[object] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _extend(self, items: list[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Box):
            target.items.extend(items)
        elif not isinstance(target, Call) or target.name not in MAPPINGS:
            raise BrokenArtifact("unsafe-pickle", "it fills something other than a list, set or dict")
        else:
            target.args.extend(items)


def load(source: Source) -> Outcome:
    """Say of a bare pickle that nothing here loads it: that would run what it holds."""
    outcome = Outcome(loaded=False)
    outcome.warn("pickle", "a pickle runs code when it is loaded, so nothing loaded it; only its digest was proven")
    outcome.facts["bytes"] = source.size
    return outcome
