"""tests/unit is on the path, so that every test finds specs.py. No test is judged by this machine's speed."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "unit"))
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
