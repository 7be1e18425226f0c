"""The compiled core; cpp/bind/ defines and documents what is in it."""

from typing import Any

def __getattr__(name: str) -> Any: ...
