"""The card of a saved model: what it takes, what it was fitted on, how good it is, what made it."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import math
import platform
from collections.abc import Iterator, Mapping
from typing import Any

from parquetry.errors import BadParameter

FORMAT = 1
_PACKAGES = ("parquetry", "scikit-learn", "numpy", "skl2onnx", "onnx", "onnxruntime", "skops")
_PLACEMENT = ("placement", "engine", "parallelism", "passes", "seconds", "steps")


def make_card(
    model: Any, inputs: Mapping[str, str], files: Mapping[str, bytes], metrics: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The card as a plain dict, without what concerns ONNX."""
    from parquetry.metrics.summary import split_curves

    report = getattr(model, "fit_report_", {})
    return {
        "format": FORMAT,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "estimator": {"class": _qualified(model), "steps": [list(step) for step in _steps(model, "")]},
        "inputs": [{"name": name, "type": kind} for name, kind in inputs.items()],
        "target": list(report.get("target", [])),
        "metrics": _plain(split_curves(metrics or {})[0]),
        "data": {"uri": report.get("data"), "fingerprint": report.get("fingerprint"), "rows": report.get("rows")},
        "placement": _plain({key: report.get(key) for key in _PLACEMENT}),
        "versions": {"python": platform.python_version(), **{name: version_of(name) for name in _PACKAGES}},
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(files.items())
        },
    }


def _steps(model: Any, path: str) -> Iterator[tuple[str, str]]:
    for attribute in ("steps", "transformers_", "transformer_list"):
        for item in getattr(model, attribute, ()):
            name = f"{path}{item[0]}"
            yield name, item[1] if isinstance(item[1], str) else _qualified(item[1])
            yield from _steps(item[1], f"{name} > ")


def _qualified(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def version_of(package: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _plain(value: Any) -> Any:
    """What JSON can hold: NumPy's numbers as Python's; NaN and infinities as text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise BadParameter(
        f"metrics holds a {type(value).__name__}.", fix="Pass numbers, texts, and lists or dicts of them."
    )
