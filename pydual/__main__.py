"""``python -m pydual``: the command line."""

import sys

from pydual.cli import main

sys.exit(main())
