"""The example service is on the path, for the tests that run it."""

import sys
from pathlib import Path

EXAMPLES = str(Path(__file__).parents[2] / "examples")

if EXAMPLES not in sys.path:
    sys.path.append(EXAMPLES)
