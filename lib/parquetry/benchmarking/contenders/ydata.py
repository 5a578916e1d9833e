"""ydata-profiling's minimal report, in a virtual environment of its own: it cannot be installed beside Parquetry."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from parquetry.benchmarking.contenders import ydata_peer
from parquetry.benchmarking.contenders.base import Contender

_HOW = "python -m venv ydata && ydata/bin/pip install ydata-profiling pyarrow, then --peer-python ydata/bin/python"
_PROBE = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('ydata_profiling', 'pyarrow'))))"


class YData(Contender):
    """``ProfileReport(frame, minimal=True)`` up to its numbers, without correlations and without its page.

    It runs in a process of the interpreter that is given; its memory is shown as a worker's.
    """

    @classmethod
    def missing(cls, peer_python: str | None) -> str | None:
        if peer_python is None:
            return f"It needs an environment of its own: {_HOW}."
        try:
            # Isolated, so that neither this environment's paths nor the folder it starts in are seen.
            done = subprocess.run([peer_python, "-I", "-c", _PROBE], check=False, capture_output=True)  # noqa: S603
        except OSError as error:
            return f"{peer_python} cannot be run ({error.strerror}). {_HOW}."
        return f"{peer_python} has not both ydata-profiling and pyarrow. {_HOW}." if done.returncode else None

    def open(self) -> None:
        command = [str(self.peer_python), "-I", str(Path(ydata_peer.__file__))]
        self.peer = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def close(self) -> None:
        if self.peer.stdin is not None:
            self.peer.stdin.close()
        self.peer.wait()

    def profile(self, path: str) -> list[float]:
        reply = self._ask({"path": path, "columns": list(self.data.features)})
        if "error" in reply:
            raise RuntimeError(reply["error"])
        answer: list[float] = reply["answer"]
        return answer

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        if self.peer.stdin is None or self.peer.stdout is None:
            raise RuntimeError("The peer has no pipes.")
        self.peer.stdin.write(json.dumps(order) + "\n")
        self.peer.stdin.flush()
        line = self.peer.stdout.readline()
        if not line:
            raise RuntimeError(f"The peer's process ended with exit code {self.peer.wait()}.")
        reply: dict[str, Any] = json.loads(line)
        return reply
