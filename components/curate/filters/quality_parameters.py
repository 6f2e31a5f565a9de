"""Thresholds of the published quality heuristics.

Every default is set for the default corpus, whose documents are docstrings and comments: far shorter than the web
pages the rules were published for. The published value stands in each description; a profile sets those of one kind of
text (:mod:`components.curate.filters.profiles`). ``null`` switches a rule off.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from components.contract import StageParameters
from components.curate.filters.profiles import Profile, completed
from components.perplexity.parameters import PerplexityParameters
from core.parameters_file import flatten


class GopherParameters(StageParameters):
    """Gopher's quality and repetition rules (Rae et al. 2021, arXiv:2112.11446, table A1)."""

    min_words: int | None = Field(4, ge=1, description="Fewest words. Published 50.")
    max_words: int | None = Field(100_000, ge=1, description="Most words. Published 100,000.")
    min_mean_word_length: float | None = Field(2, ge=0, description="Shortest mean word. Published 3.")
    max_mean_word_length: float | None = Field(12, ge=0, description="Longest mean word. Published 10.")
    max_symbol_word_ratio: float | None = Field(
        0.1, ge=0, description="Most hash signs, or ellipses, to a word. Published 0.1."
    )
    max_bullet_lines: float | None = Field(
        0.9, ge=0, le=1, description="Most lines that begin with a bullet. Published 0.9."
    )
    max_ellipsis_lines: float | None = Field(
        0.3, ge=0, le=1, description="Most lines that end with an ellipsis. Published 0.3."
    )
    min_alphabetic_words: float | None = Field(
        0.6, ge=0, le=1, description="Fewest words with an alphabetic character. Published 0.8."
    )
    min_stop_words: int | None = Field(
        None, ge=0, le=8, description="Fewest distinct of: the be to of and that have with. Published 2."
    )
    repetition_min_words: int = Field(
        50, ge=1, description="The repetition rules below apply from this many words. Published: all, which have 50."
    )
    max_duplicate_lines: float | None = Field(0.4, ge=0, le=1, description="Most repeated lines. Published 0.3.")
    max_duplicate_paragraphs: float | None = Field(
        0.3, ge=0, le=1, description="Most repeated paragraphs. Published 0.3."
    )
    max_duplicate_line_characters: float | None = Field(
        0.3, ge=0, le=1, description="Most characters in repeated lines. Published 0.2."
    )
    max_duplicate_paragraph_characters: float | None = Field(
        0.2, ge=0, le=1, description="Most characters in repeated paragraphs. Published 0.2."
    )
    max_top_ngram_characters: dict[int, float] = Field(
        {2: 0.25, 3: 0.24, 4: 0.23},
        description="Most characters in the commonest n-gram, by n. Published 2: 0.2, 3: 0.18, 4: 0.16.",
    )
    max_duplicate_ngram_characters: dict[int, float] = Field(
        {5: 0.3, 6: 0.29, 7: 0.28, 8: 0.27, 9: 0.26, 10: 0.25},
        description="Most characters in repeated n-grams, by n. Published 5: 0.15, 6: 0.14 ... 10: 0.10; reference "
        "documentation repeats its phrases.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> GopherParameters:
        for low, high in (("min_words", "max_words"), ("min_mean_word_length", "max_mean_word_length")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} ({least}) exceeds {high} ({most}): no document could pass")
        for name in ("max_top_ngram_characters", "max_duplicate_ngram_characters"):
            for n, share in getattr(self, name).items():
                if not 1 <= n <= 20 or not 0 <= share <= 1:
                    raise ValueError(f"{name}: {n}: {share} is not an n-gram length (1 to 20) with a share (0 to 1)")
        return self


class C4Parameters(StageParameters):
    """C4's rules (Raffel et al. 2020, arXiv:1910.10683, section 2.2). Its list of bad words is not shipped."""

    remove_unpunctuated_lines: bool = Field(
        False, description="Remove lines that do not end in . ! ? or a quote. Published true; docs are wrapped."
    )
    line_min_words: int | None = Field(None, ge=1, description="Remove lines of fewer words. Published 3.")
    remove_javascript_lines: bool = Field(False, description="Remove lines with the word javascript. Published true.")
    remove_policy_lines: bool = Field(True, description="Remove lines about cookies and terms of use. Published true.")
    drop_lorem_ipsum: bool = Field(True, description="Drop documents with `lorem ipsum`. Published true.")
    drop_curly_bracket: bool = Field(False, description="Drop documents with `{`. Published true; docs show code.")
    min_sentences: int | None = Field(None, ge=1, description="Fewest sentences. Published 5.")


class FineWebParameters(StageParameters):
    """FineWeb's own rules (Penedo et al. 2024, arXiv:2406.17557, section 3.6)."""

    min_punctuated_lines: float | None = Field(
        None, ge=0, le=1, description="Fewest lines that end in punctuation. Published 0.12; docs are wrapped."
    )
    max_duplicate_line_characters: float | None = Field(
        0.3, ge=0, le=1, description="Most characters in repeated lines. Published 0.1; docs draw tables."
    )
    max_short_lines: float | None = Field(
        None, ge=0, le=1, description="Most lines under 30 characters. Published 0.67; many docstrings are one line."
    )


class QualityParameters(StageParameters):
    """Quality heuristics under their published names; a whole family set to null is off."""

    profile: Profile | None = Field(
        "docstrings",
        description="Kind of text whose values hold for every rule that is not given (docs/curate.md). web: the "
        "published ones. null: only the rules given.",
    )
    measures: Literal["published", "datatrove"] = Field(
        "published",
        description="How words, lines, sentences and n-grams are counted: as in the papers, or as by datatrove 0.10, "
        "with which FineWeb was made (docs/curate.md); that needs spaCy: stemma-llm[spacy].",
    )
    gopher: GopherParameters | None = Field(default_factory=GopherParameters, description="Gopher's rules.")
    c4: C4Parameters | None = Field(default_factory=C4Parameters, description="C4's rules.")
    fineweb: FineWebParameters | None = Field(default_factory=FineWebParameters, description="FineWeb's rules.")
    perplexity: PerplexityParameters | None = Field(
        None, description="Buckets by perplexity (docs/quality.md), after the other rules; null: none. In no profile."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        return completed(values) if isinstance(values, dict) else values

    def own(self) -> dict[str, Any]:
        """The values that are not the profile's, by rule (``gopher.min_words``) or family that is off."""
        usual = flatten(type(self)(profile=self.profile).model_dump(mode="json"))
        values = flatten(self.model_dump(mode="json"))
        return {name: value for name, value in values.items() if name not in usual or usual[name] != value}
