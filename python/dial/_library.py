"""libdial through ctypes. Options are set by name through the library's own tables, so that no layout of an options
struct is repeated here."""
import ctypes
import ctypes.util
import json
import os
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p


class DialError(Exception):
    """An error of libdial: what was expected and found, where, and what to do next."""

    def __init__(self, status, message, where, hint):
        super().__init__(message + (f" ({where})" if where else "") + (f"; try: {hint}" if hint else ""))
        self.status, self.message, self.where, self.hint = status, message, where, hint


class _Error(ctypes.Structure):
    _fields_ = [("status", c_int), ("line", c_int), ("file", c_char_p), ("message", c_char * 640), ("where", c_char * 320),
                ("hint", c_char * 320)]


class _Option(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("type", c_int), ("offset", c_size_t), ("initial", c_char_p), ("choices", c_char_p),
                ("help", c_char_p)]


class _List(ctypes.Structure):
    _fields_ = [("item", POINTER(c_char_p)), ("n", c_int64)]


class Message(ctypes.Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class Text(ctypes.Structure):
    _fields_ = [("prompt", c_char_p), ("response", c_char_p), ("message", POINTER(Message)), ("n_messages", c_size_t)]


_TYPE_LIST = 5
_WRITE = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(c_char), c_size_t)


def _load():
    here = os.path.dirname(os.path.abspath(__file__))
    names = [os.environ.get("DIAL_LIBRARY"), os.path.join(here, "lib", "libdial.so"), ctypes.util.find_library("dial"),
             "libdial.so.0", os.path.join(here, "..", "..", "build", "release", "libdial.so")]
    tried = []
    for name in filter(None, names):
        try:
            return ctypes.CDLL(name)
        except OSError as e:
            tried.append(f"{name}: {e}")
    raise ImportError("libdial was not found; try: make install, or DIAL_LIBRARY=/path/to/libdial.so\n" + "\n".join(tried))


lib = _load()
lib.dial_version.restype = c_char_p
lib.dial_status_text.restype = c_char_p
lib.dial_model_open.argtypes = [c_char_p, c_void_p, c_void_p, POINTER(c_void_p), POINTER(_Error)]
lib.dial_model_close.argtypes = [c_void_p]
lib.dial_model_close.restype = None
lib.dial_model_width.argtypes = [c_void_p]
lib.dial_model_width.restype = c_int64
lib.dial_model_score.argtypes = [c_void_p, POINTER(Text), c_size_t, POINTER(c_float), POINTER(_Error)]
lib.dial_options_default.argtypes = [POINTER(_Option), c_void_p, c_size_t]
lib.dial_options_default.restype = None
lib.dial_option_set.argtypes = [POINTER(_Option), c_void_p, c_char_p, POINTER(_Error)]
lib.dial_free.argtypes = [c_void_p, c_void_p]
lib.dial_free.restype = None


def version():
    """The version of the library that was found."""
    return lib.dial_version().decode()


def check(call, *args):
    """Calls a function whose last argument is a dial_error; a failure raises DialError."""
    error = _Error()
    status = call(*args, byref(error))
    if status != 0:
        text = error.message.decode(errors="replace") or lib.dial_status_text(status).decode()
        raise DialError(status, text, error.where.decode(errors="replace"), error.hint.decode(errors="replace"))


def encode(text):
    """UTF-8 for C: a character 0 would end it early."""
    data = os.fsencode(text) if isinstance(text, os.PathLike) else text.encode()
    if b"\0" in data:
        raise ValueError("a text with the character U+0000 cannot be handed to libdial")
    return data


class Options:
    """An options struct of the library, filled by its table: Options("eval", model="runs/toy")."""

    def __init__(self, table, **values):
        rows = (_Option * 4096).in_dll(lib, f"dial_{table}_table")
        self.rows = {}
        self.size = 0
        for row in rows:
            if row.name is None:
                break
            self.rows.setdefault(row.name.decode(), row)
            self.size = max(self.size, row.offset + 16)  # the longest member is a list
        self.table = rows
        self.kept = []
        self.data = ctypes.create_string_buffer(self.size + 64)  # members that are not in the table come last
        lib.dial_options_default(rows, self.data, self.size + 64)
        for name, value in values.items():
            self.set(name.replace("_", "-"), value)

    def set(self, name, value):
        row = self.rows.get(name)
        if row is None:
            raise TypeError(f"there is no option '{name}'; there are {', '.join(sorted(self.rows))}")
        if row.type == _TYPE_LIST:
            items = [encode(str(v)) for v in ([value] if isinstance(value, (str, os.PathLike)) else value)]
            array = (c_char_p * max(1, len(items)))(*items)
            self.kept += [items, array]
            _List.from_buffer(self.data, row.offset).item = ctypes.cast(array, POINTER(c_char_p))
            _List.from_buffer(self.data, row.offset).n = len(items)
            return
        text = encode({True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value))
        self.kept.append(text)
        check(lib.dial_option_set, byref(row), self.data, text)


def job(verb, **options):
    """Runs what `dial VERB` runs and returns its JSON document as a dict; flags are keyword arguments.

    job("train", base="models/x", source="en.jsonl", target="yo.jsonl", out="runs/new", steps=100)
    score and rank return (rows, summary).
    """
    o = Options(verb, **options)
    result = c_void_p()
    rows = []
    args = [o.data]
    if verb in ("score", "rank"):
        write = _WRITE(lambda ctx, line, n: rows.extend(ctypes.string_at(line, n).decode().splitlines()) or 0)
        args += [write, None]
    try:
        check(getattr(lib, f"dial_{verb}"), *args, None, byref(result))
        text = ctypes.string_at(result).decode() if result.value else "null"
    finally:
        if result.value:
            lib.dial_free(None, result)
    document = json.loads(text)
    return ([json.loads(r) for r in rows], document) if verb in ("score", "rank") else document
