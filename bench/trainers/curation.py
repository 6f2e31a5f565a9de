"""The published rules on the texts of a file, by datatrove or by us: `python curation.py WHO TEXTS.jsonl RESULT.json`.

Runs in the environment of its own side. Writes the processor seconds, the largest resident set, and for each text
the rule that drops it (null: kept). The first texts are judged once before the clock starts: compilers and tables are
loaded then.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from marks import peak

WARM_UP = 50


def main() -> None:
    who, texts_path, result_path = sys.argv[1:]
    texts = [json.loads(line) for line in open(texts_path)]
    # stemma-exact measures as datatrove does.
    # datatrove-words counts what stands between blanks, datatrove-sentences ends of sentences as we do as well.
    judge = {
        "datatrove": datatrove, "stemma": stemma, "stemma-exact": partial(stemma, "datatrove"),
        "datatrove-words": partial(datatrove, ("words",)),
        "datatrove-sentences": partial(datatrove, ("words", "sentences")),
    }[who]()  # fmt: skip
    judge(texts[:WARM_UP])
    began = time.process_time()
    rules = judge(texts)
    seconds = time.process_time() - began
    Path(result_path).write_text(json.dumps({"seconds": seconds, "peak": peak(), "rules": rules}))


Judge = Callable[[list[str]], list[str | None]]


def datatrove(as_we: tuple[str, ...] = ()) -> Judge:
    """Its filters with the published values, then its PII formatter and MinHash signature of what is kept.

    ``as_we``: count ``words`` and ``sentences`` as our side does, to see how much of a difference comes from that.
    """
    from datatrove.pipeline.filters import (
        c4_filters,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    if "words" in as_we:
        for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
            module.split_into_words = lambda text, language: text.split()
    if "sentences" in as_we:
        end = re.compile(r"[.!?][\"'”’)\]]*(?:\s|$)")
        c4_filters.split_into_sentences = lambda text, language: end.findall(text)
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.utils.hashing import HashConfig

    filters = [
        GopherQualityFilter(max_non_alpha_words_ratio=None),
        GopherRepetitionFilter(),
        C4QualityFilter(
            filter_no_terminal_punct=False, min_words_per_line=-1, max_word_length=-1, remove_citations=False,
            filter_javascript=False, filter_policy=False,
        ),
        FineWebQualityFilter(char_duplicates_ratio=0.1, new_line_ratio=1e9),
    ]  # fmt: skip
    formatter = PIIFormatter()
    minhash = MinhashDedupSignature(
        "unused", MinhashConfig(n_grams=3, num_buckets=32, hashes_per_bucket=4, hash_config=HashConfig(precision=32))
    )

    def judge(texts: list[str]) -> list[str | None]:
        rules = []
        for number, text in enumerate(texts):
            document = Document(text=text, id=str(number))
            found = (each.filter(document) for each in filters)
            rule = next((each[1] if isinstance(each, tuple) else "dropped" for each in found if each is not True), None)
            if rule is None:
                minhash.get_signature(minhash.get_shingles(formatter.format(document.text)))
            rules.append(rule)
        return rules

    return judge


def stemma(measures: str = "published") -> Judge:
    """Cleaning, redaction, the same rules, content hashes and signatures, as the stage runs them in one process."""
    import pyarrow as pa

    from components.curate.documents import FIELDS
    from components.curate.ledger import Ledger
    from components.curate.parameters import CurateParameters
    from components.curate.process import process

    parameters = CurateParameters.model_validate({"quality": {
        "measures": measures,
        "gopher": {
            "min_words": 50, "min_mean_word_length": 3, "max_mean_word_length": 10, "min_alphabetic_words": None,
            "min_stop_words": 2, "repetition_min_words": 1, "max_duplicate_lines": 0.3,
            "max_duplicate_paragraphs": 0.3, "max_duplicate_line_characters": 0.2,
            "max_duplicate_paragraph_characters": 0.2, "max_top_ngram_characters": {2: 0.2, 3: 0.18, 4: 0.16},
            "max_duplicate_ngram_characters": {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
        },
        "c4": {"remove_policy_lines": False, "drop_lorem_ipsum": True, "drop_curly_bracket": True, "min_sentences": 5},
        "fineweb": {"min_punctuated_lines": 0.12, "max_short_lines": 0.67, "max_duplicate_line_characters": 0.1},
    }})  # fmt: skip

    def judge(texts: list[str]) -> list[str | None]:
        rules: list[str | None] = []
        for start in range(0, len(texts), 1024):
            part = texts[start : start + 1024]
            columns = [pa.array(part if name == "text" else [""] * len(part), pa.string()) for name in FIELDS]
            batch = pa.RecordBatch.from_arrays(columns, list(FIELDS))
            judged = process(batch, parameters, 0, Ledger(0), compiled=True)
            rules += judged["rule"].to_pylist()
        return rules

    return judge


if __name__ == "__main__":
    main()
