"""Fitted scikit-learn models turned into ONNX graphs with one named input a column.

Conversion is skl2onnx's, with our own converters where it has none or rounds more than it must
(``onnx_converters``). The caller's model is never touched: containers are copied, steps shared.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parquetry.errors import NotExportable
from parquetry.onnx_model import NULL_TEXT, open_session, runtime_errors
from parquetry.onnx_polish import polish
from parquetry.onnx_steps import chain_of, flattened, graph_types, leaves_of, predictor
from parquetry.onnx_threshold import decide, threshold_of

if TYPE_CHECKING:
    from onnx import ModelProto

_SKL2ONNX_ERRORS = (
    RuntimeError,
    NotImplementedError,
    ValueError,
    TypeError,
    AssertionError,
    LookupError,
    AttributeError,
)
_WAY_OUT = "Use a step that has an ONNX form, or save with onnx='skip' to keep the scikit-learn file alone."


def to_onnx(model: Any, inputs: Mapping[str, str]) -> ModelProto:
    """The ONNX form of a fitted scikit-learn model.

    Parameters
    ----------
    model : fitted estimator or Pipeline
        Not changed.
    inputs : mapping of str to str
        The columns of X in order, with their Arrow types as text (``fit_report_["inputs"]``).

    Returns
    -------
    onnx.ModelProto
        One input of shape ``(None, 1)`` a column: float32 for numbers and booleans, text for
        text, int64 for whole numbers that are one-hot encoded and too large for float32. A null
        is NaN, and ``"<NA>"`` in a text column. Outputs: ``prediction`` (float32, shape
        ``(None, n_targets)``) for regressors; ``label`` and, where the model has them,
        ``probabilities`` (float32, shape ``(None, n_classes)``) for classifiers;
        ``transformed`` for transformers.

    Raises
    ------
    NotExportable
        Naming the step, the reason and the way out.
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor

    steps = list(flattened(model, ""))
    if not steps:
        raise NotExportable("The model has no step.", fix="Fit one first.")
    types = graph_types(steps, inputs)
    estimators = [s for _, s in steps]
    dummy = next((i for i, s in enumerate(estimators) if isinstance(s, (DummyRegressor, DummyClassifier))), None)
    if dummy is None:
        proto = _converted(model, steps, types)
    else:
        proto = _constant_graph(estimators[dummy], estimators[dummy + 1 :], types, steps[dummy][0])
    threshold = threshold_of(model)
    if threshold is not None:
        decide(proto, threshold)
    _tell(proto, predictor(model))
    _check_runs(proto, type(model).__name__)
    return proto


@functools.cache
def target_opset() -> int:
    """The newest opset that skl2onnx writes and onnxruntime reads."""
    from onnx import TensorProto, helper
    from skl2onnx import __max_supported_opset__
    from skl2onnx.proto import get_latest_tested_opset_version

    newest = min(__max_supported_opset__, get_latest_tested_opset_version())
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    for opset in range(newest, 0, -1):
        imports = [helper.make_opsetid("", opset)]
        probe = helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))
        try:
            open_session(probe.SerializeToString())
        except runtime_errors():
            continue
        return int(opset)
    raise NotExportable("skl2onnx and onnxruntime share no opset.", fix="Install the versions that Parquetry pins.")


def _converted(model: Any, steps: list[tuple[str, Any]], types: dict[str, str]) -> ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    from sklearn.base import is_classifier
    from sklearn.pipeline import Pipeline

    from parquetry import onnx_boosters
    from parquetry.onnx_converters import CONVERTERS
    from parquetry.onnx_graph import UnsupportedStepError

    for i, (path, step) in enumerate(steps):
        try:
            steps[i] = (path, onnx_boosters.prepared(step))
        except UnsupportedStepError as error:
            raise _refused(path, step, error.why, error.fix) from error
    onnx_boosters.register([step for _, step in steps])
    chain = chain_of(steps, len(types))
    leaves = [leaf for path, step in chain for leaf in leaves_of(step, path)]
    last = chain[-1][1]
    try:
        proto: ModelProto = convert_sklearn(
            Pipeline([(f"step{i}", step) for i, (_, step) in enumerate(chain)]),
            name=type(model).__name__,
            initial_types=_initial_types(types),
            target_opset=onnx_boosters.opsets(target_opset(), last),
            options={id(last): {"zipmap": False}} if is_classifier(last) else None,
            custom_shape_calculators={kind: shape for kind, (shape, _) in CONVERTERS.items()},
            custom_conversion_functions={kind: convert for kind, (_, convert) in CONVERTERS.items()},
        )
    except UnsupportedStepError as error:
        path = next((p for p, leaf in leaves if leaf is error.estimator), type(error.estimator).__name__)
        raise _refused(path, getattr(error.estimator, "transformer", error.estimator), error.why, error.fix) from error
    except (MissingConverter, MissingShapeCalculator) as error:
        path, leaf = _blamed(leaves, str(error))
        raise _refused(path, leaf, f"skl2onnx has no converter for {type(leaf).__name__}.") from error
    except _SKL2ONNX_ERRORS as error:
        path, leaf = _blamed(leaves, str(error))
        first_line = next(iter(str(error).strip().splitlines()), "")
        raise _refused(path, leaf, f"skl2onnx says: {type(error).__name__}: {first_line}") from error
    polish(proto, types, last)
    return proto


def _initial_types(types: dict[str, str]) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    # What is neither number nor text may be there as long as no step reads it: see _drop_unused.
    kinds = {"float": FloatTensorType, "whole": Int64TensorType, "text": StringTensorType, "other": StringTensorType}
    return [(f"column_{i}", kinds[kind]([None, 1])) for i, kind in enumerate(types.values())]


def _blamed(leaves: list[tuple[str, Any]], message: str) -> tuple[str, Any]:
    """The step that an error of skl2onnx names, else the last one."""
    return next(((p, leaf) for p, leaf in leaves if type(leaf).__name__ in message), leaves[-1])


def _refused(path: str, step: Any, why: str, fix: str = "") -> NotExportable:
    return NotExportable(f"Step {path!r} ({type(step).__name__}) has no ONNX form.", why=why, fix=fix or _WAY_OUT)


def _tell(proto: ModelProto, predictor: Any) -> None:
    """Facts that a reader of the graph alone needs: how a null text is fed, and what labels are."""
    from parquetry.onnx_text import rows_at_once

    facts = {"null_text": NULL_TEXT}
    rows = rows_at_once(proto)
    if rows is not None:
        facts["rows_at_once"] = str(rows)
    if np.asarray(getattr(predictor, "classes_", [])).dtype == np.bool_:
        facts["label_type"] = "bool"
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value)


def _constant_graph(dummy: Any, inverses: list[Any], types: dict[str, str], path: str) -> ModelProto:
    """The graph of a baseline, which gives every row the same answer."""
    from onnx import helper, numpy_helper
    from sklearn.base import is_classifier

    answers = _dummy_answers(dummy, inverses, path)
    types = {name: kind for name, kind in types.items() if kind != "other"}
    if not types:
        raise _refused(path, dummy, "No column is a number or text, so nothing tells the number of rows.")
    names = ["label", "probabilities"] if is_classifier(dummy) else ["prediction"]
    names = [name + "_" * (name in types) for name in names]
    ends = [helper.make_tensor_value_info(n, *_tensor(kind)) for n, kind in types.items()]
    outs, nodes = (
        [],
        [
            helper.make_node("Shape", [next(iter(types))], ["shape"], start=0, end=1, name="rows"),
        ],
    )
    constants = []
    for name, answer in zip(names, answers, strict=True):
        constants.append(numpy_helper.from_array(np.array(answer[0], answer.dtype), f"{name} of any row"))
        constants.append(numpy_helper.from_array(np.array(answer.shape[1:], dtype=np.int64), f"{name} width"))
        nodes.append(helper.make_node("Concat", ["shape", f"{name} width"], [f"{name} shape"], axis=0))
        nodes.append(helper.make_node("Expand", [f"{name} of any row", f"{name} shape"], [name]))
        kind = helper.np_dtype_to_tensor_dtype(answer.dtype)
        outs.append(helper.make_tensor_value_info(name, kind, [None, *answer.shape[1:]]))
    imports = [helper.make_opsetid("", target_opset())]
    graph = helper.make_graph(nodes, type(dummy).__name__, ends, outs, constants)
    return helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))


def _dummy_answers(dummy: Any, inverses: list[Any], path: str) -> list[Any]:
    """What a dummy says of one row: shapes (1, n_targets), or (1,) and (1, n_classes)."""
    from sklearn.base import is_classifier

    row = np.zeros((1, 1))
    if not is_classifier(dummy):
        value = dummy.predict(row).reshape(1, -1)
        for inverse in inverses:
            value = inverse.transformer.inverse_transform(value)
        return [np.asarray(value, dtype=np.float32).reshape(1, -1)]
    if dummy.strategy in ("stratified", "uniform") or dummy.n_outputs_ > 1:
        raise _refused(
            path, dummy, "It answers at random, or for several targets.", "Use strategy='prior' with one target."
        )
    label = dummy.predict(row)
    whole = label.dtype.kind in "biu"
    label = label.astype(np.int64) if whole else label.astype(object)
    return [label, dummy.predict_proba(row).astype(np.float32)]


def _tensor(kind: str) -> tuple[int, list[int | None]]:
    from onnx import TensorProto

    kinds = {"float": TensorProto.FLOAT, "whole": TensorProto.INT64, "text": TensorProto.STRING}
    return int(kinds[kind]), [None, 1]


def _check_runs(proto: ModelProto, name: str) -> None:
    """Open the graph once, so that what onnxruntime cannot run is known now and not in service."""
    from google.protobuf.message import EncodeError

    try:
        open_session(proto.SerializeToString())
    except runtime_errors() as error:
        raise NotExportable(f"onnxruntime cannot run the graph of {name}.", why=str(error), fix=_WAY_OUT) from error
    except (EncodeError, ValueError) as error:
        raise NotExportable(
            f"The graph of {name} is too large for one ONNX file.", why=str(error), fix="Fit a smaller model."
        ) from error
