"""Generated short messages: two kinds of speech over common words, with some of each that sound like the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_SPAM_SHARE = 0.134
_COMMON = (
    "to you i a the and in is me my it for your of have that on are so but not can at do if be we will get just "
    "now with u up how this when what no go out all ok know good then like got there time am come was he one want "
    "she about see as day going ll home from need they back don still or send text call today our some any by new"
)
_HAM = (
    "lol haha sorry later dinner mum class tonight love dear happy tomorrow sleep bus leave lunch movie wait car "
    "morning thing night think really work hey hope feel miss friend week much money finish meet babe house stuff "
    "yeah sure said thought lor wat da ur gonna been early late eat place room phone already people birthday"
)
_SPAM = (
    "free claim prize won urgent mobile txt reply cash stop nokia customer service awarded tone guaranteed win "
    "contact draw camera ringtone latest offer code weekly video network collect bonus holiday pounds order club "
    "selected landline voucher poly unsubscribe rate operator entry collection valid chat dating account msg await"
)
# The shares of common, ham's and spam's words, and of words that are hardly ever seen.
_SPEECH = {"ham": (0.70, 0.23, 0.03, 0.04), "spam": (0.50, 0.04, 0.38, 0.08), "between": (0.64, 0.15, 0.16, 0.05)}
_SYLLABLES = ("ka", "ro", "mi", "te", "lu", "sha", "ven", "do", "pri", "nag", "el", "os")


def sms_spam(rng: np.random.Generator, rows: int) -> pa.Table:
    """Messages labeled ham or spam: spam is longer, names prices and numbers, and is now and then disguised."""
    spam = rng.random(rows) < _SPAM_SHARE
    odd = rng.random(rows) < np.where(spam, 0.08, 0.01)
    lengths = rng.poisson(np.where(spam, 19.0, 12.0)) + 3
    words = np.array([word for text in (_COMMON, _HAM, _SPAM) for word in text.split()], dtype=object)
    picked = np.empty(int(lengths.sum()), dtype=object)
    speech = np.repeat(np.where(odd, 2, spam), lengths)
    for kind, name in enumerate(("ham", "spam", "between")):
        here = np.flatnonzero(speech == kind)
        picked[here] = words[rng.choice(len(words), size=len(here), p=_weights(name))]
    rare = np.flatnonzero(rng.random(len(picked)) < np.array([s[3] for s in _SPEECH.values()])[speech])
    picked[rare] = ["".join(parts) for parts in rng.choice(_SYLLABLES, size=(len(rare), 3))]
    ends = np.cumsum(lengths).tolist()
    texts = [" ".join(picked[end - n : end]) for end, n in zip(ends, lengths.tolist(), strict=True)]
    dressed = [
        _dressed(text, s, rng) for text, s in zip(texts, (spam & (rng.random(rows) < 0.85)).tolist(), strict=True)
    ]
    return pa.table({"label": pa.array(np.where(spam, "spam", "ham").tolist()), "text": pa.array(dressed)})


def _weights(kind: str) -> npt.NDArray[np.float64]:
    parts = []
    for share, text in zip(_SPEECH[kind], (_COMMON, _HAM, _SPAM), strict=False):
        falling = 1.0 / np.arange(3, len(text.split()) + 3)
        parts.append(share * falling / falling.sum())
    weights: npt.NDArray[np.float64] = np.concatenate(parts)
    return np.asarray(weights / weights.sum())


def _dressed(text: str, pushing: bool, rng: np.random.Generator) -> str:
    text = text[:1].upper() + text[1:]
    if not pushing:
        return text + ("", ".", "...", "?", " :)")[rng.integers(5)]
    price = f"£{rng.integers(1, 40) * 50}"
    return f"{text.upper() if rng.random() < 0.2 else text}! {price} now, call 09{rng.integers(10**8, 10**9)}"
