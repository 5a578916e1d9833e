"""DuckDB's own ``COPY``: what brings a clean CSV into Parquet fastest."""

from __future__ import annotations

import os

from parquetry.benchmarking.contenders.base import Contender


class DuckDB(Contender):
    """``COPY (SELECT * FROM read_csv(…)) TO … (FORMAT parquet)``; it has no contract, and quarantines nothing."""

    def ingest(self, path: str, to: str) -> list[float]:
        import duckdb

        os.makedirs(to)
        target = os.path.join(to, "part-0.parquet")
        with duckdb.connect(config={"threads": self.workers}) as connection:
            source = connection.read_csv(os.path.join(path, "*.csv"))
            source.write_parquet(target)
        return []
