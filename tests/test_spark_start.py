"""What happens when Spark's executors cannot run what the engine starts with."""

from __future__ import annotations

from typing import Any

import pytest

from parquetry.errors import EngineLost


class Broken:
    """A session on which every job fails."""

    def __init__(self) -> None:
        self.stopped = False

    def range(self, *_: Any) -> Broken:
        return self

    def mapInArrow(self, *_: Any) -> Broken:
        return self

    def toArrow(self) -> Any:
        from pyspark.errors import PySparkRuntimeError

        raise PySparkRuntimeError("No module named 'pyarrow'")

    @property
    def sparkContext(self) -> Broken:
        return self

    def setJobDescription(self, _: str | None) -> None:
        """There is no page to show it on."""

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("owned", [True, False])
def test_executors_that_cannot_start_are_told_and_leave_nothing_open(owned: bool) -> None:
    from parquetry.engines.spark import SparkEngine

    engine = SparkEngine.__new__(SparkEngine)
    engine.session, engine.parallelism, engine._owned, engine._connect = Broken(), 2, owned, False
    with pytest.raises(EngineLost, match=r"start: the Spark job failed\. .*pyarrow") as caught:
        engine._wake_slots()
    assert caught.value.fix
    assert engine.session.stopped is owned
