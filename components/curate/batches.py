"""Cleaning, redaction and the quality rules for a batch of texts.

The compiled passes (:mod:`components.curate.text.screening`, :mod:`components.curate.filters.kernels`) decide what the
patterns and rules of single texts would. The result is the same; :mod:`components.curate.compilation` says when they
are used.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

from components.curate.filters import as_datatrove, quality
from components.curate.filters.quality import Finding
from components.curate.filters.quality_parameters import QualityParameters
from components.curate.privacy.placeholders import Placeholder, typed
from components.curate.privacy.redaction import redact
from components.curate.text.cleaning import clean


def cleaned(texts: Sequence[str], form: Literal["NFC", "NFKC", "none"], *, compiled: bool) -> list[str]:
    """As :func:`components.curate.text.cleaning.clean`, of each text."""
    if not compiled:
        return [clean(text, form) for text in texts]
    from components.curate.text.screening import may_change

    texts = [text.strip("\n").rstrip() for text in texts]
    return [
        text
        if not change or (change == 1 and (form == "none" or unicodedata.is_normalized(form, text)))
        else clean(text, form)
        for text, change in zip(texts, may_change(texts).tolist(), strict=True)
    ]


def redacted(
    texts: Sequence[str], types: Collection[str], placeholder: Placeholder = typed, *, compiled: bool
) -> list[tuple[str, Counter[str]]]:
    """As :func:`components.curate.privacy.redaction.redact`, of each text."""
    if not compiled:
        return [redact(text, types, placeholder) for text in texts]
    from components.curate.text.screening import BITS, may_hold

    suspected = [[name for name in types if bits & BITS[name]] for bits in may_hold(texts).tolist()]
    result = [
        redact(text, names, placeholder) if names else (text, Counter[str]())
        for text, names in zip(texts, suspected, strict=True)
    ]
    # What was replaced may make room for another type; only then are all looked for.
    changed = [place for place, (_, found) in enumerate(result) if found]
    for place, bits in zip(changed, may_hold([result[place][0] for place in changed]).tolist(), strict=True):
        if any(bits & BITS[name] for name in types if name not in suspected[place]):
            result[place] = redact(texts[place], types, placeholder)
    return result


def judged(texts: Sequence[str], rules: QualityParameters, *, compiled: bool) -> list[Finding | None]:
    """As :func:`components.curate.filters.quality.judge` of each text, none of which may be blank; where the rules ask
    for it, as that of :mod:`components.curate.filters.as_datatrove`."""
    if not compiled:
        judge = as_datatrove.judge if rules.measures == "datatrove" else quality.judge
        return [judge(text, rules) for text in texts]
    if rules.measures == "datatrove":
        from components.curate.filters import kernels_as_datatrove

        return kernels_as_datatrove.judge(texts, rules)
    from components.curate.filters import kernels

    return kernels.judge(texts, rules)
