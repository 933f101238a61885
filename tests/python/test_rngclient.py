"""The Python module with a real daemon behind it. The environment says where things are:

RNGD_SOCKET     where the daemon listens
RNGD_PID        what it is
RNGCLI          the program, to make clones and to ask whether they are settled
RNGD_INCLUDE    the directory of rngclient.h
RNGD_LAYOUT     what tests/python/layout.c printed

tests/system/220-python.sh starts it: `python3 -m unittest test_rngclient.py`. Gone ends the daemon, so
its name is given by itself, afterwards.
"""

import _random
import collections
import contextlib
import copy
import ctypes
import errno
import gc
import itertools
import math
import multiprocessing
import os
import pickle
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
import unittest

import rngclient
from rngclient import _clones, _library, _numbers

SOCKET = os.environ["RNGD_SOCKET"]
RNGCLI = os.environ["RNGCLI"]
TIMEOUT = 20  # of every wait, in seconds

rngclient.configure(SOCKET, timeout=TIMEOUT if "Gone" not in " ".join(sys.argv) else 0.3)


def cli(*arguments, seed=None):
    """Status and standard output of rngcli."""
    done = subprocess.run(
        [RNGCLI, "--socket", SOCKET, *arguments],
        input=seed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    return done.returncode, done.stdout.decode().strip()


def bump():
    """Clones this machine, so to speak. The generation."""
    status, out = cli("bump", seed=os.urandom(32))
    assert status == 0
    return int(out)


def settles(seconds=TIMEOUT):
    return cli("settle", "-t", str(seconds))[0] == 0


def wait_until(condition):
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it does not come")
        time.sleep(0.01)


def descriptors():
    gc.collect()  # what other tests left may be closed at any time otherwise: a Pool's pipes
    return len(os.listdir("/proc/self/fd"))


def in_child(function):
    """What function() returns in a child of os.fork(), as bytes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(3 * TIMEOUT)
        try:
            os.write(writing, function())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise AssertionError(f"the child ended with {status}")
    return said


def sixteen(_):
    return rngclient.token_bytes(16)


def is_even(counts):
    """chi-squared, against a bound that is passed by less than one run in 10^9."""
    expected = sum(counts) / len(counts)
    freedom = len(counts) - 1
    chi = sum((count - expected) ** 2 for count in counts) / expected
    return chi < freedom + 10 * math.sqrt(2 * freedom) + 20


class Declarations(unittest.TestCase):
    """What ctypes is told is what the C compiler knows."""

    TYPES = {
        "void": None,
        "int": ctypes.c_int,
        "unsigned int": ctypes.c_uint,
        "size_t": ctypes.c_size_t,
        "uint64_t": ctypes.c_uint64,
        "void *": ctypes.c_void_p,
        "char *": ctypes.c_char_p,
        "double *": ctypes.POINTER(ctypes.c_double),
        "uint64_t *": ctypes.POINTER(ctypes.c_uint64),
        "struct rngclient *": ctypes.c_void_p,
        "struct rngclient **": ctypes.POINTER(ctypes.c_void_p),
        "struct rngclient_local *": ctypes.c_void_p,
        "struct rngclient_event *": ctypes.POINTER(_library.EventStruct),
    }

    def declared(self):
        """name: (result, arguments...) for each function of the headers."""
        text = ""
        for header in ("rngclient.h", "rngclient_local.h"):
            with open(os.path.join(os.environ["RNGD_INCLUDE"], header)) as file:
                text += re.sub(r"/\*.*?\*/", " ", file.read(), flags=re.S)
        found = {}
        for result, name, arguments in re.findall(
            r"^([a-z]\w*(?: \w+)*? \*?)(rngclient_\w+)\(([^)]*)\)", text, flags=re.M
        ):
            types = [result.strip()]
            for argument in arguments.split(","):
                words = re.sub(r"\bconst\b", "", argument)
                types.append(re.sub(r"(\*+|\s)\s*\w+$", r" \1", " ".join(words.split())).strip())
            found[name] = [re.sub(r"\s+", " ", each) for each in types]
        return found

    def test_every_prototype_is_the_headers(self):
        declared = self.declared()
        self.assertGreater(len(declared), 25)
        known = {**_library.PROTOTYPES, **_library.PROTOTYPES_HELD}
        for name, types in known.items():
            self.assertEqual([self.TYPES[each] for each in declared[name]], list(types), name)
            library = _library.lib if name in _library.PROTOTYPES else _library.held
            self.assertEqual(list(getattr(library, name).argtypes), list(types[1:]), name)
            self.assertEqual(getattr(library, name).restype, types[0], name)

    def test_the_default_socket_is_the_headers(self):
        with open(os.path.join(os.environ["RNGD_INCLUDE"], "rngclient.h")) as file:
            defined = re.search(r'#define RNGCLIENT_DEFAULT_SOCKET\s+"(.*)"', file.read())
        self.assertEqual(defined and defined[1], _library.DEFAULT_SOCKET)

    def test_the_struct_is_the_headers(self):
        with open(os.environ["RNGD_LAYOUT"]) as file:
            lines = dict((line.split()[0], line.split()[1:]) for line in file)
        size = lines.pop("all")[1]
        self.assertEqual(int(size), ctypes.sizeof(_library.EventStruct))
        self.assertEqual(list(lines), [each[0] for each in _library.EventStruct._fields_])
        for name, (offset, size) in lines.items():
            member = getattr(_library.EventStruct, name)
            self.assertEqual((int(offset), int(size)), (member.offset, member.size), name)


class Numbers(unittest.TestCase):
    def test_bytes(self):
        for n in (0, 1, 7, 32, 256, 257, 5000, 1 << 20):
            self.assertEqual(len(rngclient.token_bytes(n)), n)
            self.assertRegex(rngclient.token_hex(n), "^[0-9a-f]{%d}$" % (2 * n))
        self.assertIs(type(rngclient.token_bytes()), bytes)
        self.assertEqual(len(rngclient.token_bytes()), 32)
        self.assertEqual(len(rngclient.token_hex()), 64)
        self.assertEqual(len({rngclient.token_bytes(16) for _ in range(1000)}), 1000)
        self.assertTrue(is_even([*collections.Counter(rngclient.token_bytes(100000)).values()]))

    def test_wrong_arguments(self):
        every = (
            rngclient.token_bytes,
            rngclient.token_hex,
            rngclient.randbelow,
            rngclient.Random().getrandbits,
            rngclient.Random().randbytes,
        )
        for function in every:
            for wrong in (1.0, "1", None, b"1", [1]):
                with self.assertRaises(TypeError):
                    function(wrong)
            for wrong in (-1, -(1 << 70)):
                with self.assertRaises(ValueError):
                    function(wrong)
            if function is not rngclient.randbelow:
                for wrong in (sys.maxsize + 1, 1 << 200):
                    with self.assertRaises(ValueError):
                        function(wrong)
        for function in (rngclient.token_bytes, rngclient.token_hex):
            with self.assertRaises(MemoryError):
                function(sys.maxsize)
        with self.assertRaises(ValueError):
            rngclient.randbelow(0)
        self.assertEqual(rngclient.randbelow(True), 0)

    def test_the_buffer_in_between_is_wiped(self):
        buffers = []
        draw = _numbers._draw

        def kept(n):
            buffers.append(draw(n))
            return buffers[-1]

        _numbers._draw = kept
        try:
            self.assertNotEqual(rngclient.token_bytes(64), bytes(64))
            self.assertNotEqual(rngclient.token_hex(64), "00" * 64)
            rngclient.Random().getrandbits(500)
        finally:
            _numbers._draw = draw
        self.assertEqual([bytes(each) for each in buffers], [bytes(64), bytes(64), bytes(63)])

    def test_below(self):
        for bound in (1, 2, 3, 255, 2**32, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 2**65, 3**200):
            for _ in range(50):
                self.assertIn(rngclient.randbelow(bound), range(bound))
        for bound, shift in ((6, 0), (64, 0), (3 << 64, 64), (5 << 100, 100), (1 << 67, 64)):
            counts = collections.Counter(rngclient.randbelow(bound) >> shift for _ in range(6000))
            self.assertEqual(len(counts), bound >> shift)
            self.assertTrue(is_even([*counts.values()]), (bound, counts))

    def test_rejection_is_exact(self):
        """Each word of k bits gives itself or nothing, so that each result has one word."""
        for bound in [*range(1, 70), 2**64 + 1, 2**70]:
            asked = set()
            for word in range(bound + 8) if bound < 70 else (0, bound - 1, bound, bound + 1):
                last = bound - 1

                def bits(k, words=[last, word]):
                    asked.add(k)
                    return words.pop()

                self.assertEqual(_numbers._reject(bound, bits), word if word < bound else last)
            self.assertEqual(asked, {(bound - 1).bit_length()})

    def test_getrandbits(self):
        getrandbits = rngclient.Random().getrandbits
        self.assertEqual(getrandbits(0), 0)
        for k in [*range(1, 140), 1000, 8191]:
            ones = zeros = 0
            for _ in range(60):
                word = getrandbits(k)
                self.assertEqual(word >> k, 0)
                ones |= word
                zeros |= ~word & ((1 << k) - 1)
            self.assertEqual((ones, zeros), ((1 << k) - 1,) * 2, k)


class RandomClass(unittest.TestCase):
    def setUp(self):
        self.random = rngclient.Random()

    def test_is_what_others_expect(self):
        self.assertIsInstance(self.random, random.Random)
        for _ in range(1000):
            number = self.random.random()
            self.assertTrue(0 <= number < 1)
            self.assertEqual(number * 2**53 % 1, 0)
        self.assertEqual(len(self.random.randbytes(9)), 9)
        self.assertIn(self.random.randint(3, 5), (3, 4, 5))
        self.assertEqual(sorted(self.random.sample(range(10), 10)), [*range(10)])
        orders = collections.Counter()
        for _ in range(2400):
            deck = [0, 1, 2, 3]
            self.random.shuffle(deck)
            orders[tuple(deck)] += 1
        self.assertEqual(len(orders), 24)
        self.assertTrue(is_even([*orders.values()]))
        mean = sum(self.random.gauss(10, 2) for _ in range(2000)) / 2000
        self.assertTrue(9.6 < mean < 10.4, mean)

    def test_has_no_state(self):
        for function in (
            self.random.seed,
            lambda: self.random.seed(1, version=2),
            self.random.getstate,
            lambda: self.random.setstate(random.Random().getstate()),
            lambda: pickle.dumps(self.random),
            lambda: copy.copy(self.random),
            lambda: copy.deepcopy(self.random),
        ):
            with self.assertRaises(NotImplementedError):
                function()
        with self.assertRaises(TypeError):
            rngclient.Random(1)

    def test_nothing_of_the_twister_is_used(self):
        for name, member in vars(_random.Random).items():
            if callable(member) and not name.startswith("__"):
                self.assertIn(name, vars(rngclient.Random), name)

    def test_gauss_keeps_nothing(self):
        self.random.gauss(0, 1)
        self.assertIsNone(self.random.gauss_next)
        self.random.gauss()
        child = in_child(lambda: repr(self.random.gauss(0, 1)).encode())
        self.assertNotEqual(child, repr(self.random.gauss(0, 1)).encode())


class Forks(unittest.TestCase):
    @staticmethod
    def some():
        word = b"%x %x" % (rngclient.randbelow(1 << 64), rngclient.Random().getrandbits(64))
        return rngclient.token_bytes(8) + word + rngclient.token_bytes(600)

    def test_a_child_has_other_bytes(self):
        for _ in range(5):
            rngclient.token_bytes(1)
            child, ours = in_child(self.some), self.some()
            self.assertNotEqual(child[:8], ours[:8])
            self.assertNotEqual(child, ours)
            self.assertFalse(any(child[i : i + 8] in ours for i in range(0, len(child) - 8, 8)))

    def test_grandchildren(self):
        def both():
            return in_child(lambda: rngclient.token_bytes(8)) + rngclient.token_bytes(8)

        said = both() + in_child(both) + in_child(both)
        self.assertEqual(len({said[i : i + 8] for i in range(0, len(said), 8)}), 6)

    def test_children_of_threads(self):
        said = []

        def run():
            rngclient.token_bytes(1)
            said.append(in_child(lambda: rngclient.token_bytes(16)))
            said.append(rngclient.token_bytes(16))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(said)), 8)

    def test_locks_of_other_threads(self):
        """A child has none of them, whoever held one when it was made."""
        token = rngclient.epoch()

        def child():
            said = [b"%d" % (rngclient.epoch() - token)]
            thread = threading.Thread(target=lambda: said.append(rngclient.token_bytes(16)))
            thread.start()
            thread.join(TIMEOUT)
            return said[0] + (said[1] if len(said) > 1 else b"")

        with _clones._process.lock, _library._settings.lock:
            said = in_child(child)
        self.assertEqual((said[:1], len(said)), (b"0", 17))

    def test_multiprocessing(self):
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(3) as pool:
                said = pool.map(sixteen, range(30))
            self.assertEqual(len(set(said)), 30)


class Threads(unittest.TestCase):
    def test_each_has_its_own(self):
        before = descriptors()
        said = []

        def run():
            said.extend(rngclient.token_bytes(16) for _ in range(500))
            said.append(rngclient.randbelow(1 << 128))

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(said)), 8 * 501)
        wait_until(lambda: descriptors() == before)

    def test_a_waiting_call_holds_up_nobody(self):
        """The daemon is stopped; a first draw waits for it, and another thread counts meanwhile."""
        pid, counted, said = int(os.environ["RNGD_PID"]), 0, []
        thread = threading.Thread(target=lambda: said.append(rngclient.token_bytes(4)))
        os.kill(pid, signal.SIGSTOP)
        try:
            thread.start()
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                counted += 1
            self.assertEqual(said, [])
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertGreater(counted, 100)
        thread.join()
        self.assertEqual(len(said), 1)

    def test_a_signal_handler_may_draw(self):
        said = []

        def handler(number, frame):
            said.append(rngclient.token_bytes(16))

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            while len(said) < 50:
                rngclient.token_bytes(100)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.assertEqual(len(set(said)), len(said))


class Clones(unittest.TestCase):
    """on_clone(), with clones by rngcli bump, and rngcli settle to see who acted."""

    def setUp(self):
        self.heard = []
        self.before = descriptors()

    def tearDown(self):
        self.assertTrue(settles(), "a subscriber is left that owes")
        self.assertEqual(descriptors(), self.before)
        self.assertFalse([t for t in threading.enumerate() if t.name == "rngclient.on_clone"])

    def test_one_event_for_one_clone(self):
        with rngclient.on_clone(self.heard.append) as watch:
            for count in (1, 2):
                generation = bump()
                self.assertTrue(settles())
                self.assertEqual([event.generation for event in self.heard][count - 1 :], [generation])
        event = self.heard[-1]
        self.assertIsInstance(event, rngclient.CloneEvent)
        self.assertLess(abs(event.realtime_ns / 1e9 - time.time()), 60)
        self.assertGreater(event.boottime_ns, self.heard[0].boottime_ns)
        self.assertEqual(event.notifier_name, "host")
        self.assertEqual(len(event.id), 16)
        self.assertNotEqual(event.id, self.heard[0].id)
        self.assertNotEqual(event.id, bytes(16))
        self.assertIsNone(watch.error)
        bump()
        self.assertTrue(settles())
        self.assertEqual(len(self.heard), 2)

    def test_it_is_done_when_the_callback_is(self):
        begun, go_on = threading.Event(), threading.Event()

        def callback(event):
            begun.set()
            go_on.wait(TIMEOUT)

        with rngclient.on_clone(callback):
            bump()
            self.assertTrue(begun.wait(TIMEOUT))
            self.assertFalse(settles(0.5))
            go_on.set()
            self.assertTrue(settles())

    def assert_not_acknowledged(self, fails, kind):
        reports, callbacks, hook = [], [fails, self.heard.append], threading.excepthook
        threading.excepthook = reports.append
        try:
            with rngclient.on_clone(lambda event: callbacks.pop(0)(event)):
                bump()
                wait_until(lambda: reports)
                self.assertFalse(settles(0.5))
                generation = bump()
                self.assertTrue(settles())
        finally:
            threading.excepthook = hook
        self.assertEqual([event.generation for event in self.heard], [generation])
        self.assertEqual([report.exc_type for report in reports], [kind])

    def test_what_raises_is_not_done(self):
        self.assert_not_acknowledged(lambda event: 1 // 0, ZeroDivisionError)

    def test_what_exits_is_not_done(self):
        self.assert_not_acknowledged(lambda event: sys.exit(), SystemExit)

    def test_what_is_not_awaited_is_not_done(self):
        async def later():
            pass

        coroutine = later()
        self.assert_not_acknowledged(lambda event: coroutine, TypeError)
        coroutine.close()

        async def callback(event):
            pass

        with self.assertRaises(TypeError):
            rngclient.on_clone(callback)

    def test_no_callback(self):
        with self.assertRaises(TypeError):
            rngclient.on_clone(None)

    def test_stop(self):
        watch = rngclient.on_clone(self.heard.append)
        watch.stop()
        watch.stop()
        self.assertEqual(descriptors(), self.before)
        bump()
        self.assertTrue(settles())
        self.assertEqual(self.heard, [])

    def test_stop_waits_for_the_callback(self):
        begun, ended = threading.Event(), []

        def callback(event):
            begun.set()
            time.sleep(0.3)
            ended.append(event)

        watch = rngclient.on_clone(callback)
        bump()
        self.assertTrue(begun.wait(TIMEOUT))
        watch.stop()
        self.assertEqual(len(ended), 1)

    def test_stop_in_the_callback(self):
        def callback(event):
            self.heard.append(event)
            watch.stop()
            watch.stop()

        watch = rngclient.on_clone(callback)
        bump()
        watch._thread.join(TIMEOUT)
        self.assertEqual(len(self.heard), 1)
        self.assertEqual(descriptors(), self.before)
        watch.stop()

    def test_two_watches(self):
        with rngclient.on_clone(self.heard.append), rngclient.on_clone(self.heard.append):
            bump()
            self.assertTrue(settles())
        self.assertEqual(len(self.heard), 2)
        self.assertEqual(*self.heard)

    def test_a_child_leaves_the_parents_alone(self):
        with rngclient.on_clone(self.heard.append) as watch:

            def child():
                before = descriptors()
                watch.stop()
                watch.stop()
                return b"%d" % (before - descriptors())

            self.assertGreaterEqual(int(in_child(child)), 2)
            # Nor is its thread woken, again and again.
            self.assertEqual(select.select([watch._wake], [], [], 0)[0], [])
            generation = bump()
            self.assertTrue(settles())
            self.assertEqual([event.generation for event in self.heard], [generation])

    def test_a_child_has_its_own(self):
        def child():
            heard = []
            with rngclient.on_clone(heard.append):
                generation = bump()
                if not settles():
                    return b"it is not settled"
            return b"%d" % (heard[0].generation - generation)

        with rngclient.on_clone(self.heard.append):
            self.assertEqual(in_child(child), b"0")
            self.assertTrue(settles())
        self.assertEqual(len(self.heard), 1)

    def test_a_child_of_the_callback(self):
        """It is no subscriber, even if it returns into the thread."""
        reading, writing = os.pipe()
        self.before += 1

        def callback(event):
            self.heard.append(event)
            if os.fork() == 0:
                os.close(reading)
                signal.alarm(3 * TIMEOUT)

        with rngclient.on_clone(callback):
            bump()
            wait_until(lambda: self.heard)
            os.close(writing)
            with open(reading, "rb") as pipe:
                pipe.read()  # until the child has ended
            _, status = os.wait()
            self.assertEqual(status, 0)
            self.assertTrue(settles())
        self.before -= 1

    def test_errors_are_tried_again(self):
        """As when the program closed the descriptor, or has too many of them."""
        real, calls = _clones._PAUSE_MS, []
        next_event = _library.lib.rngclient_event_next

        class Library:
            def __getattr__(self, name):
                return getattr(_library.lib, name)

            def rngclient_event_next(self, *arguments):
                calls.append(1)
                if len(calls) == 1:
                    return -errno.EMFILE
                return next_event(*arguments)

        _clones._PAUSE_MS = 50
        _clones.lib = Library()
        try:
            with rngclient.on_clone(self.heard.append) as watch:
                bump()
                wait_until(lambda: self.heard)
                self.assertIsNone(watch.error)
                calls.clear()
                _clones._PAUSE_MS = 10000
                bump()
                wait_until(lambda: watch.error)
                self.assertIsInstance(watch.error, rngclient.RngError)
                self.assertEqual(watch.error.errno, errno.EMFILE)
                begin = time.monotonic()
            self.assertLess(time.monotonic() - begin, 8)  # stop() does not wait for the pause
        finally:
            _clones._PAUSE_MS, _clones.lib = real, _library.lib


class Epochs(unittest.TestCase):
    def test_a_clone_ends_it(self):
        token = rngclient.epoch()
        self.assertGreater(token, 0)
        self.assertEqual(rngclient.epoch(), token)
        self.assertIs(rngclient.epoch_same(token), True)
        self.assertEqual(in_child(lambda: b"%d" % rngclient.epoch_same(token)), b"1")
        bump()
        self.assertIs(rngclient.epoch_same(token), False)
        after = rngclient.epoch()
        self.assertNotEqual(after, token)
        self.assertIs(rngclient.epoch_same(after), True)
        self.assertIs(rngclient.epoch_same(token), False)

    def test_what_is_no_token(self):
        token = rngclient.epoch()
        for wrong in (0, -1, token + 1, 1 << 64, token + (1 << 64)):
            self.assertIs(rngclient.epoch_same(wrong), False)
        for wrong in (None, "1", 1.0):
            with self.assertRaises(TypeError):
                rngclient.epoch_same(wrong)


class Processes(unittest.TestCase):
    """What needs a process that has not drawn yet."""

    def python(self, text, **environment):
        done = subprocess.run(
            [sys.executable, "-c", text],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        return done.returncode, done.stdout.decode()

    def test_without_the_library(self):
        directory = os.path.dirname(os.environ["RNGD_LAYOUT"])
        status, said = self.python(
            "import rngclient", LD_LIBRARY_PATH=os.path.join(directory, "no_library")
        )
        self.assertNotEqual(status, 0)
        self.assertRegex(said, r"ImportError: rngclient needs librngclient\.so\.0, .*make install")

    def test_with_an_older_library(self):
        directory = os.path.dirname(os.environ["RNGD_LAYOUT"])
        status, said = self.python(
            "import rngclient", LD_LIBRARY_PATH=os.path.join(directory, "old_library")
        )
        self.assertNotEqual(status, 0)
        self.assertRegex(said, r"ImportError: the librngclient\.so\.0 that was found is older")

    def test_without_a_daemon(self):
        for call in ("token_bytes()", "randbelow(2)", "Random().random()", "epoch()",
                     "on_clone(print)", "randbelow(1 << 70)"):  # fmt: skip
            status, said = self.python(
                "import rngclient\n"
                "rngclient.configure('/nonexistent/socket')\n"
                f"try: print('no error', rngclient.{call})\n"
                "except OSError as e: print(type(e).__name__, e.errno, e.strerror, e.filename)\n"
            )
            self.assertEqual(
                (status, said),
                (0, "RngError 2 No such file or directory /nonexistent/socket\n"),
                call,
            )

    def test_configure(self):
        for wrong in ("", "a\0b", b"", b"a\0b"):
            with self.assertRaises(ValueError):
                rngclient.configure(wrong)
        for wrong in (0, -1, -math.inf, math.nan, 1e10):
            with self.assertRaises(ValueError):
                rngclient.configure(SOCKET, wrong)
        for wrong in (5, [SOCKET]):
            with self.assertRaises(TypeError):
                rngclient.configure(wrong)
        rngclient.token_bytes(1)
        with self.assertRaises(RuntimeError):
            rngclient.configure(SOCKET)
        for timeout in ("0.0001", "1", "2147483", "math.inf", "None"):
            status, said = self.python(
                "import math, pathlib, rngclient\n"
                f"rngclient.configure(pathlib.Path({SOCKET!r}), {timeout})\n"
                "print(rngclient._library.settings()[1])\n"
            )
            milliseconds = {"0.0001": 1, "1": 1000, "2147483": 2147483000, "math.inf": -1, "None": 0}
            self.assertEqual((status, said), (0, f"{milliseconds[timeout]}\n"))

    def test_it_ends_with_a_watch(self):
        """A program that forgets to stop() ends all the same."""
        status, said = self.python(
            "import rngclient\n"
            f"rngclient.configure({SOCKET!r})\n"
            "watch = rngclient.on_clone(print)\n"
        )
        self.assertEqual((status, said), (0, ""))


class Gone(unittest.TestCase):
    """The daemon ends: no number comes any more, and no token holds."""

    def test_nothing_is_given(self):
        generator = rngclient.Random()
        token = rngclient.epoch()
        self.assertTrue(rngclient.epoch_same(token))
        rngclient.token_bytes(1)
        os.kill(int(os.environ["RNGD_PID"]), signal.SIGTERM)
        wait_until(lambda: not rngclient.epoch_same(token))
        with contextlib.suppress(rngclient.RngError):
            for _ in itertools.repeat(None, 2000):  # 1 KiB at most was made before
                rngclient.token_bytes(1)
        for call in (
            lambda: rngclient.token_bytes(1),
            lambda: rngclient.token_bytes(5000),
            rngclient.token_hex,
            lambda: rngclient.randbelow(10),
            lambda: rngclient.randbelow(1 << 100),
            generator.random,
            lambda: generator.getrandbits(3),
            lambda: generator.randbytes(3),
            lambda: generator.shuffle([1, 2, 3]),
            lambda: generator.gauss(0, 1),
            rngclient.epoch,
            lambda: rngclient.on_clone(print),
        ):
            with self.assertRaises(rngclient.RngError) as caught:
                call()
            self.assertIn(
                caught.exception.errno,
                (errno.ENOENT, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EAGAIN),
            )
            self.assertEqual(caught.exception.strerror, os.strerror(caught.exception.errno))


if __name__ == "__main__":
    unittest.main()
