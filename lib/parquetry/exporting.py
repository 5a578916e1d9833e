"""Fitted scikit-learn models turned into ONNX graphs with one named input a column.

Conversion is skl2onnx's, with our own converters where it has none or rounds more than it must
(``onnx_converters``). The caller's model is never touched: containers are copied, steps shared.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from parquetry.errors import BadParameter, NotExportable

if TYPE_CHECKING:
    from onnx import ModelProto

_NUMBERS = ("bool", "int", "uint", "half", "float", "double", "decimal", "null")
_TEXTS = ("string", "large_string", "string_view", "str", "object")
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

    steps = list(_flattened(model, ""))
    if not steps:
        raise NotExportable("The model has no step.", fix="Fit one first.")
    types = _input_types(steps, inputs)
    estimators = [s for _, s in steps]
    dummy = next((i for i, s in enumerate(estimators) if isinstance(s, (DummyRegressor, DummyClassifier))), None)
    if dummy is None:
        proto = _converted(model, steps, types)
    else:
        proto = _constant_graph(estimators[dummy], estimators[dummy + 1 :], types, steps[dummy][0])
    _check_runs(proto, type(model).__name__)
    return proto


@functools.cache
def target_opset() -> int:
    """The newest opset that skl2onnx writes and onnxruntime reads."""
    import onnxruntime
    from onnx import TensorProto, helper
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, NotImplemented
    from skl2onnx import __max_supported_opset__
    from skl2onnx.proto import get_latest_tested_opset_version

    newest = min(__max_supported_opset__, get_latest_tested_opset_version())
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    for opset in range(newest, 0, -1):
        imports = [helper.make_opsetid("", opset)]
        probe = helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))
        try:
            onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
        except (Fail, InvalidGraph, NotImplemented):
            continue
        return int(opset)
    raise NotExportable("skl2onnx and onnxruntime share no opset.", fix="Install the versions that Parquetry pins.")


def input_types(model: Any) -> dict[str, str]:
    """Column names and Arrow types of X: from the fit report, else as far as the steps tell.

    A model that Parquetry has not fitted knows its names, not its types: a column is taken as
    text where its first step has learned text from it, and as a number otherwise.
    """
    report = getattr(model, "fit_report_", None)
    if report is not None:
        return dict(report["inputs"])
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        count = getattr(model, "n_features_in_", None)
        if count is None:
            raise BadParameter(f"{type(model).__name__} is not fitted.", fix="Fit it first: parquetry.fit(…).")
        names = [f"x{i}" for i in range(count)]
    text = set()
    for _, step in _flattened(model, ""):
        text = _text_positions(step, list(range(len(names))))
        break
    return {str(name): "string" if i in text else "double" for i, name in enumerate(names)}


# --- taking the model apart -----------------------------------------------------------------
def _flattened(model: Any, path: str) -> Iterator[tuple[str, Any]]:
    """``(path, step)`` of the chain that a model is, with inner Pipelines and target transforms unrolled."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import Pipeline

    from parquetry.onnx_converters import InverseTarget

    model = getattr(model, "best_estimator_", model)
    if isinstance(model, Pipeline):
        for name, step in model.steps:
            if step is not None and not (isinstance(step, str) and step == "passthrough"):
                yield from _flattened(step, f"{path}{name} › ")
    elif isinstance(model, TransformedTargetRegressor):
        yield from _flattened(model.regressor_, f"{path}regressor › ")
        yield f"{path}transformer", InverseTarget(model.transformer_)
    else:
        yield path.removesuffix(" › ") or type(model).__name__, model


def _prepared(step: Any) -> Any:
    """A step for the conversion: containers copied, columns as positions, words as transformers."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import FunctionTransformer

    if isinstance(step, str):
        return FunctionTransformer()
    if isinstance(step, Pipeline):
        chain = [(n, _prepared(s)) for n, s in step.steps if s is not None and not isinstance(s, str)]
        return Pipeline(chain or [("same", FunctionTransformer())])
    if isinstance(step, FeatureUnion):
        kept = [(n, _prepared(t)) for n, t in step.transformer_list if not (isinstance(t, str) and t == "drop")]
        return FeatureUnion(kept, transformer_weights=step.transformer_weights)
    if isinstance(step, ColumnTransformer):
        chosen = copy.copy(step)
        chosen.transformers_ = [(n, _prepared(t), positions) for n, t, positions in _branches(step)]
        return chosen
    return step


def _branches(transformer: Any) -> list[tuple[str, Any, list[int]]]:
    """``(name, fitted transformer, column positions)`` of the branches that give anything."""
    positions = transformer._transformer_to_input_indices
    return [
        (name, fitted, list(positions[name]))
        for name, fitted, _ in transformer.transformers_
        if len(positions[name]) and not (isinstance(fitted, str) and fitted == "drop")
    ]


def _first_transformer(step: Any, width: int) -> Any:
    """The step that meets the named inputs: a ColumnTransformer, made for it where it is none."""
    from sklearn.compose import ColumnTransformer

    if isinstance(step, ColumnTransformer):
        return _prepared(step)
    every = list(range(width))
    whole = ColumnTransformer([("inputs", step, every)])
    whole.transformers_ = [("inputs", _prepared(step), every)]
    whole.sparse_output_ = False
    return whole


def _leaves(step: Any, path: str) -> Iterator[tuple[str, Any]]:
    for attribute in ("transformers_", "steps", "transformer_list"):
        if hasattr(step, attribute):
            for item in getattr(step, attribute):
                yield from _leaves(item[1], f"{path} › {item[0]}")
            return
    if not isinstance(step, str):
        yield path, step


# --- inputs ---------------------------------------------------------------------------------
def _input_types(steps: list[tuple[str, Any]], inputs: Mapping[str, str]) -> dict[str, str]:
    """``"float"``, ``"text"`` or ``"whole"`` for each input."""
    kinds = {name: _kind(name, kind) for name, kind in inputs.items()}
    whole = _whole_positions(steps[0][1], list(range(len(kinds))))
    return {n: "whole" if i in whole and k == "float" else k for i, (n, k) in enumerate(kinds.items())}


def _kind(name: str, arrow_type: str) -> str:
    inner = arrow_type.split("values=", 1)[1] if arrow_type.startswith("dictionary<") else arrow_type
    if inner.startswith(_TEXTS):
        return "text"
    if inner.startswith(_NUMBERS):
        return "float"
    raise NotExportable(
        f"Column {name!r} is {arrow_type}.",
        why="An input of the ONNX model is a number or text.",
        fix="Turn it into numbers before the model, or leave it out with features=.",
    )


def _meeting(step: Any, positions: list[int]) -> Iterator[tuple[Any, list[int]]]:
    """``(leaf, columns)``: the leaves that meet the inputs as they are, with their columns."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline

    if isinstance(step, ColumnTransformer):
        for _, inner, chosen in _branches(step):
            yield from _meeting(inner, [positions[i] for i in chosen])
    elif isinstance(step, FeatureUnion):
        for _, inner in step.transformer_list:
            yield from _meeting(inner, positions)
    elif isinstance(step, Pipeline):
        yield from _meeting(step.steps[0][1], positions)
    elif not isinstance(step, str) and step is not None:
        yield step, positions


def _text_positions(step: Any, positions: list[int]) -> set[int]:
    found = set()
    for leaf, columns in _meeting(step, positions):
        learned = getattr(leaf, "categories_", None) or [[v] for v in getattr(leaf, "statistics_", [])]
        found |= {c for c, values in zip(columns, learned, strict=False) if any(isinstance(v, str) for v in values)}
    return found


def _whole_positions(step: Any, positions: list[int]) -> set[int]:
    """Columns of whole numbers that float32 could not tell apart, where an encoder meets them."""
    from parquetry.onnx_converters import FLOAT32_WHOLE

    leaves = list(_meeting(step, positions))
    found: set[int] = set()
    for leaf, columns in leaves:
        for column, values in zip(columns, getattr(leaf, "categories_", ()), strict=False):
            kind = np.asarray(values)
            if kind.dtype.kind in "iu" and len(kind) and max(abs(int(kind.min())), abs(int(kind.max()))) > FLOAT32_WHOLE:
                found.add(column)
    shared = {c for leaf, columns in leaves if not hasattr(leaf, "categories_") for c in columns}
    return found - shared


# --- conversion -----------------------------------------------------------------------------
def _converted(model: Any, steps: list[tuple[str, Any]], types: dict[str, str]) -> ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    from sklearn.base import is_classifier
    from sklearn.pipeline import Pipeline

    from parquetry.onnx_converters import CONVERTERS, UnsupportedStepError

    chain = _chain(steps, len(types))
    leaves = [leaf for path, step in chain for leaf in _leaves(step, path)]
    last = chain[-1][1]
    try:
        proto = convert_sklearn(
            Pipeline([(f"step{i}", step) for i, (_, step) in enumerate(chain)]),
            name=type(model).__name__,
            initial_types=_initial_types(types),
            target_opset=target_opset(),
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
    _named(proto, list(types), last)
    return proto


def _chain(steps: list[tuple[str, Any]], width: int) -> list[tuple[str, Any]]:
    """The steps as the converter gets them: the first one takes one named input a column."""
    path, first = steps[0]
    if hasattr(first, "predict"):
        return [(path, _first_transformer("passthrough", width)), *steps]
    return [(path, _first_transformer(first, width)), *((p, _prepared(s)) for p, s in steps[1:])]


def _initial_types(types: dict[str, str]) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    kinds = {"float": FloatTensorType, "whole": Int64TensorType, "text": StringTensorType}
    return [(f"column_{i}", kinds[kind]([None, 1])) for i, kind in enumerate(types.values())]


def _blamed(leaves: list[tuple[str, Any]], message: str) -> tuple[str, Any]:
    """The step that an error of skl2onnx names, else the last one."""
    return next(((p, leaf) for p, leaf in leaves if type(leaf).__name__ in message), leaves[-1])


def _refused(path: str, step: Any, why: str, fix: str = "") -> NotExportable:
    return NotExportable(f"Step {path!r} ({type(step).__name__}) has no ONNX form.", why=why, fix=fix or _WAY_OUT)


def _named(proto: ModelProto, inputs: list[str], last: Any) -> None:
    """The columns' own names on the inputs (skl2onnx would mangle them), and telling ones on the outputs."""
    from sklearn.base import is_classifier

    if is_classifier(last):
        outputs = ["label", "probabilities"]
    else:
        outputs = ["prediction" if hasattr(last, "predict") or type(last).__name__ == "InverseTarget" else "transformed"]
    if len(proto.graph.output) > len(outputs):
        outputs = [value.name for value in proto.graph.output]
    wanted = {f"column_{i}": name for i, name in enumerate(inputs)}
    for value, name in zip(proto.graph.output, outputs, strict=False):
        wanted[value.name] = name + "_" * (name in inputs)
    # What stays inside gets a prefix that no column has, so that no column's name can meet it.
    prefix = "/" + "/" * max((len(n) - len(n.lstrip("/")) for n in inputs), default=0)
    graph = proto.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [wanted.get(name, prefix + name) if name else name for name in names]
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = wanted.get(value.name, prefix + value.name)


def _constant_graph(dummy: Any, inverses: list[Any], types: dict[str, str], path: str) -> ModelProto:
    """The graph of a baseline, which gives every row the same answer."""
    from onnx import helper, numpy_helper
    from sklearn.base import is_classifier

    answers = _dummy_answers(dummy, inverses, path)
    names = ["label", "probabilities"] if is_classifier(dummy) else ["prediction"]
    names = [name + "_" * (name in types) for name in names]
    ends = [helper.make_tensor_value_info(n, *_tensor(kind)) for n, kind in types.items()]
    outs, nodes = [], [
        helper.make_node("Shape", [next(iter(types))], ["shape"], start=0, end=1, name="rows"),
    ]
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
        raise _refused(path, dummy, "It answers at random, or for several targets.", "Use strategy='prior' with one target.")
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
    import onnxruntime
    from google.protobuf.message import EncodeError
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
        RuntimeException,
    )

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidArgument, InvalidGraph, NotImplemented, RuntimeException) as error:
        raise NotExportable(f"onnxruntime cannot run the graph of {name}.", why=str(error), fix=_WAY_OUT) from error
    except (EncodeError, ValueError) as error:
        raise NotExportable(
            f"The graph of {name} is too large for one ONNX file.", why=str(error), fix="Fit a smaller model."
        ) from error
