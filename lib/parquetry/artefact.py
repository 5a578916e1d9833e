"""Saved models: a folder with ``model.onnx``, ``model.skops`` and ``card.json``.

Loading verifies every file against the card and never unpickles. The digests tell damage and
mix-ups; they do not tell who wrote the folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from parquetry import exporting
from parquetry.card import FORMAT, make_card, version_of
from parquetry.errors import (
    ArtefactCorrupt,
    BadParameter,
    DatasetNotFound,
    NotExportable,
    ParquetryError,
    UntrustedArtefact,
)
from parquetry.folders import Path, free_place, write_whole
from parquetry.onnx_model import NULL_TEXT, OnnxModel
from parquetry.onnx_steps import input_types

CARD, ONNX, SKOPS = "card.json", "model.onnx", "model.skops"
# SimpleImputer keeps one. skops stores it as an empty array and reads it without unpickling.
# Scores are functions of scikit-learn's own, which compute and nothing else.
_SCORES = "sklearn.feature_selection"
_HARMLESS = (
    "numpy.dtype",
    *(f"{_SCORES}._univariate_selection.{name}" for name in ("f_classif", "f_regression", "r_regression", "chi2")),
    *(f"{_SCORES}._mutual_info.{name}" for name in ("mutual_info_classif", "mutual_info_regression")),
)
_CHUNK = 2**20
_SKOPS_ERRORS = (TypeError, AttributeError, ImportError, KeyError, RecursionError, NotImplementedError)


# --- saving ---------------------------------------------------------------------------------
def save(
    model: Any,
    path: Path,
    *,
    metrics: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    onnx: str = "require",
) -> pathlib.Path:
    """Save a fitted model as a folder: ONNX, skops and a card.

    The folder appears whole or not at all: it is written under another name beside its place,
    and renamed. With ``overwrite=True`` the old one is moved aside only when the new one is
    complete, and is put back where that fails.

    Parameters
    ----------
    model : fitted estimator or Pipeline
        Not changed.
    path : str or PathLike
        The folder, on this machine.
    metrics : mapping, default None
        Numbers for the card, nested where you like.
    overwrite : bool, default False
        Replace an artefact that is already there. Anything else that is there is never replaced.
    onnx : {"require", "skip"}, default "require"
        What to do with a model that has no ONNX form: raise, or save without it, which the card
        and a warning tell.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    OutputExists, OutputNotWritable
        Before anything is done.
    NotExportable
        A step has no ONNX or no skops form.
    """
    if onnx not in ("require", "skip"):
        raise BadParameter(f"onnx={onnx!r} is not known.", fix="Pass 'require' or 'skip'.")
    target = free_place(path, overwrite=overwrite, marker=CARD)
    inputs = input_types(model)
    files, opset, skipped = _onnx_file(model, inputs, onnx)
    files[SKOPS], untrusted = _skops_file(model)
    card = make_card(model, inputs, files, metrics)
    card |= {"onnx": {"opset": opset, "skipped": skipped, "null_text": NULL_TEXT}, "untrusted_types": untrusted}
    files[CARD] = (json.dumps(card, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    write_whole(files, target)
    return target


def _onnx_file(model: Any, inputs: Mapping[str, str], onnx: str) -> tuple[dict[str, bytes], int | None, str | None]:
    try:
        proto = exporting.to_onnx(model, inputs)
    except NotExportable as error:
        if onnx == "require":
            raise
        warnings.warn(f"Saved without {ONNX}: {error.fact} {error.why}", UserWarning, stacklevel=3)
        return {}, None, f"{error.fact} {error.why}".strip()
    opset = next(o.version for o in proto.opset_import if o.domain == "")
    return {ONNX: proto.SerializeToString()}, opset, None


def _skops_file(model: Any) -> tuple[bytes, list[str]]:
    """The skops bytes, and the types in them that a reader must name as trusted."""
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException

    way_out = "Define it at the top of a module that can be imported where the model is loaded."
    try:
        content = skops.io.dumps(model)
        untrusted = [t for t in skops.io.get_untrusted_types(data=content) if t not in _HARMLESS]
        hidden = [t for t in untrusted if "<" in t or t.startswith("__main__.")]
        if hidden:
            raise NotExportable(
                f"The model holds {', '.join(hidden)}.",
                why="A lambda, a local or a script's own function or class cannot be found again by name.",
                fix=way_out,
            )
        # Read back at once: what cannot be loaded must not be found out in service.
        skops.io.loads(content, trusted=[*_HARMLESS, *untrusted])
    except (UnsupportedTypeException, *_SKOPS_ERRORS) as error:
        why = f"{type(error).__name__}: {error}"
        raise NotExportable("skops cannot store the model.", why=why, fix=way_out) from error
    return content, untrusted


# --- loading --------------------------------------------------------------------------------
def load(path: Path, *, trusted: Iterable[str | type] = ()) -> Any:
    """The fitted scikit-learn model of an artefact; nothing is unpickled.

    Parameters
    ----------
    path : str or PathLike
    trusted : types or their full names, default ()
        Types beyond those of scikit-learn and NumPy that skops trusts by itself. Name only what
        you have looked at: building an object of a type runs that type's code.

    Raises
    ------
    DatasetNotFound
        There is no folder.
    ArtefactCorrupt
        A file is missing, has another size or another digest, or cannot be read.
    UntrustedArtefact
        It holds types that are not trusted; they are listed, and none has been built.
    """
    if isinstance(trusted, str):
        raise BadParameter(f"trusted={trusted!r} is one string.", fix=f"Pass a list: trusted=[{trusted!r}].")
    card, content = _verified(path, SKOPS)
    _compare_versions(path, card)
    allowed = [*_HARMLESS, *(t if isinstance(t, str) else f"{t.__module__}.{t.__qualname__}" for t in trusted)]
    try:
        return _read_skops(path, content, allowed)
    except (*_SKOPS_ERRORS, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, ParquetryError):
            raise
        raise ArtefactCorrupt(
            f"{_place(path, SKOPS)} cannot be read.",
            why=f"{type(error).__name__}: {error}",
            fix=f"Install scikit-learn {card['versions'].get('scikit-learn')}, with which it was saved.",
        ) from error


def _read_skops(path: Path, content: bytes, allowed: list[str]) -> Any:
    import skops.io
    from skops.io.exceptions import UNTRUSTED_TYPE_REASONS

    unknown = [t for t in skops.io.get_untrusted_types(data=content) if t not in allowed]
    if unknown:
        named = [*(t for t in allowed if t not in _HARMLESS), *unknown]
        reasons = [UNTRUSTED_TYPE_REASONS[t] for t in unknown if t in UNTRUSTED_TYPE_REASONS]
        raise UntrustedArtefact(
            f"{_place(path, SKOPS)} holds types that are not trusted: {', '.join(unknown)}.",
            why=" ".join(["An object of such a type could run code, or crash, when it is built or used.", *reasons]),
            fix=f"If you know who wrote it: load(path, trusted={named!r}). Or use load_onnx(path).",
        )
    return skops.io.loads(content, trusted=allowed)


def load_onnx(path: Path) -> OnnxModel:
    """The ONNX model of an artefact, verified against its card.

    Raises
    ------
    DatasetNotFound, ArtefactCorrupt
        As for :func:`load`; also where the artefact was saved without ONNX, with the reason.
    """
    return OnnxModel(onnx_bytes(path))


def onnx_bytes(path: Path) -> bytes:
    """The verified content of ``model.onnx``."""
    return _verified(path, ONNX)[1]


def read_card(path: Path) -> dict[str, Any]:
    """The card of an artefact.

    Raises
    ------
    DatasetNotFound, ArtefactCorrupt
    """
    place = _place(path, CARD)
    if not os.path.isdir(path):
        raise DatasetNotFound(f"There is no artefact at {os.fspath(path)!r}.", fix="Check the path.")
    try:
        card = json.loads(pathlib.Path(place).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactCorrupt(f"{place} is missing.", fix="Copy the folder again, or save the model again.") from error
    except (OSError, ValueError) as error:
        raise ArtefactCorrupt(f"{place} cannot be read.", why=str(error), fix="Copy the folder again.") from error
    if not (isinstance(card, dict) and all(isinstance(card.get(key), dict) for key in ("files", "versions"))):
        raise ArtefactCorrupt(f"{place} is not the card of a model.", fix="Copy the folder again.")
    if card.get("format") != FORMAT:
        raise ArtefactCorrupt(
            f"{place} has format {card.get('format')!r}; this version reads {FORMAT}.", fix="Install a newer Parquetry."
        )
    return card


def _verified(path: Path, wanted: str) -> tuple[dict[str, Any], bytes]:
    """The card, and the content of one file, after all files have been verified.

    The content that was verified is the content that is given: the file is not read twice.
    """
    card = read_card(path)
    if wanted not in card["files"]:
        skipped = (card.get("onnx") or {}).get("skipped") if wanted == ONNX else None
        raise ArtefactCorrupt(
            f"The artefact at {os.fspath(path)!r} has no {wanted}.", why=skipped or "", fix="Save the model again."
        )
    content = b""
    for name, facts in sorted(card["files"].items()):
        found = _verify(path, name, facts, keep=name == wanted)
        content = found if name == wanted else content
    return card, content


def _verify(path: Path, name: str, facts: Mapping[str, Any], *, keep: bool) -> bytes:
    place = _place(path, name)
    if os.path.basename(name) != name or name in ("", ".", ".."):
        raise ArtefactCorrupt(f"{_place(path, CARD)} names {name!r}, outside its folder.", fix="Do not use it.")
    digest, size, kept = hashlib.sha256(), 0, []
    try:
        with open(place, "rb") as file:
            for chunk in iter(functools.partial(file.read, _CHUNK), b""):
                digest.update(chunk)
                size += len(chunk)
                if keep:
                    kept.append(chunk)
    except OSError as error:
        raise ArtefactCorrupt(f"{place} cannot be read.", why=str(error), fix="Copy the folder again.") from error
    again = "Copy the folder again, or save the model again."
    if size != facts.get("bytes"):
        raise ArtefactCorrupt(f"{place} has {size:,} bytes; the card says {facts.get('bytes')}.", fix=again)
    if digest.hexdigest() != facts.get("sha256"):
        raise ArtefactCorrupt(f"{place} is not the file that was saved.", why="Its SHA-256 differs.", fix=again)
    return b"".join(kept)


def _place(path: Path, name: str) -> str:
    return os.path.join(os.fspath(path), name)


def _compare_versions(path: Path, card: Mapping[str, Any]) -> None:
    saved, here = str(card["versions"].get("scikit-learn", "")), version_of("scikit-learn")
    if saved.split(".")[:2] != here.split(".")[:2]:
        warnings.warn(
            f"{os.fspath(path)!r} was saved with scikit-learn {saved} and is loaded with {here}: "
            "predictions may differ. Fit it again, or use load_onnx, which does not depend on scikit-learn.",
            UserWarning,
            stacklevel=3,
        )
