"""A job's settings: flags, environment and YAML file read into one checked pydantic model.

The order is flags, then environment, then file, then defaults. Everything that is wrong is
reported at once. pydantic-settings' own command line stops at the first unknown flag and shows
types in the place of meanings, so the flags are read here.
"""

from __future__ import annotations

import os
import shutil
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from parquetry.engine import engine_name, parse_bytes
from parquetry.errors import BadConfig, BadParameter, UnknownEngine, did_you_mean

ENVIRONMENT_PREFIX = "PARQUETRY_JOB_"
_FILES = ("config", "recipe", "contract", "peer_python")  # settings that name a file; other paths are folders


class JobConfig(BaseModel):
    """The settings that every job has. A job's own ``Config`` is a subclass with more fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=False)

    input: str | None = Field(
        None, description="Your data: Parquet (file, folder, glob, URL), a Delta table, CSV or TSV, also .gz, Excel."
    )
    target: str | None = Field(None, description="The column to predict.")
    features: list[str] | None = Field(None, description="Only these columns as features, as a,b,c or repeated.")
    exclude: list[str] = Field([], description="Columns to leave out of the features, as a,b,c or repeated.")
    output: Path | None = Field(None, description="The run's folder [default: runs/<job>/<time>-<id>].")
    engine: str = Field("local", description="local, dask, spark, or an address: tcp://…, spark://…, sc://….")
    workers: int | None = Field(None, ge=1, description="How many tasks run at once [default: one a core].")
    memory: str | None = Field(None, description="Memory for one worker, as 4GiB [default: a share of the machine].")
    seed: int = Field(42, description="Decides splits and samples; another seed, another split.")
    config: Path | None = Field(None, description="A YAML file with any of these settings.")
    overwrite: bool = Field(default=False, description="Replace the run that is at --output.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much the console tells.")

    @field_validator("engine")
    @classmethod
    def _an_engine(cls, value: str) -> str:
        try:
            engine_name(value)
        except UnknownEngine as error:
            raise ValueError(f"it names no engine. {error.why}".removesuffix(".")) from error
        return value

    @field_validator("memory")
    @classmethod
    def _a_size(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_bytes(value)
            except BadParameter as error:
                raise ValueError(error.fix) from error
        return value


ConfigType = TypeVar("ConfigType", bound=JobConfig)


@dataclass
class Settings:
    """Values as they were given, where each came from, and what is wrong with them."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, name: str, value: Any, source: str) -> None:
        """Take a value; a later source covers an earlier one."""
        self.values[name], self.sources[name] = value, source


def read_config(
    kind: type[ConfigType], arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[ConfigType, dict[str, str]]:
    """The checked settings of a job, and where each one that was given came from.

    Parameters
    ----------
    kind : subclass of JobConfig
    arguments : sequence of str
        Flags, as ``["--seed", "3"]`` or ``["--seed=3"]``.
    environment : mapping, default None
        None is ``os.environ``; ``PARQUETRY_JOB_SEED=3`` sets ``seed``.

    Raises
    ------
    BadConfig
        Listing everything that is wrong.
    """
    flags = read_flags(kind, arguments)
    environ = _read_environment(kind, os.environ if environment is None else environment)
    path = flags.values.get("config", environ.values.get("config"))
    layers = [_read_file(kind, path) if path is not None else Settings(), environ, flags]
    given = Settings(problems=[p for layer in layers for p in layer.problems])
    for layer in layers:
        for name, value in layer.values.items():
            given.put(name, value, layer.sources[name])
    try:
        config = kind(**given.values)
    except ValidationError as error:
        given.problems.extend(_problem(e, given.sources) for e in error.errors())
    if given.problems:
        raise _bad_config(given.problems)
    return config, given.sources


def read_flags(kind: type[BaseModel], arguments: Sequence[str]) -> Settings:
    """The values that flags give, by field name; a flag that is repeated gives a list."""
    found, rest = Settings(), list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            found.problems.append(f"{word!r} stands alone: every setting is a flag with a name, as --input {word}.")
            continue
        flag, equals, value = word.partition("=")
        name = _field_name(kind, flag)
        if name is None:
            found.problems.append(f"There is no flag {flag}. {did_you_mean(flag, _flags(kind))}")
            if not equals and rest and not rest[0].startswith("--"):
                rest.pop(0)
            continue
        source = f"flag {flag}"
        if _is_bool(kind.model_fields[name]) and not equals:
            found.put(name, not flag.startswith("--no-"), source)
        elif equals or (rest and not rest[0].startswith("--")):
            _put_text(found, kind.model_fields[name], name, value if equals else rest.pop(0), source)
        else:
            found.problems.append(f"{flag} needs a value.")
    return found


def help_text(kind: type[JobConfig], *, command: str, about: str = "") -> str:
    """The text of ``--help``: every flag with its meaning and its default."""
    width = min(100, shutil.get_terminal_size().columns)
    own = [n for n in kind.model_fields if n not in JobConfig.model_fields]
    groups = [("This job's own", own), ("Every job's", list(JobConfig.model_fields))]
    parts = [f"usage: {command} [flags]"]
    if about:
        parts.append(about.strip())
    for title, names in groups:
        if names:
            lines = [line for n in names for line in _help_lines(n, kind.model_fields[n], width)]
            parts.append("\n".join([f"{title} flags:", *lines]))
    parts.append(
        textwrap.fill(
            f"Any setting may also stand in the YAML file that --config names (seed: 3) or in the environment "
            f"({ENVIRONMENT_PREFIX}SEED=3). Flags come before the environment, that before the file.",
            width,
        )
    )
    return "\n\n".join(parts)


def flag_name(name: str) -> str:
    """``log_level`` as ``--log-level``."""
    return "--" + name.replace("_", "-")


def _flags(kind: type[BaseModel]) -> list[str]:
    return [flag_name(n) for n in kind.model_fields]


def _field_name(kind: type[BaseModel], flag: str) -> str | None:
    name = flag.removeprefix("--").replace("-", "_")
    if name in kind.model_fields:
        return name
    positive = name.removeprefix("no_")
    return positive if positive in kind.model_fields and _is_bool(kind.model_fields[positive]) else None


def _read_environment(kind: type[BaseModel], environment: Mapping[str, str]) -> Settings:
    found = Settings()
    known = {ENVIRONMENT_PREFIX + n.upper(): n for n in kind.model_fields}
    for variable in sorted(v for v in environment if v.startswith(ENVIRONMENT_PREFIX)):
        if variable not in known:
            found.problems.append(f"There is no setting for {variable} (environment). {did_you_mean(variable, known)}")
            continue
        name = known[variable]
        _put_text(found, kind.model_fields[name], name, environment[variable], f"environment {variable}")
    return found


def _read_file(kind: type[BaseModel], path: Any) -> Settings:
    found = Settings()
    try:
        loaded = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        found.problems.append(f"The file --config {path} cannot be read: {error}.")
        return found
    except yaml.YAMLError as error:
        found.problems.append(f"{path} is not YAML: {' '.join(str(error).split())}.")
        return found
    if loaded is not None and not isinstance(loaded, dict):
        found.problems.append(f"{path} holds a {type(loaded).__name__}; write settings as lines of 'name: value'.")
        return found
    for key, value in (loaded or {}).items():
        name = str(key).replace("-", "_")
        if name not in kind.model_fields:
            found.problems.append(f"There is no setting {key!r} (in {path}). {did_you_mean(name, kind.model_fields)}")
        elif isinstance(value, str) and _is_list(kind.model_fields[name]):
            _put_text(found, kind.model_fields[name], name, value, f"file {path}")
        else:
            found.put(name, value, f"file {path}")
    return found


def _put_text(found: Settings, info: FieldInfo, name: str, text: str, source: str) -> None:
    if not _is_list(info):
        found.put(name, text, source)
        return
    items = [item.strip() for item in text.split(",") if item.strip()]
    found.put(name, [*found.values.get(name, []), *items], source)


def _choices(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the type itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        yield from typing.get_args(annotation)
    else:
        yield annotation


def _is_list(info: FieldInfo) -> bool:
    return any(typing.get_origin(c) is list for c in _choices(info.annotation))


def _is_bool(info: FieldInfo) -> bool:
    return any(c is bool for c in _choices(info.annotation))


def _help_lines(name: str, info: FieldInfo, width: int) -> list[str]:
    flag = flag_name(name)
    shown = f"  {flag}" if _is_bool(info) else f"  {flag} {_value_word(name, info)}"
    text = info.description or ""
    if info.default not in (None, False) and info.default != [] and not info.is_required():
        text += f" [default: {info.default}]"
    wrapped = textwrap.wrap(text, width - 26) or [""]
    first = [f"{shown:<24}  {wrapped[0]}"] if len(shown) <= 24 else [shown, f"{'':26}{wrapped[0]}"]
    return [*first, *(f"{'':26}{line}" for line in wrapped[1:])]


def _value_word(name: str, info: FieldInfo) -> str:
    for choice in _choices(info.annotation):
        if typing.get_origin(choice) is Literal:
            return "|".join(str(a) for a in typing.get_args(choice))
        if choice in (int, float):
            return "NUMBER"
        if choice is Path:
            return "FILE" if name in _FILES else "FOLDER"
    return "NAMES" if _is_list(info) else {"input": "PATH", "target": "COLUMN", "memory": "SIZE"}.get(name, "TEXT")


def _problem(error: ErrorDetails, sources: Mapping[str, str]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{flag_name(name)} is required."
    if not name:
        return f"{message}."
    reason = f"{message[:1].lower()}{message[1:].rstrip('.')}"
    end = "" if reason.endswith("?") else "."
    return f"{flag_name(name)} ({sources.get(name, 'default')}) is {error['input']!r}: {reason}{end}"


def _bad_config(problems: Sequence[str]) -> BadConfig:
    one = len(problems) == 1
    listed = "".join(f"\n  - {p}" for p in problems)
    return BadConfig(
        f"{'One setting is' if one else f'{len(problems)} settings are'} wrong:{listed}",
        fix="\nAll flags with their meaning: --help.",
    )
