"""Categories at prediction: texts as the categories that a booster was fitted on, and no others."""

from __future__ import annotations

from typing import Any

from parquetry.errors import BadParameter


def as_known(model: Any, x: Any) -> Any:
    """A frame whose columns of categories have those of the fit; other forms of X as they are.

    XGBoost itself takes some categories that it has not seen for others, and says nothing.

    Parameters
    ----------
    model : fitted XGBoost estimator
    x : DataFrame or ndarray

    Raises
    ------
    BadParameter
        A value was not among the rows that the model was fitted on.
    """
    if not hasattr(x, "columns"):
        return x
    import pandas as pd

    columns = {}
    for i, (_, known) in enumerate(model.get_booster().get_categories(export_to_arrow=True).to_arrow()):
        if known is None:
            continue
        name, values = x.columns[i], x.iloc[:, i]
        index = pd.Index(known.to_pandas())
        present = pd.Index(values.dropna().unique())
        unseen = present[index.get_indexer(present.astype(object)) < 0]
        if len(unseen):
            raise BadParameter(
                f"{type(model).__name__}: column {str(name)!r} holds {unseen[0]!r}, "
                "a category not in the training set.",
                why="The model has no branch for it.",
                fix="Make it null (it is then treated as missing), or fit on rows that hold it.",
            )
        columns[name] = pd.Categorical(values.astype(object), categories=index)
    return x.assign(**columns) if columns else x
