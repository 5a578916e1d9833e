"""Pictures of clusters say what they are given."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from parquetry.foundation import plots
from parquetry.foundation.plots_clusters import elbow_picture, profile_picture, scatter_picture


def test_the_elbow_is_marked() -> None:
    picture = elbow_picture([(3, 50.0, 0.4), (2, 90.0, 0.5), (4, 40_000.0, 0.1)], chosen=3)
    curve, mark = picture.figure.axes[0].get_lines()
    assert curve.get_xydata().tolist() == [[2, 90], [3, 50], [4, 40_000]]
    assert mark.get_xydata().tolist() == [[3, 50]]
    assert [t.get_text() for t in picture.figure.axes[0].texts] == ["3 clusters: 50"]
    assert len(elbow_picture([(2, 1.0), (3, 0.5)]).figure.axes[0].get_lines()) == 1


def test_profiles_show_the_features_that_differ_most() -> None:
    centers = np.zeros((2, 40))
    centers[0] = np.arange(40) / 20
    picture = profile_picture(centers, [f"f{i}" for i in range(40)], sizes=[30, 10], names=["low", "high"])
    axes = picture.figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [f"f{i}" for i in range(39, 19, -1)]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0: low\n75%", "1: high\n25%"]
    assert axes.texts[2].get_text() == "+1.9"
    assert "of 40" in picture.caption
    wide = profile_picture(np.ones((30, 10)), [f"f{i}" for i in range(10)])
    assert not wide.figure.axes[0].texts, "no room for numbers"
    low, high = wide.figure.axes[0].images[0].get_clim()
    assert (low, high) == (-1.0, 1.0), "the mean of all rows has no color"


@pytest.mark.parametrize("n", [60, 2_000])
def test_a_sample_is_called_one(n: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 4 - 1
    picture = scatter_picture(rng.normal(size=n), rng.normal(size=n), labels, rows=1_000_000, explained=(0.41, 0.2))
    axes = picture.figure.axes[0]
    assert [t.get_text() for t in axes.texts] == ["0", "1", "2"], "noise is no cluster"
    assert sum(len(c.get_offsets()) for c in axes.collections) == n
    assert axes.get_xlabel() == "first component (41% of the variance)"
    assert picture.caption.startswith(f"A sample of {n:,} of 1,000,000 rows.")
    assert "noise" in picture.caption
    svg = plots.as_svg(picture.figure, picture.title)
    ET.fromstring(svg)
    assert ("data:image/png" in svg) == (n > 1500), "many points are one image"
    assert len(svg) < 400_000
    everything = scatter_picture([0.0, 1.0], [0.0, 1.0], [0, 1], rows=2)
    assert everything.caption.startswith("All 2 rows.")
    assert "noise" not in everything.caption
