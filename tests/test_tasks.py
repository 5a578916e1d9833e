"""What runs around every task."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, os
from concurrent.futures import ThreadPoolExecutor
from unittest import mock
from parquetry.engines import tasks

def threads(_):
    import numpy, scipy.linalg, sklearn.cluster, threadpoolctl
    return [library["num_threads"] for library in threadpoolctl.threadpool_info()]

with mock.patch.object(tasks, "one_thread", wraps=tasks.one_thread) as looked:
    found = [tasks.Guarded(threads, "count")(i) for i in range(5)]
    with ThreadPoolExecutor(1) as pool:
        found += pool.map(tasks.Guarded(threads, "count"), range(5))
print(json.dumps({"found": found, "looked": looked.call_count}))
"""


def test_libraries_loaded_later_keep_to_one_thread_in_every_task() -> None:
    """In a process of its own: the limit is for good. Each thread looks for the libraries once."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    result = json.loads(done.stdout)
    assert len(result["found"]) == 10
    assert all(counts and set(counts) == {1} for counts in result["found"])
    assert result["looked"] == 2
