"""ydata-profiling at work: run by an interpreter of its own environment, which knows nothing of Parquetry.

It reads an order a line as JSON, ``{"path": ..., "columns": [...]}``, and answers each with a line of JSON:
``{"answer": [...]}`` or ``{"error": "..."}``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Answer orders until there are no more."""
    # What the library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            reply: dict[str, Any] = {"answer": described(order["path"], order["columns"])}
        except Exception as error:  # noqa: BLE001 (whatever goes wrong here is the contender's result)
            reply = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


def described(path: str, columns: list[str]) -> list[float]:
    """Mean, deviation and quartiles of each column, from a minimal report; its page is not made."""
    import pandas as pd
    from ydata_profiling import ProfileReport

    frame = pd.read_parquet(path, columns=columns)
    found = ProfileReport(frame, minimal=True, progress_bar=False).get_description().variables
    return [float(found[c][name]) for c in columns for name in ("mean", "std", "25%", "50%", "75%")]


if __name__ == "__main__":
    main()
