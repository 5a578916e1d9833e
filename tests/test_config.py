"""Settings: the order of their sources, and every error at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from parquetry.config import JobConfig, help_text, read_config
from parquetry.errors import BadConfig


class Config(JobConfig):
    """A job with two settings of its own."""

    test: float = Field(0.2, gt=0, lt=1, description="The share of the test part.")
    fast: bool = Field(default=True, description="Hurry.")


def read(*flags: str, **environment: str) -> Config:
    return read_config(Config, flags, environment)[0]


def problems(*flags: str, **environment: str) -> str:
    with pytest.raises(BadConfig) as caught:
        read(*flags, **environment)
    return str(caught.value)


def test_defaults():
    config = read()
    assert (config.engine, config.seed, config.exclude, config.features) == ("local", 42, [], None)


def test_flags_before_environment_before_file_before_defaults(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text("seed: 1\ntest: 0.1\nlog-level: debug\nexclude: [a, b]\n")
    config, sources = read_config(
        Config,
        ["--config", str(file), "--seed=3"],
        {"PARQUETRY_JOB_SEED": "2", "PARQUETRY_JOB_TEST": "0.3", "HOME": "/"},
    )
    assert (config.seed, config.test, config.log_level, config.exclude) == (3, 0.3, "debug", ["a", "b"])
    assert sources["seed"] == "flag --seed"
    assert sources["test"] == "environment PARQUETRY_JOB_TEST"
    assert sources["log_level"] == f"file {file}"
    assert "engine" not in sources


def test_the_file_may_be_named_in_the_environment(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text("exclude: a, b\n")
    assert read(PARQUETRY_JOB_CONFIG=str(file)).exclude == ["a", "b"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--features", "a,b"], ["a", "b"]),
        (["--features", "a", "--features", "b"], ["a", "b"]),
        (["--features=a, b", "--features", "c"], ["a", "b", "c"]),
    ],
)
def test_lists(flags: list[str], expected: list[str]):
    assert read(*flags).features == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(["--overwrite"], True), (["--no-overwrite"], False), (["--overwrite=yes"], True), ([], False)],
)
def test_switches(flags: list[str], expected: Any):
    assert read(*flags).overwrite is expected


def test_a_switch_that_is_on_can_be_turned_off():
    assert read("--no-fast").fast is False


def test_negative_numbers_are_values():
    assert read("--seed", "-3").seed == -3


def test_everything_wrong_is_listed_at_once(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text("sed: 1\n")
    text = problems(
        "--config", str(file), "--worker", "2", "--test", "2", "--memory", "lots", "--engine", "sparc", "stray",
        "--log-level", "loud", "--target",
        PARQUETRY_JOB_SEEDS="1", PARQUETRY_JOB_WORKERS="0",
    )  # fmt: skip
    for part in (
        "10 settings are wrong",
        "There is no flag --worker. Did you mean '--workers'?",
        "There is no setting 'sed'",
        "Did you mean 'seed'?",
        "PARQUETRY_JOB_SEEDS (environment). Did you mean 'PARQUETRY_JOB_SEED'?",
        "--test (flag --test) is '2'",
        "--memory (flag --memory) is 'lots'",
        "Did you mean 'spark'?\n",
        "'stray' stands alone",
        "--log-level (flag --log-level) is 'loud'",
        "--target needs a value",
        "--workers (environment PARQUETRY_JOB_WORKERS) is '0'",
        "--help",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("content", "message"), [("a: [", "is not YAML"), ("- seed\n", "holds a list"), (None, "cannot be read")]
)
def test_a_bad_file(tmp_path: Path, content: str | None, message: str):
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_text(content)
    assert message in problems("--config", str(file))


def test_an_empty_file_sets_nothing(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text("")
    assert read("--config", str(file)).seed == 42


def test_help_names_every_flag_with_meaning_and_default():
    text = help_text(Config, command="python job.py", about="What it does.")
    for name, info in Config.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert str(info.description).split()[0] in text
    assert "[default: 0.2]" in text
    assert "debug|info|warning|error" in text
    assert max(map(len, text.splitlines())) <= 100
    assert text.index("--test") < text.index("--input")
