from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = (
    "1"  # read when torch is imported: two workers with two threads each wait for each other
)

import pytest

from tlcore.grading.sandbox import probe


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skip without a sandbox, and fail where one is required."""
    if obstacle := probe():
        if os.environ.get("TLCORE_REQUIRE_SANDBOX") == "1":
            pytest.fail(f"TLCORE_REQUIRE_SANDBOX=1, but: {obstacle}")
        pytest.skip(obstacle)
