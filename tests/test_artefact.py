"""Saving and loading: whole or not at all, verified, and without pickle."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
from skl2onnx import __max_supported_opset__
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import FactorAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)

import parquetry as pqy
from parquetry import artefact, errors, exporting, folders
from parquetry.onnx_model import NULL_TEXT

ROWS = 300
FEATURES = ["x", "n", "t"]
TYPES = {"x": "double", "n": "int64", "t": "string"}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    place = rng.choice(["a", "b", "ç"], ROWS)
    return pd.DataFrame(
        {"x": rng.normal(size=ROWS), "n": rng.integers(0, 4, ROWS), "t": pd.array(place, dtype="str")}
    ).assign(y=lambda f: f["x"] + f["n"] + (f["t"] == "a"))


def encoded(*numbers: Any) -> ColumnTransformer:
    scaled = make_pipeline(*numbers) if numbers else StandardScaler()
    return ColumnTransformer([("numbers", scaled, ["x", "n"]), ("text", OneHotEncoder(handle_unknown="ignore"), ["t"])])


def fitted(model: Any, frame: pd.DataFrame, **report: Any) -> Any:
    model.fit(frame[FEATURES], frame["y"])
    model.fit_report_ = {
        "inputs": TYPES,
        "target": ["y"],
        "placement": "distributed",
        "steps": [{"step": "ridge", "placement": "distributed", "why": "", "passes": 1}],
        "engine": "local",
        "parallelism": 2,
        "passes": 3,
        "rows": ROWS,
        "seconds": 0.25,
        "data": "s3://lake/houses",
        "fingerprint": "f" * 64,
    } | report
    return model


@pytest.fixture
def model(frame: pd.DataFrame) -> Any:
    return fitted(make_pipeline(encoded(), Ridge()), frame)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


# --- round trips ----------------------------------------------------------------------------
def test_a_model_comes_back_the_same(model: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    folder = pqy.save(model, tmp_path / "deep" / "model")
    assert folder == tmp_path / "deep" / "model"
    assert sorted(content(folder)) == ["card.json", "model.onnx", "model.skops"]
    back = pqy.load(folder)
    np.testing.assert_array_equal(back.predict(frame[FEATURES]), model.predict(frame[FEATURES]))
    np.testing.assert_array_equal(back[-1].coef_, model[-1].coef_)
    assert back.fit_report_ == model.fit_report_
    assert list(tmp_path.iterdir()) == [tmp_path / "deep"]
    assert list((tmp_path / "deep").iterdir()) == [folder]


def test_the_card_tells_what_is_needed(model: Any, tmp_path: Path) -> None:
    metrics = {
        "r2": np.float64(0.75),
        "rows": np.int64(7),
        "by": {"rmse": 1.5, "bad": float("nan")},
        "list": np.arange(2),
    }
    folder = artefact.save(model, tmp_path / "m", metrics=metrics)
    text = (folder / "card.json").read_text()
    card = json.loads(text)
    assert text == json.dumps(card, indent=2, sort_keys=True) + "\n"
    assert artefact.read_card(folder) == card
    assert card["estimator"]["class"] == "sklearn.pipeline.Pipeline"
    assert ["columntransformer > text", "sklearn.preprocessing._encoders.OneHotEncoder"] in card["estimator"]["steps"]
    assert card["inputs"] == [{"name": name, "type": kind} for name, kind in TYPES.items()]
    assert card["target"] == ["y"]
    assert card["metrics"] == {"r2": 0.75, "rows": 7, "by": {"rmse": 1.5, "bad": "nan"}, "list": [0, 1]}
    assert card["data"] == {"uri": "s3://lake/houses", "fingerprint": "f" * 64, "rows": ROWS}
    assert card["placement"]["steps"][0]["placement"] == "distributed"
    assert set(card["versions"]) >= {"python", "parquetry", "scikit-learn", "numpy", "skl2onnx", "onnx", "skops"}
    opset = next(o.version for o in onnx.load(folder / "model.onnx").opset_import if o.domain == "")
    assert card["onnx"] == {"opset": opset, "skipped": None, "null_text": NULL_TEXT}
    assert card["files"]["model.onnx"]["bytes"] == (folder / "model.onnx").stat().st_size
    assert card["created"].endswith("+00:00")


def test_a_model_that_parquetry_has_not_fitted(frame: pd.DataFrame, tmp_path: Path) -> None:
    plain = make_pipeline(encoded(), Ridge()).fit(frame[FEATURES], frame["y"])
    folder = artefact.save(plain, tmp_path / "m")
    kinds = [(i["name"], i["type"]) for i in artefact.read_card(folder)["inputs"]]
    assert kinds == [("x", "double"), ("n", "double"), ("t", "string")]
    got = artefact.load_onnx(folder).predict(frame)
    np.testing.assert_allclose(got, plain.predict(frame[FEATURES]), rtol=1e-5, atol=1e-5)
    nameless = LinearRegression().fit(frame[["x", "n"]].to_numpy(), frame["y"])
    assert artefact.load_onnx(artefact.save(nameless, tmp_path / "n")).inputs == ["x0", "x1"]


def test_saving_leaves_the_model_as_it_is(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = fitted(make_pipeline(encoded(SimpleImputer(), StandardScaler()), Ridge()), frame)
    before = skops.io.dumps(model)
    steps = [id(step) for _, step in model.steps]
    artefact.save(model, tmp_path / "m")
    assert steps == [id(step) for _, step in model.steps]
    assert len(skops.io.dumps(model)) == len(before)
    model.predict(frame[FEATURES])


# --- the ONNX side --------------------------------------------------------------------------
def test_onnx_takes_frames_tables_dicts_and_single_rows(model: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    served = artefact.load_onnx(artefact.save(model, tmp_path / "m"))
    want = model.predict(frame[FEATURES])
    assert (served.inputs, served.outputs) == (FEATURES, ["prediction"])
    forms = [frame, pa.Table.from_pandas(frame), frame.to_dict("list"), pa.RecordBatch.from_pandas(frame[FEATURES])]
    for rows in forms:
        got = served.predict(rows)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert served.predict({"x": 1.5, "n": 2, "t": "a"}).shape == (1,)


def test_onnx_says_what_is_wrong_with_rows(model: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    served = artefact.load_onnx(artefact.save(model, tmp_path / "m"))
    with pytest.raises(errors.UnknownColumn, match="'n'"):
        served.predict(frame[["x", "t"]])
    for wrong in (frame.assign(x="much"), pa.table({"x": ["much"], "n": [1], "t": ["a"]})):
        with pytest.raises(errors.WrongColumnType, match="'x'"):
            served.predict(wrong)
    for wrong in (frame.assign(t=1.0), pa.table({"x": [1.0], "n": [1], "t": [1]})):
        with pytest.raises(errors.WrongColumnType, match="'t'"):
            served.predict(wrong)
    with pytest.raises(errors.BadParameter, match="no probabilities"):
        served.predict_proba(frame)


def test_onnx_runs_on_one_thread(model: Any, tmp_path: Path) -> None:
    served = artefact.load_onnx(artefact.save(model, tmp_path / "m"))
    options = served._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_any_column_name_works(frame: pd.DataFrame, tmp_path: Path) -> None:
    names = ["variable", "prediction", "a b (c)/é", "column_0", "/input"]
    rng = np.random.default_rng(0)
    odd = pd.DataFrame(rng.normal(size=(ROWS, len(names))), columns=names)
    model = make_pipeline(StandardScaler(), Ridge()).fit(odd, frame["y"])
    served = artefact.load_onnx(artefact.save(model, tmp_path / "m"))
    assert served.inputs == names
    shuffled = odd[names[::-1]]
    np.testing.assert_allclose(served.predict(shuffled), model.predict(odd), rtol=1e-5, atol=1e-5)


def test_the_file_is_valid_and_no_newer_than_both_libraries(model: Any, tmp_path: Path) -> None:
    proto = onnx.load_from_string((artefact.save(model, tmp_path / "m") / "model.onnx").read_bytes())
    onnx.checker.check_model(proto, full_check=True)
    # skl2onnx writes the lowest opset that has all the operators in use.
    assert 15 <= next(o.version for o in proto.opset_import if o.domain == "") <= exporting.target_opset()
    assert exporting.target_opset() == __max_supported_opset__
    assert [i.name for i in proto.graph.input] == FEATURES


def test_columns_that_no_step_reads_are_no_inputs(frame: pd.DataFrame) -> None:
    wide = frame.assign(when=pd.Timestamp("2026-01-01"))
    keep = ColumnTransformer([("scaled", StandardScaler(), ["x"])])
    model = make_pipeline(keep, Ridge()).fit(wide[["when", "x", "t"]], wide["y"])
    types = {"when": "timestamp[ns]", "x": "double", "t": "string"}
    assert [i.name for i in exporting.to_onnx(model, types).graph.input] == ["x"]
    with pytest.raises(errors.NotExportable, match="'x' is neither number nor text"):
        exporting.to_onnx(model, types | {"x": "timestamp[ns]"})


def test_an_unknown_category_fails_where_the_encoder_says_so(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = make_pipeline(OneHotEncoder(), Ridge()).fit(frame[["t"]], frame["y"])
    served = artefact.load_onnx(artefact.save(model, tmp_path / "m"))
    served.predict({"t": ["a"]})
    with pytest.raises(errors.BadParameter, match="refuses the rows"):
        served.predict({"t": ["never seen"]})


def test_a_search_is_exported_as_its_best_estimator(frame: pd.DataFrame, tmp_path: Path) -> None:
    search = fitted(GridSearchCV(make_pipeline(encoded(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=2), frame)
    trusted = skops.io.get_untrusted_types(data=skops.io.dumps(search))
    folder = artefact.save(search, tmp_path / "m")
    got = artefact.load_onnx(folder).predict(frame)
    np.testing.assert_allclose(got, search.predict(frame[FEATURES]), rtol=1e-5, atol=1e-5)
    assert artefact.read_card(folder)["untrusted_types"] == trusted


# --- what cannot be exported ----------------------------------------------------------------
def own_function(x: Any) -> Any:
    """A function that skops can name, and ONNX cannot hold."""
    return x * 2


class Own(TransformerMixin, BaseEstimator):
    """A class that skops can name, and skl2onnx does not know."""

    def fit(self, x: Any, y: Any = None) -> Own:
        self.fitted_ = True
        return self

    def transform(self, x: Any) -> Any:
        return x


def squared(regressor: Any, **target: Any) -> TransformedTargetRegressor:
    return TransformedTargetRegressor(regressor, check_inverse=False, **target)


UNEXPORTABLE = {
    "function": (lambda: make_pipeline(encoded(FunctionTransformer(own_function)), Ridge()), "own_function", "numbers"),
    "no converter": (lambda: make_pipeline(encoded(FactorAnalysis(2)), Ridge()), "no converter", "factoranalysis"),
    "own class": (lambda: make_pipeline(encoded(Own()), Ridge()), "no converter|skl2onnx says", "own"),
    "target function": (
        lambda: make_pipeline(encoded(), squared(Ridge(), func=own_function, inverse_func=own_function)),
        "own_function",
        "transformer",
    ),
    "target scaler": (
        lambda: make_pipeline(encoded(), squared(Ridge(), transformer=QuantileTransformer(n_quantiles=10))),
        "QuantileTransformer",
        "transformer",
    ),
}


@pytest.mark.parametrize("name", UNEXPORTABLE)
def test_what_onnx_cannot_hold_is_named(name: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    make, reason, step = UNEXPORTABLE[name]
    model = fitted(make(), frame)
    with pytest.raises(errors.NotExportable, match=reason) as caught:
        artefact.save(model, tmp_path / "m")
    assert step in caught.value.fact.lower()
    assert caught.value.why
    assert caught.value.fix
    assert not list(tmp_path.iterdir())


def test_random_baselines_have_no_onnx_form(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = DummyClassifier(strategy="stratified", random_state=0).fit(frame[FEATURES], frame["t"])
    with pytest.raises(errors.NotExportable, match="at random"):
        artefact.save(model, tmp_path / "m")


def test_skipping_onnx_is_said_aloud_and_written_down(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = fitted(make_pipeline(encoded(FunctionTransformer(own_function)), Ridge()), frame)
    with pytest.warns(UserWarning, match=r"Saved without model\.onnx: .*own_function"):
        folder = artefact.save(model, tmp_path / "m", onnx="skip")
    card = artefact.read_card(folder)
    assert "own_function" in card["onnx"]["skipped"]
    assert card["onnx"]["opset"] is None
    assert sorted(card["files"]) == ["model.skops"]
    with pytest.raises(errors.ArtefactCorrupt, match="own_function"):
        artefact.load_onnx(folder)
    with pytest.raises(errors.BadParameter, match="'maybe'"):
        artefact.save(model, tmp_path / "n", onnx="maybe")


@pytest.mark.filterwarnings("ignore:Saved without")
def test_a_lambda_has_no_skops_form(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = fitted(make_pipeline(encoded(FunctionTransformer(lambda x: x)), Ridge()), frame)
    with pytest.raises(errors.NotExportable, match="lambda") as caught:
        artefact.save(model, tmp_path / "m", onnx="skip")
    assert "module" in caught.value.fix
    assert not list(tmp_path.iterdir())


def test_an_unfitted_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.BadParameter, match="not fitted"):
        artefact.save(Ridge(), tmp_path / "m")


def test_metrics_are_plain(model: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.BadParameter, match="metrics holds a object"):
        artefact.save(model, tmp_path / "m", metrics={"r2": object()})
    assert not list(tmp_path.iterdir())


# --- whole or not at all --------------------------------------------------------------------
def test_what_is_there_is_not_replaced_unasked(model: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    folder = artefact.save(model, tmp_path / "m")
    before = content(folder)
    other = fitted(make_pipeline(encoded(), Ridge(alpha=50.0)), frame)
    with pytest.raises(errors.OutputExists, match="already there"):
        artefact.save(other, folder)
    assert content(folder) == before
    artefact.save(other, folder, overwrite=True)
    assert pqy.load(folder)[-1].alpha == 50.0
    assert list(tmp_path.iterdir()) == [folder]


def test_existing_output_is_seen_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "to_onnx", lambda *_: pytest.fail("work was done"))
    (tmp_path / "m").mkdir()
    with pytest.raises(errors.OutputExists):
        artefact.save(Ridge(), tmp_path / "m")


def test_only_artefacts_are_overwritten(model: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    for place in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.txt"):
        with pytest.raises(errors.OutputExists, match="not ours"):
            artefact.save(model, place, overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    assert (artefact.save(model, tmp_path / "empty", overwrite=True) / "card.json").is_file()


@pytest.mark.parametrize("broken", ["_write", "_swap"])
def test_a_failure_leaves_the_old_one_as_it_was(
    broken: str, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = artefact.save(model, tmp_path / "m")
    before = content(folder)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders, broken, full)
    with pytest.raises(errors.OutputNotWritable, match="No space left"):
        artefact.save(model, folder, overwrite=True)
    assert content(folder) == before
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(errors.OutputNotWritable):
        artefact.save(model, tmp_path / "new")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failed_rename_puts_the_old_one_back(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = artefact.save(model, tmp_path / "m")
    before = content(folder)
    rename = folders.os.replace

    def second_fails(source: Any, target: Any) -> None:
        if Path(source).name == "new":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(folders.os, "replace", second_fails)
    with pytest.raises(errors.OutputNotWritable, match="Input/output error"):
        artefact.save(model, folder, overwrite=True)
    assert content(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_place_that_cannot_be_written(model: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.OutputNotWritable):
        artefact.save(model, tmp_path / "file" / "m")
    with pytest.raises(errors.BadParameter, match="s3://"):
        artefact.save(model, "s3://lake/model")


# --- damage and distrust --------------------------------------------------------------------
@pytest.mark.parametrize("load", [artefact.load, artefact.load_onnx])
@pytest.mark.parametrize("name", ["model.onnx", "model.skops"])
def test_a_changed_file_is_named(name: str, load: Any, model: Any, tmp_path: Path) -> None:
    folder = artefact.save(model, tmp_path / "m")
    good = (folder / name).read_bytes()
    (folder / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(errors.ArtefactCorrupt, match=rf"{name} is not the file"):
        load(folder)
    (folder / name).write_bytes(good[:-1])
    with pytest.raises(errors.ArtefactCorrupt, match=rf"{name} has .* bytes"):
        load(folder)
    (folder / name).unlink()
    with pytest.raises(errors.ArtefactCorrupt, match=rf"{name} cannot be read"):
        load(folder)


def test_a_broken_card_is_named(model: Any, tmp_path: Path) -> None:
    folder = artefact.save(model, tmp_path / "m")
    card = artefact.read_card(folder)
    outside = card | {"files": {"../secret": {"bytes": 0, "sha256": ""}} | card["files"]}
    for text, reason in [
        ("{", "cannot be read"),
        ("[]", "not the card"),
        (json.dumps(card | {"format": 99}), "format 99"),
        (json.dumps(outside), "outside its folder"),
    ]:
        (folder / "card.json").write_text(text)
        with pytest.raises(errors.ArtefactCorrupt, match=reason):
            artefact.load(folder)
    (folder / "card.json").unlink()
    with pytest.raises(errors.ArtefactCorrupt, match="missing"):
        artefact.load(folder)
    with pytest.raises(errors.DatasetNotFound, match="no artefact"):
        artefact.load(tmp_path / "nowhere")


@pytest.mark.filterwarnings("ignore:Saved without")
def test_unknown_types_are_listed_and_not_built(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = fitted(make_pipeline(encoded(FunctionTransformer(own_function)), Ridge()), frame)
    folder = artefact.save(model, tmp_path / "m", onnx="skip")
    name = f"{own_function.__module__}.own_function"
    assert artefact.read_card(folder)["untrusted_types"] == [name]
    with pytest.raises(errors.UntrustedArtefact, match=name) as caught:
        artefact.load(folder)
    assert f"trusted=['{name}']" in caught.value.fix
    back = artefact.load(folder, trusted=[name])
    np.testing.assert_array_equal(back.predict(frame[FEATURES]), model.predict(frame[FEATURES]))
    with pytest.raises(errors.BadParameter, match="one string"):
        artefact.load(folder, trusted=name)


def test_types_can_be_trusted_as_types(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = fitted(make_pipeline(encoded(SimpleImputer(), StandardScaler()), RandomForestRegressor(3)), frame)
    folder = artefact.save(model, tmp_path / "m")
    with pytest.raises(errors.UntrustedArtefact, match=r"sklearn\.tree\._tree\.Tree"):
        artefact.load(folder, trusted=[np.dtype])
    tree = type(model[-1].estimators_[0].tree_)
    back = artefact.load(folder, trusted=[np.dtype, tree])
    np.testing.assert_array_equal(back.predict(frame[FEATURES]), model.predict(frame[FEATURES]))


def test_loading_never_unpickles(
    model: Any, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = artefact.save(model, tmp_path / "m")

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(b"")
    assert artefact.load(folder).predict(frame[FEATURES]).shape == (ROWS,)
    assert artefact.load_onnx(folder).predict(frame).shape == (ROWS,)


def test_another_scikit_learn_is_named(model: Any, tmp_path: Path) -> None:
    folder = artefact.save(model, tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        artefact.load(folder)
    card = artefact.read_card(folder)
    here = card["versions"]["scikit-learn"]
    card["versions"]["scikit-learn"] = "0.1.2"
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.warns(UserWarning, match=rf"scikit-learn 0\.1\.2 and is loaded with {here}"):
        artefact.load(folder)


def test_classifiers_and_clusters_are_served(frame: pd.DataFrame, tmp_path: Path) -> None:
    numbers = frame[["x", "n"]]
    model = LogisticRegression().fit(numbers, frame["t"])
    served = artefact.load_onnx(artefact.save(model, tmp_path / "c"))
    assert (served.predict(frame) == model.predict(numbers)).all()
    np.testing.assert_allclose(served.predict_proba(frame), model.predict_proba(numbers), atol=1e-6)
    clusters = make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=0)).fit(numbers)
    served = artefact.load_onnx(artefact.save(clusters, tmp_path / "k"))
    assert (served.predict(frame) == clusters.predict(numbers)).all()
