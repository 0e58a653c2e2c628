from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tlcore.grading.sandbox import probe


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks on one thread: two processes with two threads each wait for each other, ten times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skip without a sandbox, and fail where one is required."""
    if obstacle := probe():
        if os.environ.get("TLCORE_REQUIRE_SANDBOX") == "1":
            pytest.fail(f"TLCORE_REQUIRE_SANDBOX=1, but: {obstacle}")
        pytest.skip(obstacle)
