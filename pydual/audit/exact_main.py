"""Audit of a certificate by pydual: a proof that a neural network has no catastrophe.

    python pydual_audit.py CERTIFICATE MODEL.onnx SPEC.vnnlib

The theorem. SPEC says what a catastrophe is: an input in its box at which its condition on inputs and outputs holds. If
this program prints "accepted: proven margin m, arithmetic real", then MODEL has no catastrophe, taken as the function of
real numbers with exactly the weights in the file (those of a batch normalization are first computed in 64 bits). More than
that: write the condition as alternatives, each a list of inequalities "margin <= 0"; then at each input of an
alternative's box one of its margins is at least m. With "arithmetic float32", the same is true of the outputs that a
machine computes in 32-bit floating point, sums taken in any order. PROOFS.md says how files are read, and proves each step.

To be trusted: Python, its standard library, and this file; not the certificate, every bound is derived anew from its hints.

Exit codes: 0 accepted, 1 rejected, 2 the files are not usable, 130 interrupted.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from pydual.audit.exact import audit_exact
from pydual.audit.exact_file import open_proof
from pydual.audit.exact_onnx import read_input_file, read_network
from pydual.audit.exact_vnnlib import read_checker
from pydual.errors import CertificateError, InputError


def audit_files(certificate: str, model: str, spec: str) -> tuple[Fraction | float, str]:
    """The proven margin and the arithmetic. Raises CertificateError if rejected, InputError for unusable files."""
    if not os.path.isfile(certificate):
        raise InputError(f"There is no certificate file {certificate}; check the path.")
    network, checker = read_network(read_input_file(model)), read_checker(read_input_file(spec))
    if checker.outputs != network.output_size:
        raise InputError(f"{spec} declares {checker.outputs} outputs, {model} has {network.output_size}.")
    proof = open_proof(certificate)
    if network.folded and proof.arithmetic != "real":
        raise CertificateError("The model has constants to compute (PROOFS.md, section 6): only real arithmetic is covered.")
    return audit_exact(proof, network, checker), proof.arithmetic


def main(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code."""
    status, message = 2, "usage: pydual_audit.py CERTIFICATE MODEL.onnx SPEC.vnnlib"
    try:
        if len(arguments) == 3:
            margin, arithmetic = audit_files(*arguments)
            status, message = 0, f"accepted: proven margin {_decimal_below(margin)}, arithmetic {arithmetic}"
    except CertificateError as error:
        status, message = 1, f"rejected: {error}"
    except InputError as error:
        message = f"pydual_audit: {error}"
    except MemoryError:
        message = "pydual_audit: The memory does not suffice for this audit."
    except KeyboardInterrupt:
        return 130
    print(message, file=sys.stderr if status == 2 else sys.stdout)
    return status


def _decimal_below(margin: Fraction | float) -> str:
    if margin == math.inf:
        return "inf"
    return str(Context(prec=6, rounding=ROUND_FLOOR).divide(*map(Decimal, margin.as_integer_ratio())))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
