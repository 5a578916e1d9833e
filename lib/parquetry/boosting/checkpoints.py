"""The trees so far, kept in a file that outlives a rank."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from parquetry import storage

if TYPE_CHECKING:
    from parquetry.boosting.child import Rank


@dataclass(frozen=True)
class Checkpoint:
    """A file with a key in front: what another fit has left there is not taken up.

    Parameters
    ----------
    uri : str
    key : str
        Of the data, the parameters and the number of ranks.
    """

    uri: str
    key: str

    @classmethod
    def of(cls, rank: Rank, key: str) -> Self | None:
        """The checkpoint that a gang was told to keep, or None."""
        uri = rank.gang.checkpoint
        return None if uri is None else cls(uri, f"{key}-{rank.world}-{rank.threads}")

    def write(self, content: bytes) -> None:
        """Put new content in the place of the old: whole or not at all."""
        fs, path = self._place()
        with fs.open_output_stream(f"{path}.part") as file:
            file.write(self.key.encode() + b"\n" + content)
        fs.move(f"{path}.part", path)

    def read(self) -> bytes | None:
        """The content, or None where there is none of this fit."""
        fs, path = self._place()
        with contextlib.suppress(FileNotFoundError), fs.open_input_file(path) as file:
            key, _, content = file.read().partition(b"\n")
            return content if key.decode() == self.key else None
        return None

    def remove(self) -> None:
        """Forget it: the fit is done."""
        fs, path = self._place()
        with contextlib.suppress(FileNotFoundError):
            fs.delete_file(path)

    def _place(self) -> tuple[Any, str]:
        return storage.resolve(self.uri, None)
