"""The errors of pydual, as a tree.

PydualError
├── InputError            something the caller gave is not usable: what, where, what to do
│   └── UnsupportedError  understood, but outside what pydual can reason about
└── CertificateError      an audit rejected a certificate

A verdict is never an exception, and an exception is never a verdict.
"""


class PydualError(Exception):
    """Base of every error that pydual raises on purpose."""


class InputError(PydualError, ValueError):
    """A model, a property or an option is not usable; the message says what, where and what to do."""


class UnsupportedError(InputError):
    """A model or property is well formed but uses something that pydual does not cover."""


class CertificateError(PydualError):
    """A certificate does not prove what it claims; the message names the first step that fails."""
