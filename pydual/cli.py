"""The command line: ``pydual verify``, ``audit``, ``audit-program``, ``import``, ``demo``.

stdout carries the answer, stderr everything else. Exit codes: 0 an answer was given (whatever it is), 1 an audit
rejected a certificate, 2 the input is not usable, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn

from pydual.errors import CertificateError, InputError, PydualError

if TYPE_CHECKING:
    from pydual.audit import Accepted
    from pydual.network import Network
    from pydual.outcome import Outcome

REJECTED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
_SPEC = "a VNN-LIB property, or FILE.py:NAME for a checker that a Python file defines"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    # numpy and scipy each start a pool of OpenBLAS threads when loaded, which wait for work spinning; the core runs its own
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    args = _parser().parse_args(arguments)
    try:
        code = args.run(args)
        sys.stdout.flush()
        return code
    except PydualError as error:
        print(f"pydual: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("pydual: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"pydual: cannot write the output: {error.strerror or error}.", file=sys.stderr)
        # the reader has gone; what the interpreter flushes at exit must not raise again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help.", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pydual",
        description="Verify neural networks: every answer is an attack on the real model or an audited certificate.",
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    verify = commands.add_parser("verify", help="decide whether an ONNX network has a catastrophe")
    verify.add_argument("spec", metavar="SPEC", help=f"what is a catastrophe: {_SPEC}")
    verify.add_argument("--network", required=True, metavar="MODEL.onnx")
    verify.add_argument(
        "--proof-system",
        default="auto",
        metavar="NAME",
        help="interval, crown, alpha-crown, lp, sdp, sos, bab, milp, smt, enumeration, auto (default); "
        "no proofs: statistical, splitting, smoothing, relaxed",
    )
    verify.add_argument("--timeout", type=_seconds, metavar="S", help="seconds after which to give up (default: none)")
    verify.add_argument("--memory-limit", type=_bytes, metavar="BYTES", help="when to give up; also 500M, 4G (default: none)")
    verify.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="save the search there every few seconds; go on from it if it exists"
    )
    verify.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the attack search (default: 0)")
    _add_arithmetic(verify)
    _add_trusted(verify)
    verify.add_argument("--certificate", type=Path, metavar="FILE", help="where to save the certificate after unsat")
    verify.add_argument("--progress", action="store_true", help="show the bracket of the two players while they play")
    verify.set_defaults(run=_verify)

    audit = commands.add_parser("audit", help="check a saved certificate; exit code 0 if it is accepted, 1 if rejected")
    audit.add_argument("certificate", metavar="FILE", help="a certificate that 'pydual verify' saved")
    audit.add_argument("--network", required=True, metavar="MODEL.onnx")
    audit.add_argument("--query", required=True, metavar="SPEC", help=_SPEC)
    audit.add_argument(
        "--exact",
        action="store_true",
        help="in rational arithmetic (default: where rounding spoils a proof)",
    )
    _add_trusted(audit)
    audit.set_defaults(run=_audit)

    program = commands.add_parser("audit-program", help="write the exact audit as one file that any Python >= 3.10 runs")
    program.add_argument("file", type=Path, metavar="FILE", help="then: python FILE CERTIFICATE MODEL.onnx SPEC.vnnlib")
    program.set_defaults(run=_audit_program)

    other = commands.add_parser("import", help="prove along another tool's proof: APTP, Marabou's JSON, or a verdict")
    other.add_argument("proof", metavar="PROOF", help="an .aptp file, Marabou's proof.json, or a result file that says unsat")
    other.add_argument("--network", required=True, metavar="MODEL.onnx")
    other.add_argument("--query", required=True, metavar="SPEC.vnnlib")
    other.add_argument("--certificate", type=Path, metavar="FILE", help="where to save pydual's own certificate")
    _add_arithmetic(other)
    other.add_argument("--timeout", type=_seconds, metavar="S", help="seconds after which to give up (default: none)")
    other.set_defaults(run=_import)

    demo = commands.add_parser("demo", help="an attack, a certificate and a relaxed attack on a digits classifier")
    demo.add_argument("--output", type=Path, default=Path("pydual-demo"), metavar="DIR", help="default: pydual-demo")
    demo.set_defaults(run=_demo)
    return parser


def _add_arithmetic(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--arithmetic",
        choices=("real", "float32"),
        default="real",
        help="prove it for the model over real numbers (default), or as executed in float32, sums in any order",
    )


def _add_trusted(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trusted",
        nargs=2,
        action="append",
        default=[],
        metavar=("MODEL.onnx", "TOLERANCE"),
        help="a slower model whose outputs are nearer than this to those of the one before; the last one is proved safe",
    )


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from pydual import __version__

        print(f"pydual {__version__}")
        parser.exit()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number of seconds")
    return value


def _bytes(text: str) -> int:
    units = {"K": 10**3, "M": 10**6, "G": 10**9}
    number, unit = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, 1)
    if not (number.isascii() and number.isdigit() and int(number) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number of bytes, such as 500M or 4G")
    return int(number) * unit


def _verify(args: argparse.Namespace) -> int:
    from pydual import load, solve

    network, checker = load(args.network), _chained(_checker(args.spec), args.trusted)
    if args.certificate is not None:
        _check_writable(args.certificate)
    start = perf_counter()
    outcome = solve(
        network,
        checker,
        args.proof_system,
        arithmetic=args.arithmetic,
        timeout=args.timeout,
        memory_limit=args.memory_limit,
        seed=args.seed,
        progress=args.progress,
        checkpoint=args.checkpoint,
    )
    seconds = perf_counter() - start
    print(_answer(outcome), flush=True)
    if resumed := outcome.statistics.get("resumed"):
        print(f"resumed {args.checkpoint}, a search of {resumed['seconds']:.1f} s", file=sys.stderr)
    print(f"{outcome.proof_system}: bracket {outcome.bracket}, {seconds:.2f} s", file=sys.stderr)
    _comment(outcome, args.certificate)
    return _exit_code(outcome)


def _checker(spec: str) -> Any:
    """The checker that ``FILE.vnnlib`` or ``FILE.py:NAME`` stands for."""
    path, colon, name = spec.rpartition(":")
    if colon and path.endswith(".py"):
        from pydual.io.python_checker import load_python_checker

        return load_python_checker(path, name)
    if spec.endswith(".py"):
        raise InputError(f"{spec} does not say which checker it is; write {spec}:NAME.")
    from pydual import load_checker

    return load_checker(spec)


def _chained(checker: Any, trusted: list[list[str]]) -> Any:
    """The checker, or the chain of the models that are to be trusted."""
    if not trusted:
        return checker
    from pydual import chain, load

    return chain(checker, *((load(path), tolerance) for path, tolerance in trusted))


def _exit_code(outcome: Outcome) -> int:
    from pydual import Unknown

    return INTERRUPTED if isinstance(outcome, Unknown) and outcome.reason == "interrupted" else 0


def _import(args: argparse.Namespace) -> int:
    from pydual import certify, load, load_case_tree, load_checker

    network, checker = load(args.network), load_checker(args.query)
    if args.certificate is not None:
        _check_writable(args.certificate)
    tree = load_case_tree(args.proof, network)
    print(f"{args.proof}: {tree.leaves} leaves to be proved", file=sys.stderr)
    outcome = certify(tree, network, checker, arithmetic=args.arithmetic, timeout=args.timeout)
    print(_answer(outcome), flush=True)
    _comment(outcome, args.certificate)
    return _exit_code(outcome)


def _answer(outcome: Outcome) -> str:
    """What goes to stdout: the verdict in the first line, then the witness of an attack."""
    from pydual import Attack, Certificate, Statistical, Unknown

    match outcome:
        case Attack(x=x, y=y):
            from pydual.io.witness import witness_text

            return f"sat\n{witness_text(x, y)}"
        case Certificate():
            return "unsat"
        case Unknown(reason="timeout"):
            return "timeout"
        case Statistical():
            return "statistical"
        case _:
            return "unknown"


def _comment(outcome: Outcome, path: Path | None) -> None:
    """What goes to stderr, and the certificate file."""
    from pydual import Attack, Certificate, RelaxedAttack, Statistical, Unknown

    match outcome:
        case Attack(margin=margin, replay=replay):
            text = f"attack with margin {margin:.6g}, replayed with {replay}"
        case Certificate(margin=margin, level=level):
            text = f"certificate audited at level '{level}', arithmetic {outcome.arithmetic}, proven margin {margin:.6g}"
            if path is not None:
                text += f", {_save(outcome, path)} bytes in {path}"
        case RelaxedAttack() | Statistical():
            text = outcome.explain()
        case Unknown(reason=reason, advice=advice, open_fraction=None):
            text = f"{reason}: {advice}"
        case Unknown(reason=reason, advice=advice, open_fraction=share):
            text = f"{reason}, with {share:.3g} of the region open: {advice}"
        case _:
            raise AssertionError(f"unexpected outcome {type(outcome).__name__}")
    print(text, file=sys.stderr)


def _check_writable(path: Path) -> None:
    """Find out before the solve whether a certificate can be saved at ``path``."""
    if path.is_dir():
        raise InputError(f"The certificate cannot be saved: {path} is a directory; name a file.")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise InputError(f"The certificate cannot be saved as {path}: {error.strerror}; save it elsewhere.") from None


def _save(outcome: Outcome, path: Path) -> int:
    """Save the certificate and return its size in bytes."""
    try:
        outcome.save(path)  # type: ignore[attr-defined]
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"The certificate could not be saved as {path}: {error.strerror}.") from None


def _audit(args: argparse.Namespace) -> int:
    from pydual import load

    network, checker = load(args.network), _chained(_checker(args.query), args.trusted)
    if not Path(args.certificate).is_file():
        raise InputError(f"There is no certificate file {args.certificate}; check the path.")
    try:
        accepted = _accept(args.certificate, network, checker, args.exact)
    except CertificateError as error:
        print(f"pydual: rejected: {error}", file=sys.stderr)
        return REJECTED
    print(f"accepted: proven margin {accepted.margin:.6g}, level '{accepted.level}', arithmetic {accepted.arithmetic}")
    return 0


def _accept(certificate: str, network: Network, checker: Any, exact: bool) -> Accepted:
    """Audit in floating point first, unless ``exact``; what rounding errors spoil is decided in rational arithmetic."""
    from pydual import audit

    if not exact:
        with suppress(CertificateError):
            return audit(certificate, network, checker, level="rounded")
    return audit(certificate, network, checker, level="exact")


def _audit_program(args: argparse.Namespace) -> int:
    from pydual.audit.exact_program import write_program

    write_program(args.file)
    return 0


def _demo(args: argparse.Namespace) -> int:
    from pydual.demo.demo import show

    show(args.output)
    return 0
