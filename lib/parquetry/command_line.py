"""Verbs of the ``parquetry`` command: what they take, how it is read, and how it is told.

Without any import that takes time: the command must answer at once.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from parquetry.errors import ParquetryError, did_you_mean

WIDTH = 100
_MEANINGS = 36  # where they begin


class Misuse(ParquetryError, ValueError):
    """The command line names no verb or job, or has the wrong arguments: exit code 2."""


@dataclass(frozen=True)
class Result:
    """What a verb did: an exit code, and the object that ``--json`` prints."""

    code: int
    value: dict[str, Any]


@dataclass(frozen=True)
class Argument:
    """A word without a flag; an optional one may only be the last."""

    name: str
    meaning: str
    optional: bool = False


@dataclass(frozen=True)
class Flag:
    """A flag of a verb, as ``--to FOLDER`` or ``--to=FOLDER``, or a switch.

    Attributes
    ----------
    name : str
        With its dashes.
    value : str
        A word for what it takes; ``""`` for a switch.
    meaning : str
    default : object
        What it is where it is not given.
    choices : tuple of str
        All that it takes, if these are few.
    kind : {str, int, list}
        A whole number of at least ``least``, or names with commas between them.
    required, may_be_empty : bool
    least : int
    """

    name: str
    value: str
    meaning: str
    default: Any = None
    choices: tuple[str, ...] = ()
    kind: type = str
    required: bool = False
    may_be_empty: bool = False
    least: int = 1

    @property
    def key(self) -> str:
        """``max_bad`` for ``--max-bad``."""
        return self.name.removeprefix("--").replace("-", "_")

    @property
    def usage(self) -> str:
        """The flag and what it takes."""
        return f"{self.name} {'|'.join(self.choices) or self.value}".rstrip()

    def typed(self, text: str | None) -> Any:
        """The value that a text stands for; None where there is no text.

        Raises
        ------
        ValueError
            Saying what is wrong with it.
        """
        if not self.value:
            if text is not None:
                raise ValueError(f"{self.name} takes no value.")
            return True
        if text is None or (not text and not self.may_be_empty):
            raise ValueError(f"{self.name} needs a value.")
        if self.choices and text not in self.choices:
            raise ValueError(f"{self.name} is {text!r}: one of {', '.join(self.choices)} is wanted.")
        if self.kind is int and (not text.isascii() or not text.isdigit() or int(text) < self.least):
            raise ValueError(f"{self.name} is {text!r}: a whole number of at least {self.least} is wanted.")
        if self.kind is list:
            return [name.strip() for name in text.split(",") if name.strip()]
        return self.kind(text)


@dataclass(frozen=True)
class Verb:
    """A verb of the command.

    Attributes
    ----------
    name, meaning : str
    act : callable
        Takes a dict of all arguments and flags by their keys.
    arguments : tuple of Argument
    flags : tuple of Flag
    more : callable or None
        What else its help tells.
    passes_on : bool
        Words after the arguments are not read here; they are ``rest`` in the dict.
    """

    name: str
    meaning: str
    act: Callable[[dict[str, Any]], Result]
    arguments: tuple[Argument, ...] = ()
    flags: tuple[Flag, ...] = ()
    more: Callable[[], str] | None = None
    passes_on: bool = False

    @property
    def usage(self) -> str:
        """How it is called."""
        words = [f"[{a.name}]" if a.optional else a.name for a in self.arguments]
        words += [f.usage for f in self.flags if f.required]
        rest = ["[flags]"] if self.passes_on or not all(f.required for f in self.flags) else []
        return " ".join(["parquetry", self.name, *words, *rest])

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """Arguments and flags by their keys.

        Raises
        ------
        Misuse
            Listing everything that is wrong.
        """
        if self.passes_on:
            return {"words": list(words[: len(self.arguments)]), "rest": list(words[len(self.arguments) :])}
        plain, found, problems = self._sorted(words)
        needed = [a.name for a in self.arguments if not a.optional]
        if len(plain) < len(needed):
            problems.append(f"{', '.join(needed[len(plain) :])} is missing.")
        problems += [f"There is no room for {word!r}." for word in plain[len(self.arguments) :]]
        problems += [f"{f.name} is missing." for f in self.flags if f.required and f.key not in found]
        if problems:
            raise Misuse(
                f"{self.name}: {' '.join(problems)}", fix=f"As in: {self.usage}; more: parquetry {self.name} --help."
            )
        given: dict[str, Any] = {a.name.lower(): None for a in self.arguments}
        given |= {a.name.lower(): word for a, word in zip(self.arguments, plain, strict=False)}
        return given | {f.key: found.get(f.key, f.default) for f in self.flags}

    def _sorted(self, words: Sequence[str]) -> tuple[list[str], dict[str, Any], list[str]]:
        """Arguments, values of flags, and what is wrong with these."""
        plain: list[str] = []
        found: dict[str, Any] = {}
        problems: list[str] = []
        known, left = {f.name: f for f in self.flags}, list(words)
        while left:
            word = left.pop(0)
            if word == "--":  # whatever comes behind is no flag
                return [*plain, *left], found, problems
            if not word.startswith("-") or word == "-":
                plain.append(word)
                continue
            name, equals, text = word.partition("=")
            flag = known.get(name)
            takes = len(plain) >= len(self.arguments) if flag is None else bool(flag.value)
            given = text if equals else None
            if given is None and takes and left and not left[0].startswith("--"):
                given = left.pop(0)
            if flag is None:
                problems.append(f"There is no flag {name}. {did_you_mean(name, known) if known else ''}".rstrip())
                continue
            if flag.key in found:
                problems.append(f"{name} is given twice.")
            found[flag.key] = None  # it is there, whatever is wrong with its value
            try:
                found[flag.key] = flag.typed(given)
            except ValueError as error:
                problems.append(str(error))
        return plain, found, problems

    def help(self) -> str:
        """Its usage, its meaning, and each argument and flag with meaning and default."""
        parts = [f"usage: {self.usage}\n\n{textwrap.fill(self.meaning, WIDTH)}"]
        if self.arguments and not self.passes_on:
            parts.append("\n".join(["arguments:", *columns((a.name, a.meaning) for a in self.arguments)]))
        if self.flags:
            parts.append("\n".join(["flags:", *columns((f.usage, _told(f)) for f in self.flags)]))
        if self.more is not None:
            parts.append(self.more())
        return "\n\n".join(parts)


def _told(flag: Flag) -> str:
    return flag.meaning if flag.default in (None, False) else f"{flag.meaning} [default: {flag.default}]"


def columns(pairs: Iterable[tuple[str, str]], start: int = _MEANINGS) -> list[str]:
    """Lines of two columns, the second beginning at ``start``: what is long on the left has a line of its own."""
    lines = []
    for left, right in pairs:
        wrapped = textwrap.wrap(right, WIDTH - start) or [""]
        if len(left) + 4 > start:
            lines.append(f"  {left}")
        else:
            lines.append(f"  {left:<{start - 2}}{wrapped.pop(0)}")
        lines += [f"{'':{start}}{line}" for line in wrapped]
    return lines
