"""Owns: what each thread knows of its generator. May touch: nothing else. Never does: keep a random
bit for later, or wipe less than it can: the buffer in between, not what is returned.
"""

from __future__ import annotations

import ctypes
import errno
import operator
import random
import sys
import threading
from typing import Callable, NoReturn, SupportsIndex

from ._library import check, lib, settings


class _Own(threading.local):
    ready = False  # is there a generator of this thread?


_own = _Own()

_WORD_BITS = 64


def _begin() -> None:
    """Makes this thread's generator, or learns that it has one: C code may have drawn before."""
    result = lib.rngclient_local_open_thread(*settings(), 0)
    if result != -errno.EALREADY:
        check(result)
    _own.ready = True


def _count(n: SupportsIndex, what: str) -> int:
    value = operator.index(n)
    if value < 0:
        raise ValueError(f"{what} must not be negative")
    if value > sys.maxsize:
        raise ValueError(f"{what} is too large")
    return value


def _wipe(buffer: bytearray) -> None:
    if buffer:
        ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(buffer)), 0, len(buffer))


def _draw(n: int) -> bytearray:
    """n bytes, in a buffer that the caller wipes."""
    if not _own.ready:
        _begin()
    buffer = bytearray(n)
    if n:
        place = ctypes.byref(ctypes.c_char.from_buffer(buffer))
        check(lib.rngclient_local_bytes(None, place, n))
    return buffer


def _bits(k: int) -> int:
    """k random bits as a number; 0 for none."""
    if k <= _WORD_BITS:
        if not _own.ready:
            _begin()
        word = ctypes.c_uint64()
        check(lib.rngclient_local_u64(None, ctypes.byref(word)))
        return int(word.value) >> (_WORD_BITS - k)
    buffer = _draw((k + 7) // 8)
    try:
        return int.from_bytes(buffer, "little") >> (-k % 8)
    finally:
        _wipe(buffer)


def _reject(bound: int, bits: Callable[[int], int]) -> int:
    """A number below bound, each as likely, from bits(k), which gives k random bits. A number that
    is too large is not folded into the range, which would favour some, but thrown away: of two
    tries one succeeds, or more."""
    k = (bound - 1).bit_length()
    while True:
        value = bits(k)
        if value < bound:
            return value


def token_bytes(n: SupportsIndex = 32) -> bytes:
    """n random bytes. They cannot be wiped when they are not needed any more (see the module)."""
    buffer = _draw(_count(n, "n"))
    try:
        return bytes(buffer)
    finally:
        _wipe(buffer)


def token_hex(n: SupportsIndex = 32) -> str:
    """n random bytes as 2 * n hexadecimal digits."""
    buffer = _draw(_count(n, "n"))
    try:
        return buffer.hex()
    finally:
        _wipe(buffer)


def randbelow(bound: SupportsIndex) -> int:
    """A number from 0 to bound - 1, each as likely as the other, exactly. bound: any int above 0."""
    limit = operator.index(bound)
    if limit <= 0:
        raise ValueError("bound must be above 0")
    if limit >> _WORD_BITS:
        return _reject(limit, _bits)
    if not _own.ready:
        _begin()
    word = ctypes.c_uint64()
    check(lib.rngclient_local_below(None, limit, ctypes.byref(word)))
    return int(word.value)


class Random(random.Random):
    """random.Random with the bits of the calling thread's generator, as random.SystemRandom has
    those of the kernel. It has no state: seed(), getstate(), setstate(), and so pickling and
    copying, raise NotImplementedError. (SystemRandom.seed() does nothing, which hides the mistake
    of whoever seeds to have the same numbers again.) Any number of threads may use one.
    """

    def __init__(self) -> None:
        self.gauss_next = None  # what random.Random expects of its own __init__

    def random(self) -> float:
        """A multiple of 2**-53 from 0 up to, not including, 1, each as likely."""
        if not _own.ready:
            _begin()
        number = ctypes.c_double()
        check(lib.rngclient_local_double(None, ctypes.byref(number)))
        return float(number.value)

    def getrandbits(self, k: SupportsIndex) -> int:
        """k random bits as a number; 0 for none."""
        return _bits(_count(k, "k"))

    def randbytes(self, n: SupportsIndex) -> bytes:
        """n random bytes."""
        return token_bytes(n)

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        """As normalvariate(). That of random.Random makes two numbers and keeps the second, which a
        child after fork(), or a clone of the machine, would then hand out too."""
        return self.normalvariate(mu, sigma)

    def seed(self, *args: object, **kwargs: object) -> NoReturn:
        """Not possible: what comes out depends on nothing that can be set."""
        raise NotImplementedError("a generator of rngclient cannot be seeded")

    def getstate(self) -> NoReturn:
        """Not possible: nobody can see the state."""
        raise NotImplementedError("a generator of rngclient has no state to give")

    def setstate(self, state: object) -> NoReturn:
        """Not possible, as seed()."""
        raise NotImplementedError("a generator of rngclient has no state to set")
