"""Owns: the C library as Python sees it, and where it is to find the daemon. May touch: the dynamic
linker, once, at import. Never does: go on with a library that lacks what is used here.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import threading
from typing import Any, Dict, Optional, Tuple, Union

SONAME = "librngclient.so.0"
DEFAULT_SOCKET = "/run/rngd/rngd.sock"  # RNGCLIENT_DEFAULT_SOCKET


class RngError(OSError):
    """The C library's error: errno and strerror are set, and filename, the daemon's socket, where that
    could not be connected to. No random byte was given."""


class EventStruct(ctypes.Structure):
    """struct rngclient_event."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("generation", ctypes.c_uint64),
        ("realtime_ns", ctypes.c_uint64),
        ("boottime_ns", ctypes.c_uint64),
        ("notifier", ctypes.c_uint32),
        ("notifier_name", ctypes.c_char * 20),
        ("id", ctypes.c_uint8 * 16),
    ]


_HANDLE = ctypes.c_void_p
_LOCAL = ctypes.c_void_p

# Result, then arguments, as in rngclient.h and rngclient_local.h.
PROTOTYPES: Dict[str, Tuple[Any, ...]] = {
    "rngclient_open": (
        ctypes.c_int,
        ctypes.POINTER(_HANDLE),
        ctypes.c_char_p,
        ctypes.c_int,
    ),
    "rngclient_get": (ctypes.c_int, _HANDLE, ctypes.c_void_p, ctypes.c_size_t),
    "rngclient_close": (None, _HANDLE),
    "rngclient_event_fd": (ctypes.c_int, _HANDLE),
    "rngclient_event_next": (
        ctypes.c_int,
        _HANDLE,
        ctypes.POINTER(EventStruct),
        ctypes.c_int,
    ),
    "rngclient_event_ack": (ctypes.c_int, _HANDLE, ctypes.c_uint64),
    "rngclient_local_open_thread": (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
    ),
    "rngclient_local_bytes": (ctypes.c_int, _LOCAL, ctypes.c_void_p, ctypes.c_size_t),
    "rngclient_local_u64": (ctypes.c_int, _LOCAL, ctypes.POINTER(ctypes.c_uint64)),
    "rngclient_local_below": (
        ctypes.c_int,
        _LOCAL,
        ctypes.c_uint64,
        ctypes.POINTER(ctypes.c_uint64),
    ),
    "rngclient_local_double": (ctypes.c_int, _LOCAL, ctypes.POINTER(ctypes.c_double)),
}

# A load or two, shorter than giving the interpreter's lock away: it is kept.
PROTOTYPES_HELD: Dict[str, Tuple[Any, ...]] = {
    "rngclient_epoch": (ctypes.c_uint64, _HANDLE),
    "rngclient_epoch_same": (ctypes.c_int, _HANDLE, ctypes.c_uint64),
}


def _declare(library: ctypes.CDLL, prototypes: Dict[str, Tuple[Any, ...]]) -> None:
    for name, (result, *arguments) in prototypes.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise ImportError(
                f"the {SONAME} that was found is older than this module and has no {name}:"
                " install both from one version of rngd, then run ldconfig"
            ) from error
        function.restype = result
        function.argtypes = arguments


def _load() -> Tuple[ctypes.CDLL, ctypes.PyDLL]:
    try:
        library, held = ctypes.CDLL(SONAME), ctypes.PyDLL(SONAME)
    except OSError as error:
        raise ImportError(
            f"rngclient needs {SONAME}, which cannot be loaded ({error}): install rngd (`make"
            " install` as root, which runs ldconfig), or start Python with the directory of the"
            " library in LD_LIBRARY_PATH"
        ) from error
    _declare(library, PROTOTYPES)
    _declare(held, PROTOTYPES_HELD)
    return library, held


lib, held = _load()


def as_error(result: int) -> RngError:
    """What a C call means by a result below 0."""
    if -result in (errno.ENOENT, errno.ECONNREFUSED, errno.EACCES):
        path = DEFAULT_SOCKET if _settings.path is None else os.fsdecode(_settings.path)
        return RngError(-result, os.strerror(-result), path)
    return RngError(-result, os.strerror(-result))


def check(result: int) -> int:
    """The result of a C call, if it is none of its errors."""
    if result < 0:
        raise as_error(result)
    return result


class _Settings:
    """Where the daemon is and how long a call waits; fixed when first used."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.used = False
        self.path: Optional[bytes] = None
        self.timeout_ms = 0


_settings = _Settings()


def _forked() -> None:
    _settings.lock = threading.Lock()  # another thread of the parent's may have had it


os.register_at_fork(after_in_child=_forked)

_PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


def configure(socket: Optional[_PathLike] = None, timeout: Optional[float] = None) -> None:
    """Says where the daemon listens, and how many seconds a call may wait for it.

    For the whole process, and before anything else here was used: RuntimeError afterwards, as
    generators and connections to the daemon before would be left. None: as the C library has it
    (/run/rngd/rngd.sock, 5 seconds). timeout may be math.inf: without end.
    """
    path = None
    if socket is not None:
        path = os.fsencode(socket)
        if not path or b"\0" in path:
            raise ValueError("socket must be a path")
    timeout_ms = 0
    if timeout is not None:
        if not timeout > 0:
            raise ValueError("timeout must be more than 0 seconds")
        timeout_ms = -1 if timeout == math.inf else math.ceil(timeout * 1000)
        if timeout_ms > 0x7FFFFFFF:
            raise ValueError("timeout is too large; math.inf is without end")
    with _settings.lock:
        if _settings.used:
            raise RuntimeError("rngclient.configure() comes before anything else of rngclient")
        _settings.path, _settings.timeout_ms = path, timeout_ms


def settings() -> Tuple[Optional[bytes], int]:
    """Path and timeout in milliseconds for the C library. They cannot change after this."""
    with _settings.lock:
        _settings.used = True
        return _settings.path, _settings.timeout_ms


def open_handle() -> ctypes.c_void_p:
    """A handle of its own, to be given to rngclient_close()."""
    handle = ctypes.c_void_p()
    check(lib.rngclient_open(ctypes.byref(handle), *settings()))
    return handle
