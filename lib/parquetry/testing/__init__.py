"""The engine conformance suite, shipped with the library so that a new engine can prove itself.

A third party's engine is one subclass away from the same tests::

    from parquetry.testing import EngineConformance

    class TestMyEngine(EngineConformance):
        @pytest.fixture
        def engine(self):
            with MyEngine() as engine:
                yield engine
"""

from parquetry.testing.conformance import EngineConformance, digests
from parquetry.testing.estimator import on_parquet
from parquetry.testing.tables import write_mixed_table

__all__ = ["EngineConformance", "digests", "on_parquet", "write_mixed_table"]
