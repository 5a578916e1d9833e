"""The laws of who may import what, read from the source; and that importing costs nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import parquetry

LIBRARY = Path(parquetry.__file__).parent
ENGINE_PACKAGES = {"dask", "distributed", "pyspark"}
ALGORITHMS = ("boosting", "features", "classical", "foundation", "metrics", "scoring")
HEAVY = {
    "xgboost",
    "lightgbm",
    "catboost",
    "dask",
    "distributed",
    "pyspark",
    "torch",
    "sklearn",
    "pandas",
    "pyarrow",
    "numpy",
    "duckdb",
    "deltalake",
}


def module_name(file: Path) -> str:
    parts = file.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> set[str]:
    """Every module that a file imports anywhere: at its top, in a function, or for type checking."""
    package = module_name(file) if file.name == "__init__.py" else module_name(file).rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
            found.update(a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))
    return found


def files_of(*parts: str) -> list[Path]:
    """The library's files of some modules or packages, named from the library's root."""
    return sorted(f for f in LIBRARY.rglob("*.py") if set(module_name(f).split(".")[1:2]) & set(parts))


def below(name: str, *roots: str) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def test_the_reader_of_imports_reads_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws below hold only if no way of importing escapes."""
    monkeypatch.setattr(sys.modules[__name__], "LIBRARY", tmp_path / "parquetry")
    file = tmp_path / "parquetry" / "features" / "a.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import dask.array\nfrom pyspark import sql\nfrom . import b\nfrom .. import engines\nfrom ..engines import c\n"
        "import importlib\ndef f():\n    import torch\n    importlib.import_module('distributed')\n"
    )
    assert imported(file) >= {
        "dask.array",
        "pyspark.sql",
        "parquetry.features.b",
        "parquetry.engines",
        "parquetry.engines.c",
        "torch",
        "distributed",
    }


@pytest.mark.parametrize("file", files_of(*ALGORITHMS), ids=module_name)
def test_no_algorithm_names_an_engine(file: Path) -> None:
    wrong = {name for name in imported(file) if below(name, *ENGINE_PACKAGES, "parquetry.engines")}
    assert not wrong, f"{module_name(file)} imports {sorted(wrong)}"


@pytest.mark.parametrize("file", files_of("engines"), ids=module_name)
def test_no_engine_names_an_algorithm(file: Path) -> None:
    forbidden = ("sklearn", *(f"parquetry.{name}" for name in (*ALGORITHMS, "fitting", "composing", "registry")))
    wrong = {name for name in imported(file) if below(name, *forbidden)}
    assert not wrong, f"{module_name(file)} imports {sorted(wrong)}"


def test_engine_packages_are_named_in_the_engines_alone() -> None:
    """What compares engines, or measures their peers, may name them too; nothing else."""
    allowed = {"engines", "testing", "benchmarking"}
    outside = [f for f in LIBRARY.rglob("*.py") if not allowed & set(module_name(f).split("."))]
    wrong = {module_name(f): sorted(n for n in imported(f) if below(n, *ENGINE_PACKAGES)) for f in outside}
    assert {k: v for k, v in wrong.items() if v} == {}


def test_the_reading_side_knows_no_algorithm() -> None:
    for file in files_of(
        "dataset", "footers", "storage", "reading", "rows", "delta", "commit", "relational", "reduction"
    ):
        wrong = {n for n in imported(file) if below(n, "sklearn", *(f"parquetry.{a}" for a in ALGORITHMS))}
        assert not wrong, f"{module_name(file)} imports {sorted(wrong)}"


def test_importing_is_quick_and_imports_nothing_heavy() -> None:
    """The fastest of five fresh processes: the others measure who else uses the machine."""
    code = (
        "import sys, time, json; start = time.perf_counter(); import parquetry; "
        "seconds = time.perf_counter() - start; "
        "print(json.dumps([seconds, sorted({m.split('.')[0] for m in sys.modules})]))"
    )
    runs = [json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(5)]
    assert min(seconds for seconds, _ in runs) <= 0.3
    assert not HEAVY & set(runs[0][1])


def test_opening_data_and_fitting_locally_imports_no_other_engine(tmp_path: Path) -> None:
    code = f"""
import sys
import pyarrow as pa, pyarrow.parquet as pq
pq.write_table(pa.table({{"x": [1.0, 2.0, 4.0], "y": [1.0, 2.0, 3.0]}}), {str(tmp_path / "a.parquet")!r})
import parquetry as pqy
from sklearn.linear_model import LinearRegression
with pqy.open_engine("local") as engine:
    model = pqy.fit(LinearRegression(), {str(tmp_path / "a.parquet")!r}, target="y", engine=engine)
    pqy.predict(model, {str(tmp_path / "a.parquet")!r}, to={str(tmp_path / "out")!r}, engine=engine)
print(sorted(set(sys.modules) & {{"dask", "distributed", "pyspark", "torch", "matplotlib"}}))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_public_names_are_there() -> None:
    for name in parquetry.__all__:
        assert getattr(parquetry, name) is not None
    assert set(parquetry.__all__) <= set(dir(parquetry))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        parquetry.nothing  # noqa: B018
