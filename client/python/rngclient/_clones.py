"""Owns: the handles for clones: each watch's, and one of the process for epoch(). May touch: a thread
and a pipe for each watch. Never does: acknowledge a clone whose callback did not return, or let a
child of fork() end its parent's subscription.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import inspect
import operator
import os
import select
import sys
import threading
from types import TracebackType
from typing import Callable, NamedTuple, Optional, SupportsIndex, Type

from ._library import EventStruct, RngError, as_error, check, held, lib, open_handle

# After an error that stays. The library itself connects again more patiently than this.
_PAUSE_MS = 1000


class CloneEvent(NamedTuple):
    """A clone of this machine, as struct rngclient_event of rngclient.h has it."""

    generation: int  # clone generation that it began
    realtime_ns: int  # when it was noticed, CLOCK_REALTIME; 0: not known
    boottime_ns: int  # CLOCK_BOOTTIME
    notifier: int  # who noticed, a number of the protocol document
    notifier_name: str
    id: bytes  # 16 random bytes, for this event alone; all zero: not known


class _Process:
    """What a child of fork() must not take over as it is."""

    def __init__(self) -> None:
        self.forks = 0  # between the process that imported this and the present one
        self.lock = threading.Lock()
        self.handle: Optional[ctypes.c_void_p] = None  # for epoch(); the library minds forks


_process = _Process()


def _forked() -> None:
    _process.forks += 1
    _process.lock = threading.Lock()  # another thread of the parent's may have had it


os.register_at_fork(after_in_child=_forked)


class CloneWatch:
    """What on_clone() returns. stop() it, or use it as a context manager."""

    def __init__(self, callback: Callable[[CloneEvent], object]) -> None:
        if not callable(callback):
            raise TypeError("callback must be callable")
        if inspect.iscoroutinefunction(callback):
            raise TypeError("callback must do its work before it returns: no coroutine function")
        self._callback = callback
        self._error: Optional[RngError] = None
        self._forks = _process.forks
        self._lock = threading.Lock()
        self._stopping = False
        self._released = False
        self._handle = open_handle()
        try:
            check(lib.rngclient_event_fd(self._handle))
            self._wake, self._wakes = os.pipe()
        except BaseException:
            lib.rngclient_close(self._handle)
            raise
        self._thread = threading.Thread(target=self._run, name="rngclient.on_clone", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._release()
            raise

    @property
    def error(self) -> Optional[RngError]:
        """Why the last attempt to hear of clones failed; None since one succeeded, or if none
        failed. It is tried again for as long as the watch lasts. (That the daemon is gone for a
        while is no failure.)"""
        return self._error

    def stop(self) -> None:
        """Ends the subscription and the thread, and waits for a callback in progress, unless it is
        the callback that calls this. Nobody waits for this program any more then, whether it acted
        or not. In a child after fork() it closes what was inherited, and the parent's goes on.
        May be called again."""
        if self._forks != _process.forks:
            self._lock = threading.Lock()  # no other thread of the parent's is here
            self._release()
            return
        with self._lock:
            if not self._stopping:
                self._stopping = True
                os.write(self._wakes, b"\0")
        if threading.current_thread() is not self._thread:
            self._thread.join()
            self._release()

    def __enter__(self) -> CloneWatch:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.stop()

    def _release(self) -> None:
        with self._lock:
            if self._released:
                return
            self._released = True
            lib.rngclient_close(self._handle)
            os.close(self._wake)
            os.close(self._wakes)

    def _run(self) -> None:
        # In a child that a callback forked this is not the subscription's thread.
        while not self._stopping and self._forks == _process.forks:
            # The same descriptor each time, unless the program closed it: then another.
            fd = lib.rngclient_event_fd(self._handle)
            if fd >= 0:
                self._wait(fd, None)
                result = 0 if self._stopping else self._next()
            else:
                result = fd
            if result < 0:
                self._error = as_error(result)
                self._wait(-1, _PAUSE_MS)
        self._release()

    def _wait(self, fd: int, timeout_ms: Optional[int]) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if fd >= 0:
            poll.register(fd, select.POLLIN)
        poll.poll(timeout_ms)

    def _next(self) -> int:
        """Takes an event, if there is one, and acts on it. 0 or a negative errno."""
        raw = EventStruct(size=ctypes.sizeof(EventStruct))
        result: int = lib.rngclient_event_next(self._handle, ctypes.byref(raw), 0)
        if result == -errno.EAGAIN:  # often: it was only the connection that needed care
            return 0
        if result < 0:
            return result
        self._error = None
        event = CloneEvent(
            raw.generation,
            raw.realtime_ns,
            raw.boottime_ns,
            raw.notifier,
            raw.notifier_name.decode("ascii", "replace"),
            bytes(raw.id),
        )
        if not self._act(event):
            return 0
        result = lib.rngclient_event_ack(self._handle, event.generation)
        return result

    def _act(self, event: CloneEvent) -> bool:
        """Did the callback do its work? What it raised goes where that of any thread does, but the
        thread goes on: SystemExit, too, must not make this program deaf."""
        try:
            done = self._callback(event)
            if inspect.isawaitable(done):
                raise TypeError("the callback of on_clone() returned before its work was done")
        except BaseException:
            what = threading.ExceptHookArgs((*sys.exc_info(), self._thread))
            with contextlib.suppress(BaseException):
                threading.excepthook(what)
            return False
        return True


def on_clone(callback: Callable[[CloneEvent], object]) -> CloneWatch:
    """Calls callback(event), in a thread of its own, for each clone of this machine from now on.

        with rngclient.on_clone(lambda event: drop_keys_and_sessions()):
            serve()

    When the callback has returned the clone is acknowledged: everything that it calls for, and what
    earlier ones called for, is done in this program; `rngcli settle`, and so whoever restored the
    machine, waits for that. When it raises, nothing is acknowledged (the exception goes to
    threading.excepthook), and the program is named as one that did not act, until a later clone's
    callback succeeds. So a callback that cannot do its part yet tries again before it returns, and
    one that has other threads or an event loop do it waits for them: it may take as long as it
    needs. Several clones that happen meanwhile become one event, the newest.

    The thread is a daemon thread and ends with the process; stop() ends it in good order. After
    os.fork() it is the parent's alone, and so is the subscription.

    Waits for the daemon, as all calls do, and raises RngError if it cannot subscribe. Later the
    daemon may go and come back: events that happened meanwhile are not missed.
    """
    return CloneWatch(callback)


def _known(handle: ctypes.c_void_p) -> int:
    """The token, if somebody watches for clones; else 0."""
    token = int(held.rngclient_epoch(handle))
    return token if held.rngclient_epoch_same(handle, token) else 0


def epoch() -> int:
    """A token of the present clone generation, to be kept beside what must not outlive a clone (a
    key, a nonce, an identifier that was made) and given to epoch_same() before use. Take it before
    that is made. For this process and its children of fork() alone.

    RngError when nobody watches for clones, ENODATA where the daemon publishes no page.
    """
    with _process.lock:
        handle = _process.handle
        if handle is None:
            handle = _process.handle = open_handle()
    token = _known(handle)
    if token:
        return token
    # A question that the daemon must answer shows us the page of the present one.
    byte = ctypes.create_string_buffer(1)
    result = lib.rngclient_get(handle, byte, len(byte))
    token = _known(handle)
    if token:
        return token
    check(result)
    raise as_error(-errno.ENODATA)


def epoch_same(token: SupportsIndex) -> bool:
    """Is it certain that no clone was noticed since epoch() gave token? Also False when nobody
    watches any more. Some loads from memory: never waits."""
    value = operator.index(token)
    handle = _process.handle
    if handle is None or not 0 < value < 1 << 64:
        return False
    return bool(held.rngclient_epoch_same(handle, value))
