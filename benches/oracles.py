"""The tests' own oracles, for benches: truth by enumeration of patterns, and the order-1 relaxation in cvxpy."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
activation_patterns = importlib.import_module("activation_patterns")
sdp_oracle = importlib.import_module("sdp_oracle")
