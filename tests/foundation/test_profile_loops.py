"""The profile's loops: the same bits in NumPy and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from parquetry.foundation import profile_loops as loops

RNG = np.random.default_rng(0)
COLUMNS = {
    "normal": RNG.normal(size=20_003),
    "offset": 1e9 + RNG.normal(size=8_193),
    "few": RNG.integers(0, 40, 9_001).astype(float),
    "many": RNG.integers(0, 2_500, 30_000).astype(float),
    "mixed": np.where(RNG.random(20_000) < 0.5, RNG.integers(0, 1_200, 20_000), RNG.normal(size=20_000)),
    "signed": np.array([-0.0, 0.0, -0.0, 5.0, -5e-320, 5e-320, np.nan] * 1_300),
    "minus": np.full(9, -0.0),
    "infinite": np.array([np.inf, -np.inf, np.nan, 1.0, -2.0] * 3_000),
    "huge": np.array([1.7e308, 1.6e308, -1.7e308, 1.5e308] * 2_500),
    "missing": np.full(8_200, np.nan),
    "one": np.array([3.25]),
}


def both(monkeypatch: pytest.MonkeyPatch, work: Any) -> list[Any]:
    """What a function gives in NumPy, and compiled."""
    found = []
    for enough in (2**40, -1):
        monkeypatch.setattr(loops, "ENOUGH", enough)
        loops._seen.clear()
        found.append(work())
    return found


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = COLUMNS[name]

    def work() -> list[bytes]:
        sums = loops.chunk_sums(values)
        registers, rows = np.zeros(2**11, dtype=np.uint8), np.arange(len(values), dtype=np.uint64)
        keys, counts, lost = loops.scan_keys(values.view(np.uint64), values, registers, rows, 256, signed_zero=True)
        order = np.argsort(keys)
        cells = np.zeros(2**16, dtype=np.int64)
        loops.grid_counts(np.clip(values, -5e3, 5e3) if name != "infinite" else values, 4.0, -(2**15), cells)
        ranks = loops.cell_ranks(np.clip(values, -5e3, 5e3), 4.0, -(2**15), np.arange(2.0**16))
        loops.add_hashes(rows, registers)
        return [a.tobytes() for a in (sums, registers, rows, keys[order], counts[order], np.int64(lost), cells, ranks)]

    ours, compiled = both(monkeypatch, work)
    assert ours == compiled


def test_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [b"", b"a", b"12345678", b"123456789", *(b"x" * i for i in range(40)), "Süd".encode() * 30]
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int32)
    data = np.frombuffer(b"".join(texts), dtype=np.uint8)
    codes = RNG.integers(-1, len(texts), 500)

    def work() -> list[bytes]:
        rows = np.arange(500, dtype=np.uint64)
        hashes = loops.hash_texts(offsets, data)
        loops.add_to_rows(codes, hashes, rows)
        loops.add_to_rows(np.full(500, -1), hashes[:0], rows)
        return [hashes.tobytes(), rows.tobytes()]

    ours, compiled = both(monkeypatch, work)
    assert ours == compiled


def test_small_work_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loops._seen.clear()
    assert loops._compiled("chunk_sums", loops.ENOUGH) is None
    assert loops._compiled("chunk_sums", 1) is not None
    loops._seen.clear()
    loops.expect(loops._MANY)
    assert loops._compiled("scan_keys", 1) is None
    loops.expect(loops._MANY + 1)
    assert loops._compiled("scan_keys", 1) is not None
    loops._seen.clear()
    long = np.array([0, 9 * loops._LONG], dtype=np.int32)
    found = loops.hash_texts(long, np.zeros(9 * loops._LONG, dtype=np.uint8))
    assert loops._seen["hash_texts"] > loops.ENOUGH
    assert len(found) == 1
