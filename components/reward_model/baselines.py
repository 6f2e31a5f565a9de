"""What can be said of two answers without understanding them: the bar that a reward model has to clear."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.finetuning.pairs import Pair

FEATURES = (
    "characters",
    "words",
    "digits",
    "capitals",
    "punctuation",
    "ends with a full stop",
    "share of words found in the question",
    "first word is found in the question",
)


def shorter_wins(pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """1 where the chosen answer has fewer characters, 0.5 where both have as many, else 0."""
    difference = np.array([len(pair.rejected.strip()) - len(pair.chosen.strip()) for pair in pairs], float)
    return np.asarray(0.5 + 0.5 * np.sign(difference))


def surface_features(train: Sequence[Pair], held_out: Sequence[Pair], seed: int) -> NDArray[np.float64]:
    """Verdicts on ``held_out``, as above, of a logistic regression on differences of :data:`FEATURES`."""
    from sklearn.linear_model import LogisticRegression

    difference = _differences(train)
    scale = difference.std(axis=0) + 1e-9
    # Every pair is shown both ways round, so that the model needs no intercept and has two classes.
    fitted = LogisticRegression(fit_intercept=False, random_state=seed, max_iter=1000).fit(
        np.concatenate([difference, -difference]) / scale, np.repeat([1, 0], len(difference))
    )
    decided = np.round(fitted.decision_function(_differences(held_out) / scale), 9)
    return np.asarray(0.5 + 0.5 * np.sign(decided))


def features(question: str, answer: str) -> NDArray[np.float64]:
    """The surface of an answer, in the order of :data:`FEATURES`."""
    text = answer.strip()
    words = text.rstrip(".").split()
    known = set(re.findall(r"\S+", question))
    found = [word.strip(",") in known for word in words]
    return np.array(
        [
            len(text),
            len(words),
            sum(c.isdigit() for c in text),
            sum(c.isupper() for c in text),
            sum(not c.isalnum() and not c.isspace() for c in text),
            text.endswith("."),
            sum(found) / len(found) if found else 0.0,
            bool(found and found[0]),
        ],
        dtype=float,
    )


def _differences(pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Features of the chosen less those of the rejected answers, ``[pairs, features]``."""
    return np.array([features(p.record["prompt"], p.chosen) - features(p.record["prompt"], p.rejected) for p in pairs])
