"""Runs audits and readers where they can do no harm: in forked processes of bounded memory and time.

``Sandbox(...)`` starts this file as a server, in an interpreter that has either nothing installed (for the single-file
program) or pydual; it reads requests, runs each in a child of its own, and says how the child ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

SECONDS = 5  # of processor time
BYTES = 2**30  # more than the server has

Run = Callable[..., Callable[[], int]]  # from the arguments of a request to what a child is to do


class Sandbox:
    """A server of requests; ``run`` gives the exit code (negative: the signal that ended it) and what was printed."""

    def __init__(self, program: Path | None = None) -> None:
        options = ["-I", "-S"] if program else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        if not program:
            import pydual

            environment["PYTHONPATH"] = str(Path(pydual.__file__).parents[1])
        command = [sys.executable, *options, __file__, str(program or "")]
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def run(self, *arguments: object) -> tuple[int, str]:
        assert self._server.stdin and self._server.stdout
        print(json.dumps([str(a) for a in arguments]), file=self._server.stdin, flush=True)
        code, printed = json.loads(self._server.stdout.readline())
        return code, printed

    def close(self) -> None:
        self._server.communicate()


def _serve(run: Run) -> None:
    for line in sys.stdin:
        request = run(*json.loads(line))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _limited(request, writing)
        os.close(writing)
        with open(reading, encoding="utf-8", errors="replace") as pipe:
            printed = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([code, printed]), flush=True)


def _limited(run: Callable[[], int], pipe: int) -> None:
    """Run, and end the process with the exit code; 70 after an exception."""
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    with contextlib.suppress(OSError):  # a system that says how much is taken now
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    printed = io.StringIO()
    code = 70
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = run()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
    os.write(1, printed.getvalue().encode("utf-8", "backslashreplace"))
    os._exit(code)


def _audit(level: str, certificate: str, model: str, spec: str) -> int:
    """An audit by the installed package, with the exit codes of the program."""
    from pydual.audit import audit
    from pydual.errors import CertificateError

    try:
        print(f"accepted: proven margin {audit(certificate, *_question(model, spec), level=level).margin}")
    except CertificateError as error:
        print(f"rejected: {error}")
        return 1
    return 0


@cache
def _question(model: str, spec: str) -> tuple[Any, Any]:
    import pydual
    import pydual.audit.exact
    import pydual.audit.rounded  # noqa: F401 (so that not each child has to)

    return pydual.load(model), pydual.load_checker(spec)


def _read(reader: str, *paths: str) -> int:
    """Whether a reader (of ``readers``) refuses all files with errors of pydual: 1; 0 if it takes one."""
    from readers import READERS

    from pydual.errors import PydualError

    code = 1
    for path in paths:
        with contextlib.suppress(PydualError):
            READERS[reader](path)
            code = 0
    return code


def _installed(what: str, *paths: str) -> Callable[[], int]:
    if what == "read":
        import readers  # noqa: F401 (once, in the server)

        return lambda: _read(*paths)
    _question(*paths[1:])  # once, in the server
    return lambda: _audit(what, *paths)


def _program(path: str) -> Run:
    main = runpy.run_path(path)["main"]
    return lambda *arguments: lambda: main(arguments)


if __name__ == "__main__":
    _serve(_program(sys.argv[1]) if sys.argv[1] else _installed)
