"""The compiled part of the rounded audit; cpp/audit/module.cpp defines and documents what is in it."""

from typing import Any

def __getattr__(name: str) -> Any: ...
