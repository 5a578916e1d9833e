"""What the tests of searches share: rows, and comparison with scikit-learn's own search of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import clone

import parquetry as pqy
from parity import assert_same

FEATURES = ["p", "q", "r", "s"]
STREAMED = 60_000
"""So few bytes that the rows do not fit one worker: fits are distributed."""


def rows(n: int = 600) -> pa.Table:
    """Numbers, a target, two classes and three, weights, groups, days in no order."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, 4))
    y = x @ [1.0, 2.0, 0.0, -1.0] + rng.normal(size=n)
    kinds = np.array(["cold", "mild", "warm"])[np.digitize(y, [-1.0, 1.0])]
    return pa.table(
        {
            **dict(zip(FEATURES, x.T, strict=True)),
            "y": y,
            "late": (y + rng.normal(size=n) > 0).astype(np.int64),
            "kind": kinds,
            "mass": rng.uniform(0, 2, n),
            "shop": rng.choice(["a", "b", "c", "d", "e", "f"], n),
            "day": rng.permutation(n),
        }
    )


def search_both(search: Any, data: Any, engine: Any, target: str, **given: Any) -> tuple[Any, Any]:
    """Our search, and scikit-learn's own on the same rows in memory."""
    frame = pqy.open_dataset(data).to_pandas()
    ours = pqy.fit(search, data, target=target, features=FEATURES, engine=engine, **given)
    order = np.argsort(frame[given["order"]], kind="stable") if "order" in given else np.arange(len(frame))
    frame = frame.iloc[order]
    arguments: dict[str, Any] = {}
    if "groups" in given:
        arguments["groups"] = frame[given["groups"]].to_numpy()
    if "sample_weight" in given:
        arguments["sample_weight"] = frame[given["sample_weight"]].to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = clone(search).fit(frame[FEATURES], frame[target].to_numpy(), **arguments)
    return ours, theirs


def assert_same_search(ours: Any, theirs: Any, rtol: float = 1e-9) -> None:
    """All that a search learns: the columns of its results, ranks, choices; times are there and finite."""
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for name, values in theirs.cv_results_.items():
        mine = ours.cv_results_[name]
        if name.endswith("_time"):
            assert mine.shape == values.shape
            assert (mine >= 0).all()
        elif name.startswith("param"):
            assert str(mine) == str(values), name
        else:
            assert_same(mine, values, name, rtol)
    for name in ("best_index_", "best_params_", "n_splits_", "multimetric_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        assert str(getattr(ours, name, None)) == str(getattr(theirs, name, None)), name
    assert hasattr(ours, "best_score_") == hasattr(theirs, "best_score_")
    np.testing.assert_allclose(getattr(ours, "best_score_", 0), getattr(theirs, "best_score_", 0), rtol=rtol)
    assert str(ours.scorer_) == str(theirs.scorer_)
    learned = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")}
    assert learned == {name for name in vars(ours) if name.endswith("_") and not name.startswith("_")} - {"fit_report_"}
