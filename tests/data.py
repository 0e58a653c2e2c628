"""Where tests find real data: `$TLCORE_DATA`, or a folder shared/data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}; set TLCORE_DATA")
