"""From a source to what is worth seeing of it: the tables and pictures of a report on any table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from parquetry.dataset import Dataset
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.foundation import plots_pairs
from parquetry.foundation.missing_together import MOST_COLUMNS, MissingTogether, Together
from parquetry.foundation.plots import Picture
from parquetry.foundation.plots_missing import together_picture
from parquetry.foundation.plots_profile import profile_pictures
from parquetry.foundation.plots_target import target_pictures
from parquetry.foundation.plots_times import season_pictures, trend_picture
from parquetry.foundation.profile_results import ColumnProfile, Profile
from parquetry.foundation.row_sample import Sample, sample_rows
from parquetry.foundation.times import Rhythm, TimeCounts, calendar_of

if TYPE_CHECKING:
    from parquetry.config import JobConfig
    from parquetry.engine import Engine
    from parquetry.foundation.clean import Cleaned
    from parquetry.foundation.ingest import Ingested
    from parquetry.run import Run

CAUTIOUS: list[dict[str, Any]] = [{"text": {"unicode": "NFC", "strip": True, "empty_is_missing": True}}]
"""A recipe that loses nothing: white space around texts goes, and a text of no characters is a missing value."""
_TIMES = 3  # columns of times that are followed
_SHOWN_ROWS = 10
_LONGEST = 300


def job_source(config: JobConfig, run: Run, *, default: str) -> tuple[str, str | None]:
    """What a job reads, and the target: the user's own, else the catalogue's set; noted in the run."""
    from parquetry import catalogue

    if config.input is not None:
        run.origin(f"{config.input}, given by the user")
        return config.input, config.target
    found = catalogue.find(default, seed=config.seed)
    run.origin(f"{found.entry.title}: {found.origin}", synthetic=found.synthetic, units=found.entry.units)
    return str(found.path), config.target or found.entry.target


# --- what happened to the rows --------------------------------------------------------------
def tell_ingest(run: Run, done: Ingested) -> None:
    """Every row accounted for: counts, reasons and the first rejected rows, in the report and on the console."""
    run.event("ingest", rows_in=done.rows_in, accepted=done.accepted, quarantined=done.quarantined, files=done.files)
    done.contract.save(run.path("contract.yaml"))
    run.write_json("ingest.json", {k: v for k, v in done.summary().items() if k not in ("dataset", "quarantine")})
    counts = [[k.replace("_", " "), getattr(done, k)] for k in ("rows_in", "accepted", "quarantined", "files")]
    run.table("Rows", ["", "number"], counts, done.lines()[0] + ".", first=True)
    for note in done.notes:
        run.note(note)
    if done.quarantine is None:
        return
    run.note(f"{done.quarantined:,} of {done.rows_in:,} rows were set aside; they are in quarantine/ with the reasons.")
    reasons = [[count, reason] for reason, count in done.reasons.items()]
    run.table("Quarantined, and why", ["rows", "reason"], reasons, first=True, text=True)
    rows = [
        [row["row"], row["reason"], _raw(row["raw"]), row["file"]]
        for row in done.quarantine.head(_SHOWN_ROWS).to_dict("records")
    ]
    caption = f"The first {len(rows)} of {done.quarantined:,}, as they stand in the source."
    run.table("Quarantined rows", ["line", "reason", "raw", "file"], rows, caption, first=True, text=True)


def tell_clean(run: Run, done: Cleaned, *, given: bool) -> None:
    """What each step did, and the recipe with what it has learned, for new data."""
    done.recipe.save(run.path("recipe.yaml"))
    run.write_json("clean.json", done.summary())
    rows = []
    for step in done.steps:
        told = [
            f"{column}: {n:,} {what}"
            for what in ("cells", "outliers", "failed", "unseen")
            for column, n in step.get(what, {}).items()
        ]
        rows.append([step["step"], step["rows_touched"], step["rows_dropped"], "; ".join(told) or "nothing to do"])
        run.event("clean", step=step["step"], touched=step["rows_touched"], dropped=step["rows_dropped"])
    total = f"{done.rows_in:,} rows in = {done.rows_out:,} rows out + {done.rows_dropped:,} dropped."
    why = "" if given else " No --recipe was given, so this is the cautious one, which loses nothing: recipe.yaml."
    run.table(
        "Cleaning", ["step", "rows touched", "rows dropped", "what it did"], rows, total + why, first=True, text=True
    )


def _raw(text: str) -> str:
    """Raw text with what cannot be seen made visible, and not too much of it."""
    cut = f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in cut)


# --- pictures -------------------------------------------------------------------------------
def explored(profile: Profile, data: Dataset, *, sample: int, seed: int = 0, engine: Engine) -> list[Picture]:
    """The pictures of a table: what is missing, correlations, times and seasons, the target, pairs of columns.

    Parameters
    ----------
    profile : Profile
        Of the same data.
    data : Dataset
    sample : int
        Rows in the pair plot, which is the only picture that is not drawn from counts of all rows.
    seed : int, default 0
        Of the sample.
    engine : Engine

    Returns
    -------
    list of Picture
        From one more read of the columns with missing values and times, and one of the sample.
    """
    target = None if profile.target is None or profile.target.classes else profile.target.target
    together, rhythms = _counted(profile, data, target, engine)
    missing = None if together is None else together_picture(together, profile.rows)
    pictures = profile_pictures(profile)
    if missing is not None:
        pictures.insert(1, missing)  # after each column's own share, which is there too
    for rhythm in rhythms:
        pictures += [trend_picture(rhythm, target if target != rhythm.column else None), *season_pictures(rhythm)]
    pictures += [] if profile.target is None else target_pictures(profile.target)
    pairs = _pairs(profile, data, sample, seed, engine)
    return pictures if pairs is None else [*pictures, pairs]


def _counted(
    profile: Profile, data: Dataset, value: str | None, engine: Engine
) -> tuple[Together | None, list[Rhythm]]:
    """What is missing at once, and rows over time: in one read."""
    gappy = sorted((c for c in profile.columns if c.missing), key=lambda c: (-c.missing, c.name))[:MOST_COLUMNS]
    reductions: list[Any] = [MissingTogether([c.name for c in gappy])] if len(gappy) > 1 else []
    reductions += _followed(profile, value)
    if not reductions:
        return None, []
    names = dict.fromkeys(name for r in reductions for name in _columns_of(r))
    view = make_view(data, target=None, features=list(names))
    found = run_pass(engine, [(r, view) for r in reductions], label="explore")
    return (found[0], found[1:]) if len(gappy) > 1 else (None, found)


def _followed(profile: Profile, value: str | None) -> Iterator[TimeCounts]:
    """The first columns of dates or timestamps that are not constant."""
    times = [c for c in profile.columns if c.kind == "time" and c.type.startswith(("date", "timestamp"))]
    found = 0
    for column in times:
        if found == _TIMES or column.minimum is None or column.minimum == column.maximum:
            continue
        calendar = calendar_of(column.minimum, column.maximum)
        if calendar is not None:
            found += 1
            yield TimeCounts(column.name, calendar, value)


def _columns_of(reduction: Any) -> tuple[str, ...]:
    if isinstance(reduction, MissingTogether):
        return reduction.columns
    return (reduction.column,) if reduction.value is None else (reduction.column, reduction.value)


def _pairs(profile: Profile, data: Dataset, rows: int, seed: int, engine: Engine) -> Picture | None:
    """The pair plot of the columns of numbers that tell most of the target, or of each other."""
    chosen = _paired(profile)
    if len(chosen) < 2:
        return None
    view = profile.target
    classes = () if view is None or len(view.classes) > plots_pairs.MOST_CLASSES else tuple(map(str, view.classes))
    along = view.target if view is not None and classes else None
    names = [c.name for c in chosen]
    found: Sample = sample_rows(data, names, rows=rows, classes=along, seed=seed, engine=engine)
    codes = [classes.index(v) if v in classes else -1 for v in found.labels] if along is not None else None
    return plots_pairs.pair_picture(
        chosen, found.values, rows=profile.rows, classes=classes, codes=codes, along=along or ""
    )


def _paired(profile: Profile) -> list[ColumnProfile]:
    view = profile.target
    skip = view.target if view is not None and view.classes else None
    numbers = [
        c
        for c in profile.columns
        if c.kind in ("integer", "float", "decimal") and c.name != skip and c.distinct is not None
        and c.distinct.count > 2 and not (c.kind == "integer" and c.distinct.count == c.count)
    ]  # fmt: skip
    told = {} if view is None else {c.column: c.strength for c in view.columns if c.strength == c.strength}
    if told:
        numbers.sort(key=lambda c: (c.name != getattr(view, "target", None), -told.get(c.name, 0.0), c.name))
    return numbers[: plots_pairs.MOST_COLUMNS]
