"""Real clusters on this machine, as fixtures: separate processes that do not have the project.

Their Python sees the installed packages but not this library: it must come along with the work.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

_START_SECONDS = 90.0


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with this environment's packages, but without this library."""
    import numpy as np

    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(np.__file__).parents[1]
    # A folder named in a .pth file is searched, but its own .pth files (the editable install) are not read.
    for site in folder.glob("lib/python*/site-packages"):
        (site / "shared.pth").write_text(f"{packages}\n")
    python = str(folder / "bin" / "python")
    found = subprocess.run([python, "-c", "import parquetry"], capture_output=True, text=True, check=False)
    assert "No module named 'parquetry'" in found.stderr
    return python


@pytest.fixture(scope="session")
def spark_master(bare_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A standalone master and a worker with two cores; gives the master's address."""
    _require_java()
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    spark_class = [str(_spark_home() / "bin" / "spark-class")]
    master = [*spark_class, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port)]
    worker = [*spark_class, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "2"]
    folder = tmp_path_factory.mktemp("standalone")
    with ExitStack() as running:
        running.enter_context(
            process([*master, "--webui-port", "0"], folder / "master.log", _spark_environment(folder, bare_python))
        )
        wait_for(port, folder / "master.log")
        more = ["--memory", "3g", "--webui-port", "0", address]
        running.enter_context(process([*worker, *more], folder / "worker.log", _spark_environment(folder, bare_python)))
        wait_for_text(folder / "master.log", "Registering worker")
        yield address


@pytest.fixture(scope="session")
def connect_server(bare_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Spark Connect server over two local cores; gives its address."""
    _require_java()
    port = free_port()
    folder = tmp_path_factory.mktemp("connect")
    command = [
        str(_spark_home() / "bin" / "spark-submit"),
        *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "--master", "local[2]"),
        *("--conf", "spark.connect.grpc.binding.address=127.0.0.1"),
        *("--conf", f"spark.connect.grpc.binding.port={port}", "--conf", "spark.ui.enabled=false"),
        "spark-internal",
    ]
    with process(command, folder / "server.log", _spark_environment(folder, bare_python)):
        wait_for(port, folder / "server.log")
        yield f"sc://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def dask_scheduler(bare_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Dask scheduler and two workers; gives the scheduler's address."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("scheduler")
    dask = [bare_python, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = [*dask, "worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--local-directory"]
    with ExitStack() as running:
        running.enter_context(process(scheduler, folder / "scheduler.log", dict(os.environ)))
        wait_for(port, folder / "scheduler.log")
        for name in ("worker-0", "worker-1"):
            running.enter_context(process([*worker, str(folder)], folder / f"{name}.log", dict(os.environ)))
            wait_for_text(folder / f"{name}.log", "Starting established connection")
        yield address


@contextmanager
def process(command: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    """A process that runs until the block is left."""
    with log.open("w") as output:
        started = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=log.parent)
        try:
            yield
        finally:
            started.terminate()
            try:
                started.wait(15)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"Nothing listens on port {port}: {log.read_text()[-2000:]}")


def wait_for_text(log: Path, text: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if text in log.read_text():
            return
        time.sleep(0.2)
    pytest.fail(f"{text!r} never came: {log.read_text()[-2000:]}")


def submit_environment(bare_python: str) -> dict[str, str]:
    """The environment of ``spark-submit``: its driver is this Python, its executors' the bare one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYSPARK_DRIVER_PYTHON": sys.executable, "PYSPARK_PYTHON": bare_python}


def _spark_environment(folder: Path, python: str) -> dict[str, str]:
    home = str(_spark_home())
    work = {"SPARK_WORKER_DIR": str(folder / "work"), "SPARK_LOG_DIR": str(folder), "SPARK_LOCAL_IP": "127.0.0.1"}
    return {**os.environ, **work, "SPARK_HOME": home, "PYSPARK_PYTHON": python, "SPARK_NO_DAEMONIZE": "1"}


def _spark_home() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent


def _require_java() -> None:
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java 17, which this machine does not have.")
