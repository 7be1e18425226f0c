"""What a call may use, and why it ends early: time, memory, and the patience of whoever presses Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from _thread import interrupt_main
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from types import FrameType, TracebackType

import numpy as np

from pydual.errors import InputError

GRACE = 2.0  # seconds that a step may go on after an interrupt before it is broken off
STATM = Path("/proc/self/statm")


class Budget:
    """A context manager. Within it, the first Ctrl-C uses up the time; the second one, or ``GRACE`` seconds, raise
    KeyboardInterrupt. That holds in the main thread under Python's own handler; any other handler is left alone.
    Raises InputError for limits that are no positive numbers.
    """

    def __init__(self, timeout: float | None = None, memory_limit: int | None = None) -> None:
        if timeout is not None and not (isinstance(timeout, Real) and timeout > 0):
            raise InputError(f"The timeout is {timeout}; give a positive number of seconds, or None.")
        if memory_limit is not None:
            if not (isinstance(memory_limit, Integral) and memory_limit > 0):
                raise InputError(f"The memory limit is {memory_limit!r}; give a positive number of bytes, or None.")
            resident_memory()
        self._begin = time.monotonic()
        self._timeout = np.inf if timeout is None else timeout
        self._memory_limit = memory_limit
        self._handles = False
        self._alarm: threading.Timer | None = None
        self.interrupted = False
        self.memory = 0

    def __enter__(self) -> Budget:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)
            self._handles = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._dismiss_alarm()
        if self._handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self._alarm = threading.Timer(GRACE, _interrupt_main_thread)
        self._alarm.daemon = True
        self._alarm.start()

    def _dismiss_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def elapsed(self) -> float:
        return time.monotonic() - self._begin

    def left(self) -> float:
        """Seconds; none once the memory is used up, or after an interrupt."""
        return 0.0 if self.interrupted or self._too_large else self._timeout - self.elapsed()

    def lasts(self) -> bool:
        """Whether the search may take another step. Looks at the memory; a search that asks need not be broken off."""
        self._dismiss_alarm()
        if self._memory_limit is not None:
            self.memory = max(self.memory, resident_memory())
        return self.left() > 0

    @property
    def _too_large(self) -> bool:
        return self._memory_limit is not None and self.memory > self._memory_limit

    @property
    def reason(self) -> str:
        """What was used up."""
        if self.interrupted:
            return "interrupted"
        if self._too_large:
            return f"memory limit: {self.memory} bytes are in use, {self._memory_limit} were allowed"
        return "timeout"

    @property
    def advice(self) -> str:
        if self.interrupted:
            return "With a checkpoint, the same call goes on where it was."
        if self._too_large:
            return "Allow more memory, or take a smaller region; a search that is resumed from a checkpoint may need less."
        return "Give more time, or a smaller region; the trace shows how fast the bracket closes."


def _interrupt_main_thread() -> None:
    """A real signal where there are such: it also wakes a system call."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        interrupt_main()


def resident_memory() -> int:
    """Bytes of this process in memory now; the most that there ever were where the system does not say.

    Raises InputError where it says neither.
    """
    with suppress(OSError, ValueError, IndexError):
        return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:
        raise InputError("This system does not tell how much memory is in use; leave out the memory limit.") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
