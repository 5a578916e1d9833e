"""The limit of every row: its columns read by as many threads, and dropped."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.parquet as pq

from parquetry.benchmarking.contenders.base import Contender
from parquetry.benchmarking.rows import ROWS


class Scan(Contender):
    """The same columns of the same row groups, decoded once."""

    @classmethod
    def offers(cls, row: str) -> bool:
        return row in ROWS

    def take(self, row: str, path: str, to: str) -> list[float]:
        if row == "ingest":
            return self._bytes(path)
        columns = ROWS[row].columns(self.data)
        names = sorted(os.path.join(path, n) for n in os.listdir(path) if n.endswith(".parquet"))
        footers = [(name, pq.read_metadata(name)) for name in names]
        groups = [(name, footer, i) for name, footer in footers for i in range(footer.num_row_groups)]

        def read(group: tuple[str, Any, int]) -> int:
            name, footer, index = group
            with pq.ParquetFile(name, metadata=footer, memory_map=False, pre_buffer=False) as file:
                return int(file.read_row_group(index, columns=columns, use_threads=False).num_rows)

        with ThreadPoolExecutor(self.workers) as pool:
            sum(pool.map(read, groups))
        return []

    def _bytes(self, path: str) -> list[float]:
        """The bytes of text files, read and dropped."""

        def read(name: str) -> None:
            with open(os.path.join(path, name), "rb") as file:
                while file.read(2**24):
                    pass

        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(read, sorted(os.listdir(path))))
        return []
