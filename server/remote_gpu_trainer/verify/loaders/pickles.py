"""A pickle read as text: opcodes walked against an allow list, nothing ever called, imported or built."""

import pickletools
import re
from typing import IO, Any

from remote_gpu_trainer.verify.loaders import containers, ndarrays, settings
from remote_gpu_trainer.verify.loaders.described import Array, Box, Call, Dtype, Name, Storage
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128", "UntypedStorage": "U8",
    "Float8_e4m3fnStorage": "F8_E4M3", "Float8_e5m2Storage": "F8_E5M2",
}  # fmt: skip
TENSOR_V2, TENSOR_V3 = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"
PARAMETER = "torch._utils _rebuild_parameter"
REBUILDERS = {TENSOR_V2, TENSOR_V3, PARAMETER}
DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "complex128": "C128", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip
MAPPINGS = {"collections OrderedDict", "collections Counter"}
_NEVER_CALLED = {
    "torch.storage UntypedStorage", ndarrays.ARRAY_TYPE, *(f"torch {name}" for name in (*STORAGES, *DTYPES)),
}  # fmt: skip
ALLOWED = {*MAPPINGS, *containers.PLAIN, *REBUILDERS, *ndarrays.NUMPY, *settings.SETTINGS, *_NEVER_CALLED}
NEVER_INNOCENT = {
    "os", "posix", "nt", "subprocess", "pty", "sys", "shutil", "socket", "ctypes", "importlib", "imp", "runpy", "code",
    "codeop", "types", "marshal", "pickle", "_pickle", "cPickle", "operator", "functools", "webbrowser", "commands",
    "pip", "asyncio", "multiprocessing", "threading", "signal", "timeit", "cProfile", "profile", "pdb", "bdb",
    "doctest", "tempfile", "io", "urllib", "http", "ftplib", "smtplib", "builtins", "__builtin__", "copyreg", "_io",
    "_posixsubprocess", "_thread", "gc", "inspect", "ast", "zipimport", "pkgutil", "site", "trace", "linecache",
    "fileinput", "shelve", "dill", "cloudpickle", "joblib", "xmlrpc", "socketserver", "platform", "setuptools",
    "distutils", "pkg_resources", "ensurepip", "venv", "idlelib", "lib2to3", "pydoc", "rlcompleter", "zipfile",
    "tarfile", "codecs", "encodings", "_codecs", "sqlite3", "concurrent", "antigravity",
}  # fmt: skip
"""Modules none of whose names belongs into settings. No wall: what is not allowed is not called either way."""
NEVER_BELOW = (
    "torch.hub", "torch.jit", "torch.package", "torch.serialization", "torch.utils.cpp_extension", "torch._inductor",
    "torch._dynamo", "torch.testing", "torch.multiprocessing", "numpy.testing", "numpy.f2py", "numpy.lib", "pandas.io",
)  # fmt: skip
"""The same of libraries that have other names too."""
_INNOCENT = {
    "functools partial", "types SimpleNamespace",
    *(f"{module} {name}" for module in ("builtins", "__builtin__") for name in (
        "bool", "bytes", "dict", "float", "frozenset", "int", "list", "object", "range", "slice", "str", "tuple",
    )),
}  # fmt: skip
WANTED_MOST = 200
"""Names that are kept to be told."""
CONSTANTS = {
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
_FILLED = {
    "APPEND": "EMPTY_LIST", "APPENDS": "EMPTY_LIST", "SETITEM": "EMPTY_DICT", "SETITEMS": "EMPTY_DICT",
    "ADDITEMS": "EMPTY_SET",
}  # fmt: skip
"""Opcodes that fill, and what an unpickler lets them fill."""
STEPS_MOST = 20_000_000
LINE_MOST = 4096
PICKLE_MOST = 256 << 20
"""Bytes of a pickle, and so of any text in it."""
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Plain:
    """A stream whose lines hold no escapes: ``pickletools`` would resolve them, and an unpickler would not."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        """As of any stream, of a size that a pickle can have: a file's reader would make room for a claim."""
        if size > PICKLE_MOST:
            raise ValueError(f"a text of {size} bytes")
        return self._stream.read(size)

    def readline(self) -> bytes:
        """A line of at most 4 KiB; a longer one comes without its end, which is malformed."""
        line = self._stream.readline(LINE_MOST)
        if b"\\" in line:
            raise BrokenArtifact("unsafe-pickle", "it hides a name behind escapes")
        return line


class Reader:
    """A machine with a stack and a memo that only ever holds descriptions; a mark begins a stack of its own, as in
    the unpicklers of Python and torch, so that nothing here reaches below one.

    With ``whole``, a global beyond the allow list does not end the walk: it is kept in ``wanted``, and so is described
    whatever the pickle would build of it. Who asks for that must look there before anything is believed.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole
        self.wanted: list[str] = []
        self.arrays: list[Array] = []
        self.settings = False
        """Whether it holds a namespace or a path."""
        self.stack: list[object] = []
        self._below: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}
        self.calls: list[Call] = []

    def read(self, stream: IO[bytes]) -> object:
        """The description of the one pickle at the stream's position, which ends behind it.

        Raises:
            BrokenArtifact: ``unsafe-pickle`` for an opcode or a global beyond the allow list, and, whatever was asked
                for, for a global that only an attack needs; ``malformed-pickle``.
        """
        plain: Any = _Plain(stream)
        try:
            for steps, (opcode, arg, _) in enumerate(pickletools.genops(plain)):
                if steps > STEPS_MOST:
                    raise BrokenArtifact("unsafe-pickle", f"it has more than {STEPS_MOST} opcodes")
                if opcode.name == "STOP":
                    if self._below or len(self.stack) != 1:
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
        elif code in {"REDUCE", "NEWOBJ", "BUILD", "BINPERSID"}:
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
            told = text.replace(" ", ".")[:120]
            if not self.whole or _needs_an_attacker(text):
                raise BrokenArtifact("unsafe-pickle", f"it asks for {told!r}, which is not allowed")
            if told not in self.wanted and len(self.wanted) < WANTED_MOST:
                self.wanted.append(told)
        self.stack.append(Name(text))

    def _act(self, code: str) -> None:
        top = self.stack.pop()
        if code == "BINPERSID":
            self.stack.append(self._storage(top))
        elif code == "BUILD":
            self._build_state(self.stack[-1], top)
        else:
            callee = self.stack.pop()
            if not isinstance(callee, Name) or not isinstance(top, Box) or callee.text in _NEVER_CALLED:
                raise BrokenArtifact("unsafe-pickle", "it calls something other than an allowed global")
            self.stack.append(self._called(callee.text, code, list(top.items)))

    def _called(self, name: str, code: str, args: list[object]) -> object:
        if name in settings.SETTINGS:
            self.settings = True
            return settings.called(name, code, args)
        if code == "NEWOBJ" and name in ALLOWED:
            raise BrokenArtifact("unsafe-pickle", "it uses the opcode NEWOBJ, which no tensor needs")
        if name in ndarrays.NUMPY:
            made = ndarrays.called(name, args)
            if isinstance(made, Array):
                self.arrays.append(made)
            return made
        call = containers.called(name, args) if name in containers.PLAIN else Call(name, args)
        self.calls.append(call)
        return call

    def _build_state(self, target: object, state: object) -> None:
        if isinstance(target, Array | Dtype):
            ndarrays.built(target, state)
        elif isinstance(target, Call) and target.name in settings.SETTINGS:
            settings.built(target, state)
        elif not isinstance(target, Call) or (target.name in ALLOWED and target.name not in MAPPINGS):
            raise BrokenArtifact("unsafe-pickle", "it sets the state of something other than a mapping")

    def _storage(self, what: object) -> Storage:
        items = what.items if isinstance(what, Box) else []
        match items[:-1] if len(items) == 6 and items[5] is None else items:  # a view of it, in legacy files
            case ["storage", Name(text=text), str() as key, str(), int() as elements] if (
                elements >= 0 and not isinstance(elements, bool)
            ):
                kind = STORAGES.get(text.rpartition(" ")[2]) if text in ALLOWED else None
                if kind is None:
                    raise BrokenArtifact("unknown-dtype", f"storage {key[:40]!r} is of the unknown type {text[:80]!r}")
                known = self.storages.get(key)
                if known is not None and (known.kind, known.elements) != (kind, elements):
                    raise BrokenArtifact("malformed-pickle", f"storage {key[:40]!r} is described in two ways")
                return self.storages.setdefault(key, Storage(kind, key, elements))
            case _:
                raise BrokenArtifact("unsafe-pickle", "a persistent id is not a storage")

    def _build(self, code: str) -> None:
        stack = self.stack
        if code == "MARK":
            self._below.append(stack)
            self.stack = []
        elif code in {"EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"}:
            stack.append(Box(code))
        elif code in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            count = int(code[-1])
            if len(stack) < count:
                raise IndexError("the stack is empty")
            items = stack[-count:]
            del stack[-count:]
            stack.append(Box("EMPTY_TUPLE", items))
        elif code == "TUPLE":
            items = self._to_mark()
            self.stack.append(Box("EMPTY_TUPLE", items))
        elif code in {"APPENDS", "SETITEMS", "ADDITEMS"}:
            self._extend(code, self._to_mark())
        elif code == "APPEND":
            self._extend(code, [stack.pop()])
        elif code == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._extend(code, [key, value])
        else:
            raise BrokenArtifact("unsafe-pickle", f"it uses the opcode {code}, which no checkpoint needs")

    def _to_mark(self) -> list[object]:
        items, self.stack = self.stack, self._below.pop()
        return items

    def _extend(self, code: str, items: list[object]) -> None:
        target, kind = self.stack[-1], _FILLED[code]
        if kind == "EMPTY_DICT" and len(items) % 2:
            raise ValueError("a key without its value")
        if isinstance(target, Box) and target.kind == kind:
            target.items.extend(items)
        elif isinstance(target, Call) and (
            target.name not in ALLOWED or (target.name in MAPPINGS and kind == "EMPTY_DICT")
        ):
            target.args.extend(items)
        else:
            raise BrokenArtifact("unsafe-pickle", "it fills something other than a list, set or dict of its kind")


def _needs_an_attacker(text: str) -> bool:
    """Whether a global comes out of a module that runs things, or reaches for one, or for a part, inside another.

    So does a name that is no plain identifier: it only looks like another one, or hides where its module ends.
    """
    module, _, name = text.partition(" ")
    if text in _INNOCENT:
        return False
    if not all(_IDENTIFIER.fullmatch(part) for part in (*module.split("."), name)):
        return True
    if f"{module}.".startswith(tuple(f"{one}." for one in NEVER_BELOW)):
        return True
    return not {module.partition(".")[0], name}.isdisjoint(NEVER_INNOCENT)


def load(source: Source) -> Outcome:
    """Say of a bare pickle that nothing here loads it: that would run what it holds."""
    outcome = Outcome(loaded=False)
    outcome.warn("pickle", "a pickle runs code when it is loaded, so nothing loaded it; only its digest was proven")
    outcome.facts["bytes"] = source.size
    return outcome
