"""A progress bar on the console: one line a pass, only where somebody can see it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Shows how far a pass is, with rich, on standard error.

    Parameters
    ----------
    show : bool or None, default None
        None shows it where standard error is a terminal.

    Attributes
    ----------
    note : str
        What stands behind the label, as the best score so far.
    """

    def __init__(self, show: bool | None = None) -> None:
        self.show = sys.stderr.isatty() if show is None else show
        self.note = ""

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar for ``total`` tasks; the function that is given takes how many more are done."""
        if not self.show:
            yield _nothing
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, console=Console(stderr=True)) as bar:
            row = bar.add_task(self._described(label), total=total)
            yield lambda n: bar.update(row, advance=n, description=self._described(label))

    def _described(self, label: str) -> str:
        return f"{label} ({self.note})" if self.note else label


def _nothing(_: int) -> None:
    """Nobody looks."""
