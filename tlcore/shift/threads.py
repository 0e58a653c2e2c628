"""One thread for SciPy and scikit-learn: on small matrices more of them wait for each other, up to twenty times."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


def one_blas_thread(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Run the function with a single thread for linear algebra outside torch, and put the number back.

    >>> @one_blas_thread
    ... def inverse(rows: list[list[float]]) -> list[list[float]]:
    ...     import scipy.linalg
    ...
    ...     return scipy.linalg.inv(rows).tolist()
    >>> inverse([[2.0]])
    [[0.5]]
    """

    @wraps(function)
    def limited(*args: Given.args, **options: Given.kwargs) -> Made:
        import scipy.linalg  # type: ignore[import-untyped]  # noqa: F401 (the limit reaches only what is loaded)
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        with threadpool_limits(1, user_api="blas"):
            return function(*args, **options)

    return limited
