"""tests/unit is on the path, so that every test finds specs.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "unit"))
