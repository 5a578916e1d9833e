"""Find segments of customers: how recently, how often and for how much they buy, grouped by k-means.

    python jobs/classical/customer_segments.py
    python jobs/classical/customer_segments.py --engine dask --workers 2
    spark-submit --master spark://HOST:7077 jobs/classical/customer_segments.py --output out/spark

With no --input it runs on Online Retail (real where a copy can be had, else generated and labeled
so). With --input it takes any table of order lines; name its columns.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import parquetry as pqy
from parquetry.classical.kmeans_curve import kmeans_curve
from parquetry.config import JobConfig
from parquetry.engine import Engine
from parquetry.features.rfm import (
    MEASURES,
    Orders,
    customer_table,
    numbers_of_segments,
    segment_names,
    segment_profiles,
    segment_table,
)
from parquetry.foundation import plots_clusters
from parquetry.job import run_job
from parquetry.run import Run
from parquetry.tabular_input import open_job_input


class Config(JobConfig):
    """Customer segments by recency, frequency and monetary value."""

    customer: str = Field("CustomerID", description="The column that tells the customer.")
    order: str = Field("InvoiceNo", description="The column that tells the order.")
    date: str = Field("InvoiceDate", description="The order's date.")
    quantity: str = Field("Quantity", description="Pieces in the line; returns are negative.")
    price: str = Field("UnitPrice", description="The price of a piece.")
    segments: int | None = Field(None, ge=2, description="How many segments [default: where the curve bends].")
    most_segments: int = Field(8, ge=3, le=50, description="The curve goes from 2 to this many segments.")
    sample: int = Field(3_000, ge=100, description="Customers in the scatter plot.")

    @model_validator(mode="after")
    def _nothing_to_predict(self) -> Config:
        if self.target or self.features or self.exclude:
            raise ValueError("--target, --features and --exclude mean nothing here: name the columns of the orders")
        return self


def run(config: Config, engine: Engine, run: Run) -> None:
    """Make the measures, choose k, fit, name, write and show."""
    lines = open_job_input(config, run, default="online_retail")
    orders = Orders(config.customer, config.order, config.date, config.quantity, config.price)
    customers = customer_table(lines, orders, to=run.path("customers"), engine=engine)
    run.event("customers", customers=customers.num_rows, lines=lines.num_rows)

    # The measures span orders of magnitude: their logarithms compare.
    prepare = [FunctionTransformer(np.log1p, np.expm1, feature_names_out="one-to-one"), StandardScaler()]
    template = make_pipeline(*prepare, KMeans(n_init=5, random_state=config.seed))
    tried = numbers_of_segments(customers.num_rows, most=config.most_segments, asked=config.segments)
    curve = kmeans_curve(template, customers, tried, features=MEASURES, engine=engine)
    chosen = config.segments or curve.elbow
    why = "asked for" if config.segments else "where the curve of the inertia bends most"
    run.note(f"{chosen} segments: {why}.")
    template.set_params(kmeans__n_clusters=chosen)
    model = pqy.fit(template, customers, features=MEASURES, engine=engine)
    run.fitted("k-means", model)
    scores = pqy.evaluate(model, customers, engine=engine)
    run.metrics("k-means", scores)

    assigned = pqy.predict(
        model, customers, to=run.path("assigned"), keys=[config.customer, *MEASURES], features=MEASURES, engine=engine
    )
    centers = model[-1].cluster_centers_
    names = segment_names([dict(zip(MEASURES, center, strict=True)) for center in centers])
    segments = segment_table(assigned, config.customer, names, to=run.path("segments"), engine=engine)
    run.event("segments", customers=segments.num_rows, segments=len(names))
    profiles = segment_profiles(segments, names, engine=engine)
    run.write_json("segments.json", profiles)
    head = ["segment", "customers", "share of customers", "share of sales", *(f"mean {m}" for m in MEASURES)]
    run.table("Segments", head, [list(p.values()) for p in profiles])
    pqy.save(model, run.path("model"), metrics=scores)

    inertia = {**dict(zip(curve.ks, curve.inertia, strict=True)), chosen: scores["inertia"]}  # fitted once more
    sizes = [p["customers"] for p in profiles]
    flat = pqy.fit(make_pipeline(*prepare, PCA(2)), customers, features=MEASURES, engine=engine)
    some = customers.sample(config.sample, seed=config.seed).select(MEASURES).to_pandas()
    at = flat.transform(some)
    shares = tuple(flat[-1].explained_variance_ratio_)
    for picture in (
        plots_clusters.elbow_picture(list(inertia.items()), chosen=chosen),
        plots_clusters.profile_picture(centers, [f"log {m}" for m in MEASURES], sizes=sizes, names=names),
        plots_clusters.scatter_picture(
            at[:, 0], at[:, 1], model.predict(some), rows=customers.num_rows, explained=shares
        ),
    ):
        run.plot(picture.figure, picture.title, picture.caption)


if __name__ == "__main__":
    run_job(run, Config)
