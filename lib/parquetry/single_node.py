"""The fallback to one worker: what it takes, and what can be refused before any work is scheduled."""

from __future__ import annotations

from collections.abc import Generator
from inspect import Parameter, signature
from typing import Any

from parquetry import registry
from parquetry.errors import BadParameter, TooBigForOneNode
from parquetry.scaling_advice import scaling_advice
from parquetry.view import View, is_numeric

_GATHER_FACTOR = 3  # the rows as read, the matrix made of them, and the estimator's own copy

Steps = Generator[tuple[Any, int | None, bool], None, int | None]
"""Parts without a Fitter, the width of X before them where it is known, and whether they get the weights."""


def no_fitter(estimator: Any) -> str:
    """Why an estimator is not fitted distributed."""
    return f"There is no distributed fit for {_name(estimator)}."


def check_gathered(estimator: Any, view: View, memory: int, why: str) -> None:
    """Refuse a single-node fit of a view that would not fit, or would not work.

    Raises
    ------
    TooBigForOneNode, BadParameter
    """
    check_weights_taken(estimator, weighted=view.sample_weight is not None)
    _check_size(estimator, gathered_bytes(view), memory, why)


def check_steps(estimator: Any, view: View, memory: int) -> None:
    """Refuse at once what :func:`check_gathered` would refuse only after the passes of earlier steps.

    How wide X is after a step that is not one-to-one is not known yet: it counts as one column.

    Raises
    ------
    TooBigForOneNode, BadParameter
    """
    if registry.find(estimator) is None:
        return  # it is gathered first of all
    weighted = view.sample_weight is not None
    if weighted:
        _check_last(estimator)
    for step, width, gets_weights in _gathered_steps(estimator, len(view.features), weighted=weighted):
        check_weights_taken(step, weighted=gets_weights)
        needed = _matrix_bytes(view, 1 if width is None else width)
        _check_size(step, needed, memory, no_fitter(step), about="at least")


def gathered_bytes(view: View) -> int:
    """About how many bytes a single-node fit of a view takes."""
    dataset = view.dataset
    text = [c for c in view.columns if not is_numeric(dataset.full_schema.field(c).type)]
    stored = dataset.select(text).nbytes if text else 0
    rows = dataset.num_rows
    beside = 8 * (len(view.target) + 1)
    return int(_GATHER_FACTOR * (rows * (view.row_bytes + beside) + stored + rows * 64 * len(text)))


def _matrix_bytes(view: View, width: int) -> int:
    return _GATHER_FACTOR * view.dataset.num_rows * 8 * (width + len(view.target) + 1)


def _gathered_steps(estimator: Any, width: int | None, *, weighted: bool) -> Steps:
    from sklearn.base import OneToOneFeatureMixin
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import Pipeline

    if type(estimator) is Pipeline:
        last = len(estimator.steps) - 1
        for i, (_, step) in enumerate(estimator.steps):
            if step is not None and step != "passthrough":
                width = yield from _gathered_steps(step, width, weighted=weighted and i == last)
        return width
    if type(estimator) is TransformedTargetRegressor and estimator.regressor is not None:
        return (yield from _gathered_steps(estimator.regressor, width, weighted=weighted))
    if registry.find(estimator) is None:
        yield estimator, width, weighted
    return width if isinstance(estimator, OneToOneFeatureMixin) else None


def check_weights_taken(estimator: Any, *, weighted: bool) -> None:
    """Raise BadParameter where an estimator's own ``fit`` takes no weights and there are some."""
    if weighted and not _takes_weights(estimator):
        raise BadParameter(
            f"{_name(estimator)}.fit takes no sample_weight.",
            why="The column of weights is passed to the last step.",
            fix="Leave sample_weight= out, or end with an estimator whose fit takes it.",
        )


def _check_last(estimator: Any) -> None:
    """Refuse weights that the last step would not look at."""
    from sklearn.pipeline import Pipeline

    while type(estimator) is Pipeline:
        estimator = estimator.steps[-1][1]
    fitted_here = registry.find(estimator) is not None
    if fitted_here and not _takes_weights(estimator):
        raise BadParameter(
            f"{_name(estimator)} takes no sample weights.",
            why="scikit-learn's own fit has no such argument.",
            fix="Leave sample_weight out.",
        )


def _takes_weights(estimator: Any) -> bool:
    from sklearn.utils.validation import has_fit_parameter

    if has_fit_parameter(estimator, "sample_weight"):
        return True
    # GridSearchCV and the like hand on whatever they get: only the estimator inside can know.
    return any(p.kind is Parameter.VAR_KEYWORD for p in signature(estimator.fit).parameters.values())


def _check_size(estimator: Any, needed: int, memory: int, why: str, *, about: str = "about") -> None:
    if needed > memory:
        raise TooBigForOneNode(
            f"{_name(estimator)} needs {about} {needed / 2**30:.2f} GiB on one worker; "
            f"{memory / 2**30:.2f} GiB are allowed.",
            why=f"{why} Its rows would have to be gathered.",
            fix="Fit on data.sample(n=…), allow more with memory=, or use "
            f"{scaling_advice(estimator) or f'a class that scales: {scaling_names()}'}.",
        )


def scaling_names() -> str:
    """The names of the estimators that have a distributed fit."""
    kinds = [k for k in registry.entries() if hasattr(k, "predict")]
    return ", ".join(sorted(k.__name__ for k in kinds if k.__name__ != "Pipeline"))


def _name(estimator: Any) -> str:
    return type(estimator).__name__
