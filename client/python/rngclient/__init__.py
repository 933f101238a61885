"""Random bytes from rngd, the randomness daemon: librngclient for Python.

    >>> import rngclient
    >>> key = rngclient.token_bytes(32)
    >>> die = 1 + rngclient.randbelow(6)
    >>> rngclient.Random().shuffle(deck)

Numbers come from the calling thread's own generator (rngclient_local.h), which is made on first
use, seeded by the daemon, and dropped when the machine was cloned. Without a daemon that vouches
for the bytes there are none: RngError is raised, and nothing else is used instead. Its errno is that
of the C call.

Clones: on_clone() runs a function for each, and says that it is done; epoch() and epoch_same() tell
before use whether something was made before one.

Secrets in Python cannot be wiped. What is returned here as bytes, str or int, and every copy that the
program makes of it, stays in memory until the interpreter uses the place again. Who must be sure
that a key is gone uses it from C.

Threads: everything may be called from any thread; each thread that draws has a generator of its own,
and one connection with it. The interpreter's lock is released during a call, so one that waits for
the daemon (5 seconds at most, see configure()) holds up nobody else. Signals: a Python signal
handler, and so KeyboardInterrupt, runs when the call in progress has returned; handlers may draw.

os.fork() and multiprocessing: parent and child may both go on, and are never given the same bytes
(rngclient_local.h says what is different before Linux 4.14). The thread of on_clone() is the
parent's alone: a child that wants to hear of clones calls on_clone() itself.
"""

from ._clones import CloneEvent, CloneWatch, epoch, epoch_same, on_clone
from ._library import RngError, configure
from ._numbers import Random, randbelow, token_bytes, token_hex

__all__ = [
    "CloneEvent",
    "CloneWatch",
    "Random",
    "RngError",
    "configure",
    "epoch",
    "epoch_same",
    "on_clone",
    "randbelow",
    "token_bytes",
    "token_hex",
]
