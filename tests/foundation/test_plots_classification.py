"""Pictures of a classifier say what its scores say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parquetry.foundation import plots
from parquetry.foundation import plots_classification as pictures

HOSTILE = "<b>$x_1$ & 'a'</b>"


def curves(k: int) -> dict[str, Any]:
    return {
        "roc_curve": {"fpr": [0.0, 0.1, 1.0], "tpr": [0.0, 0.8 - k / 100, 1.0], "thresholds": [None, 0.5, 0.1]},
        "precision_recall_curve": {
            "precision": [0.3, 0.8, 1.0],
            "recall": [1.0, 0.5, 0.0],
            "thresholds": [0.1, 0.5, None],
        },
        "gains": {"population": [0.1, 1.0], "gain": [0.42, 1.0], "lift": [4.2, 1.0]},
        "calibration": {
            kind: {"predicted": [0.05, 0.95], "true": [0.1, 0.9], "weight": [300, 20], "edges": [0.0, 0.5, 0.9, 1.0]}
            for kind in ("uniform", "quantile")
        },
    }


def scores(labels: list[Any], *, missing: Any = None) -> dict[str, Any]:
    count = len(labels)
    matrix = 100 * np.eye(count, dtype=int) + np.arange(count)
    entry = {"precision": 0.5, "recall": 0.6, "support": 1234}
    each = {
        str(label): {**entry, "f1": 0.9 - i / 50, "roc_auc": 0.8123, "average_precision": 0.9 - i / 50}
        for i, label in enumerate(labels)
    }
    drawn = {str(label): curves(i) for i, label in enumerate(labels)}
    by_class = {name: {label: c[name] for label, c in drawn.items()} for name in curves(0)}
    if missing is not None:
        by_class["roc_curve"][missing] = None
    own = curves(0) if count == 2 else by_class
    return {
        "roc_auc": 0.8123,
        "average_precision": 0.7,
        "classes": labels,
        "confusion_matrix": matrix.tolist(),
        "per_class": each,
        **own,
    }


def texts(axes: Any) -> list[str]:
    return [t.get_text() for t in axes.texts]


def legend(picture: plots.Picture) -> list[str]:
    return [t.get_text() for t in picture.figure.axes[0].get_legend().get_texts()]


def test_the_matrix_is_annotated_while_there_is_room() -> None:
    picture = pictures.confusion_picture(scores(["no", "yes"]), "answer")
    axes = picture.figure.axes[0]
    assert texts(axes) == ["99%\n100", "1%\n1", "0", "100%\n101"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["no", "yes"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted answer", "true answer")
    many = pictures.confusion_picture(scores([f"class {i}" for i in range(90)])).figure.axes[0]
    assert texts(many) == []
    assert len(many.get_xticklabels()) == 30


def test_a_class_without_rows_makes_no_share() -> None:
    found = scores(["no", "yes"]) | {"confusion_matrix": [[0, 0], [1, 3]]}
    assert texts(pictures.confusion_picture(found).figure.axes[0]) == ["0", "0", "25%\n1", "75%\n3"]


def test_two_classes_have_one_curve_each() -> None:
    found = scores(["no", "yes"])
    roc, pr = pictures.roc_picture(found), pictures.precision_recall_picture(found)
    assert legend(roc) == ["AUC 0.812"]
    assert legend(pr) == ["AP 0.880"]
    chance, curve = roc.figure.axes[0].get_lines()
    assert chance.get_xdata().tolist() == [0, 1]
    assert curve.get_ydata() == pytest.approx([0.0, 0.8, 1.0])
    assert pr.figure.axes[0].get_lines()[1].get_ydata()[0] == 0.5, "chance is the class's share of the rows"
    assert "'yes'" in roc.caption
    assert legend(pictures.gains_picture(found)) == ["first tenth holds 42%"]


@pytest.mark.parametrize(
    "draw", [pictures.roc_picture, pictures.precision_recall_picture, pictures.calibration_picture]
)
def test_of_many_classes_the_worst_are_drawn_and_it_is_said(draw: Any) -> None:
    few = draw(scores(["a", "b", "c"]))
    assert [name.split(":")[0] for name in legend(few)] == ["a", "b", "c"]
    assert "not drawn" not in few.caption
    many = draw(scores([f"class {i}" for i in range(20)]))
    assert [name.split(":")[0] for name in legend(many)] == [f"class {i}" for i in range(14, 20)]
    assert "14 are not drawn" in many.caption


def test_lines_differ_in_more_than_color() -> None:
    lines = pictures.roc_picture(scores(list("abcdef"))).figure.axes[0].get_lines()[1:]
    assert len({line.get_color() for line in lines}) == len({str(line._unscaled_dash_pattern) for line in lines}) == 6


def test_an_undefined_curve_is_left_out() -> None:
    picture = pictures.roc_picture(scores(["a", "b", "c"], missing="b"))
    assert [name.split(":")[0] for name in legend(picture)] == ["a", "c"]
    assert "1 are not drawn" in picture.caption


def test_calibration_shows_where_the_rows_are() -> None:
    axes, *_ = pictures.calibration_picture(scores(["no", "yes"])).figure.axes
    (below,) = axes.child_axes
    (steps,) = below.patches
    assert steps.get_data().values.tolist() == [300, 0, 20], "an empty bin is empty"
    assert below.get_ylabel() == "rows"
    weighted = scores(["no", "yes"])
    weighted["calibration"]["uniform"]["weight"] = [1.5, 2.5]
    assert pictures.calibration_picture(weighted).figure.axes[0].child_axes[0].get_ylabel() == "weight"


def test_bars_have_the_worst_class_on_top() -> None:
    picture = pictures.class_bars_picture(scores([f"class {i:02d}" for i in range(30)]))
    names = [t.get_text() for t in picture.figure.axes[0].get_yticklabels()]
    assert names[0] == "class 29 (1,234)"
    assert len(names) == 25
    assert "5 do better" in picture.caption


@pytest.mark.parametrize("labels", [["no", HOSTILE], [HOSTILE, "b", "c"], [False, True], list(range(8))], ids=str)
def test_all_pictures_are_whole(labels: list[Any], tmp_path: Path) -> None:
    drawn = pictures.classification_pictures(scores(labels), HOSTILE)
    assert len(drawn) == (5 if len(labels) == 2 else 6)
    for picture in drawn:
        svg = plots.as_svg(picture.figure, picture.title)
        ET.fromstring(svg)
        assert plots.INK not in svg
        assert picture.title
        assert picture.caption.endswith(".")
    plots.save_png(drawn[0].figure, tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png").convert("RGBA")
    assert image.getpixel((0, 0)) == (255, 255, 255, 255), "on white, whatever the viewer's ground"


def test_labels_alone_give_a_matrix() -> None:
    found = scores(["a", "b", "c"])
    for name in ("roc_curve", "precision_recall_curve", "gains", "calibration"):
        del found[name]
    assert [p.title for p in pictures.classification_pictures(found, "y")] == ["Confusion matrix", "Scores by class"]
    found["confusion_matrix"] = None
    assert [p.title for p in pictures.classification_pictures(found, "y")] == ["Scores by class"]
