"""``parquetry ingest``: the command line of ingest."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

from parquetry.cli import Misuse


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Misuse(f"ingest: {message}.", fix=f"As in: {self.usage}")


def _parser(usage: str) -> _Parser:
    parser = _Parser(prog="parquetry ingest", usage=usage, add_help=False)
    add = parser.add_argument
    add("source", help="a file, folder, glob or database")
    add("to", nargs="?", help="where the dataset goes; not needed with --infer-only")
    add("--contract", metavar="C.yaml", help="what the rows must be; without it, it is inferred from all values")
    add("--save-contract", metavar="C.yaml", help="write the contract there, to be edited and passed again")
    add("--infer-only", action="store_true", help="infer and show the contract; write no data")
    add("--engine", default="local", help="local, dask, spark or an address")
    add("--workers", type=int, help="how many tasks run at once")
    add("--on-bad", choices=("quarantine", "fail"), default="quarantine", help="what becomes of a bad row")
    add("--max-bad", metavar="1%", help="the most rows that may be quarantined, as a number or a share")
    add("--format", choices=("delta", "parquet"), default="delta", help="a Delta table or a plain folder")
    add("--mode", choices=("fail", "append", "overwrite"), default="fail", help="what becomes of a table that is there")
    add("--quarantine", metavar="PATH", help="where rejected rows go; else TO-quarantine")
    add("--delimiter", help="one character; 'tab' for a tab")
    add("--quote", help="one character; '' where quotation marks are a part of the text")
    add("--header", choices=("yes", "no"), help="whether the first line names the columns")
    add("--encoding", help="as in utf-8, cp1252")
    add("--decimal", choices=(".", ","), help="the decimal mark of numbers")
    add("--expansion", type=int, help="how many times larger a compressed file may become")
    add("--sheet", help="of a workbook")
    add("--table", help="of a database")
    return parser


def flags() -> str:
    """The flags, for people."""
    return "\n" + _parser("").format_help().partition("\n\n")[2]


def command(words: list[str], usage: str) -> dict[str, Any]:
    """Do what the words say; print the contract and the reconciliation; give them for ``--json``.

    Raises
    ------
    Misuse
        The words are wrong.
    """
    given = _parser(usage).parse_args(words)
    options = {
        "delimiter": "\t" if given.delimiter in ("tab", "\\t") else given.delimiter,
        "header": {"yes": True, "no": False, None: None}[given.header],
        **{name: getattr(given, name) for name in ("quote", "encoding", "expansion", "sheet", "table")},
    }
    folder = os.path.dirname(given.save_contract or "") or "."
    if not os.path.isdir(folder):
        raise Misuse(f"ingest: --save-contract: there is no folder {folder!r}.", fix="Make it, or name another.")
    from parquetry.engine import open_engine

    with open_engine(given.engine, workers=given.workers) as engine:
        if given.infer_only:
            return _infer(given, options, engine)
        if given.to is None:
            raise Misuse("ingest: where to?", fix=f"As in: {usage}")
        return _ingest(given, options, engine)


def _infer(given: argparse.Namespace, options: dict[str, Any], engine: Any) -> dict[str, Any]:
    from parquetry.foundation.inference import infer
    from parquetry.foundation.sources import open_source
    from parquetry.foundation.ways import Rules

    source = open_source(given.source, engine=engine, **options)
    contract = infer(source, source.pieces(engine), engine, Rules(decimal=given.decimal))
    for line in (*source.notes, *contract.lines()):
        print(line)
    if given.save_contract:
        contract.save(given.save_contract)
    return {"contract": contract.model_dump(mode="json"), "notes": [*source.notes, *contract.notes]}


def _ingest(given: argparse.Namespace, options: dict[str, Any], engine: Any) -> dict[str, Any]:
    from parquetry.foundation.ingest import ingest

    done = ingest(
        given.source, given.to, contract=given.contract, engine=engine, on_bad=given.on_bad, max_bad=given.max_bad,
        format=given.format, mode=given.mode, quarantine=given.quarantine, decimal=given.decimal, **options,
    )  # fmt: skip
    for line in (*done.notes, *done.contract.lines(), *done.lines()):
        print(line)
    if done.quarantine is not None:
        print(f"Rejected rows, with the reason of each: {done.quarantine.uri}")
    if given.save_contract:
        done.contract.save(given.save_contract)
    return done.summary()
