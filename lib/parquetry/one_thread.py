"""BLAS and OpenMP held to one thread: with several they may sum in another order."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """One thread for every loaded BLAS and OpenMP until the context ends; the former limits come back then.

    OpenMP counts per calling thread: each thread has to enter for itself.
    """
    return _libraries(len(sys.modules)).limit(limits=1)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _libraries(_: int) -> ThreadpoolController:
    # Looking for the loaded libraries takes 3 ms, a short pass less: they are looked for
    # again only when modules were imported, which is what loads them.
    return ThreadpoolController()
