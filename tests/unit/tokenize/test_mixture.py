"""Mixtures: the arithmetic of published tables, what is drawn from a corpus, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

import components
from components import pages
from components.tokenize.mixture import epochs
from components.tokenize.mixture_parameters import MixtureParameters
from core.errors import InputProblem
from tests.stage import run_component

COMPONENT = components.load("tokenize")

# Brown et al. 2020, table 2.2, for 300 billion tokens: tokens in billions, weight in the mix, epochs.
GPT3 = {
    "common_crawl": (410, 0.60, 0.44),
    "webtext2": (19, 0.22, 2.9),
    "books1": (12, 0.08, 1.9),
    "books2": (55, 0.08, 0.43),
    "wikipedia": (3, 0.03, 3.4),
}
# Touvron et al. 2023, table 1, for 1.4 trillion tokens: sampling proportion, epochs.
LLAMA = {
    "CommonCrawl": (0.67, 1.10), "C4": (0.15, 1.06), "Github": (0.045, 0.64), "Wikipedia": (0.045, 2.45),
    "Books": (0.045, 2.23), "ArXiv": (0.025, 1.06), "StackExchange": (0.02, 1.03),
}  # fmt: skip


def test_gpt3s_table():
    """Each published number of epochs lies between those of its row's rounded weight and tokens, but WebText2's: 2.9
    epochs of 19 billion tokens are 18 % of the mix, and the table says 22 %."""
    sizes = {name: tokens * 10**9 for name, (tokens, _, _) in GPT3.items()}
    shares = {name: weight for name, (_, weight, _) in GPT3.items()}
    assert sum(shares.values()) == pytest.approx(1.01)  # as published
    found = epochs(sizes, MixtureParameters(shares=shares, tokens=300 * 10**9))
    for name, (tokens, weight, published) in GPT3.items():
        least, most = ((weight + step) * 300 / (tokens - 100 * step) for step in (-0.005, 0.005))
        assert least / 1.01 <= found[name] <= most
        assert (least / 1.01 - 0.05 <= published <= most + 0.05) is (name != "webtext2"), name
    assert found["common_crawl"] == pytest.approx(0.44, abs=0.01)
    assert found["books2"] == pytest.approx(0.43, abs=0.005)
    assert sum(found[name] * sizes[name] for name in sizes) == pytest.approx(300e9)


def test_llamas_table():
    """From its epochs the published proportions, and from these the epochs."""
    whole = 1_400_000_000_000
    sizes = {name: round(share * whole / times) for name, (share, times) in LLAMA.items()}
    by_shares = MixtureParameters(shares={name: share for name, (share, _) in LLAMA.items()}, tokens=whole)
    given = MixtureParameters(epochs={name: times for name, (_, times) in LLAMA.items()})
    assert epochs(sizes, by_shares) == pytest.approx(epochs(sizes, given))
    drawn = {name: sizes[name] * times for name, times in epochs(sizes, given).items()}
    for name, (share, _) in LLAMA.items():
        assert drawn[name] / sum(drawn.values()) == pytest.approx(share, abs=0.0005)
    # The table's sizes on disk: bytes per token of the two web sets agree, as those of one kind of text must.
    assert 3.3e12 / sizes["CommonCrawl"] == pytest.approx(783e9 / sizes["C4"], rel=0.03)


def test_temperature():
    """Conneau et al. 2019: with alpha 0.3 a language of a thousandth of the tokens gets 11 % of them."""
    sizes = {"en": 1_000_000, "sw": 1_000}
    found = epochs(sizes, MixtureParameters(by="language", temperature=1 / 0.3))
    assert found["sw"] * 1_000 / 1_001_000 == pytest.approx(1 / (1 + 1000**0.3))
    assert sum(found[name] * sizes[name] for name in sizes) == pytest.approx(1_001_000)
    assert epochs(sizes, MixtureParameters(temperature=1)) == pytest.approx({"en": 1, "sw": 1})


@pytest.mark.parametrize("wrong", [
    {}, {"shares": {"a": 1}, "temperature": 2}, {"shares": {"a": 0}}, {"epochs": {"a": -1, "b": 2}},
    {"epochs": {"a": 1}, "tokens": 5}, {"temperature": 0}, {"shares": {}},
    {"temperature": 1, "quality": {"column": "score", "factors": [0, 0]}},
])  # fmt: skip
def test_what_says_nothing_or_twice_is_refused(wrong):
    with pytest.raises(ValidationError):
        MixtureParameters.model_validate(wrong)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Documents of two sources, 300 and 100, all of one length; the scores of each rise."""
    workspace = tmp_path_factory.mktemp("workspace")
    folder = workspace / "data/corpus"
    folder.mkdir(parents=True)
    rows = [{"text": f"{word} {n:05d} end", "kind": "row", "source": word, "score": float(n)}
            for word, count in (("web", 300), ("wiki", 100)) for n in range(count)]  # fmt: skip
    for split, chosen in (("train", rows), ("validation", rows[:20]), ("test", rows[:20])):
        pq.write_table(pa.Table.from_pylist(chosen), folder / f"{split}-00000-of-00001.parquet", row_group_size=64)
    return workspace


def tokenize(workspace: Path, mixture: dict | None, **more):
    parameters = {"vocabulary_size": 300, "batch_documents": 50, "mixture": mixture, **more}
    return run_component(COMPONENT, workspace, parameters)


def documents(workspace: Path) -> list[str]:
    """Training documents as they are packed, in order."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(workspace / "models/tokenizer/tokenizer.json"))
    index = json.loads((workspace / "data/tokens/index.json").read_text())
    ids = np.concatenate([
        np.fromfile(workspace / "data/tokens" / shard["file"], "<u2") for shard in index["splits"]["train"]["shards"]
    ])  # fmt: skip
    parts = np.split(ids, np.flatnonzero(ids == index["eos_token_id"]) + 1)[:-1]
    assert len(parts) == index["splits"]["train"]["documents"]
    assert len(ids) == index["splits"]["train"]["tokens"]
    return [tokenizer.decode(part[:-1].tolist()) for part in parts]


def test_epochs_are_drawn_by_the_seed(corpus):
    mixture = {"epochs": {"web": 0.5, "wiki": 2.25}}
    context = tokenize(corpus, mixture)
    drawn = documents(corpus)
    whole = {name: [text for text in drawn if text.startswith(name)] for name in ("web", "wiki")}
    assert len(set(whole["web"])) == len(whole["web"]) and 120 < len(whole["web"]) < 180
    assert len(set(whole["wiki"])) == 100 and 205 < len(whole["wiki"]) < 250
    copies = [drawn.index(text) for text in dict.fromkeys(whole["wiki"])]
    again = [len(drawn) - 1 - drawn[::-1].index(text) for text in dict.fromkeys(whole["wiki"])]
    assert max(copies) < min(again)  # first all first copies, then the second ones
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    rows = {row["part"]: row for row in report["mixture"]["parts"]}
    for name, texts in whole.items():
        assert rows[name]["documents_drawn"] == len(texts)
        assert rows[name]["epochs"] == pytest.approx(rows[name]["tokens_drawn"] / rows[name]["tokens"])
    assert rows["web"]["epochs_planned"] == 0.5 and rows["wiki"]["epochs_planned"] == 2.25
    train = json.loads((corpus / "data/tokens/index.json").read_text())["splits"]["train"]
    assert report["mixture"]["tokens"] == train["tokens"] == sum(row["tokens_drawn"] for row in rows.values())
    assert train["bytes"] == sum(len(text.encode()) for text in drawn)
    said = context.environment["mixture"]
    assert said.startswith("by source: web ") and f"({rows['wiki']['epochs']:.2f} epochs)" in said
    assert "tokens drawn" in pages.tokenize.render(context.outputs["report"]).html()
    assert not list(context.scratch.glob("mixture*"))
    tokenize(corpus, mixture)
    assert documents(corpus) == drawn
    tokenize(corpus, mixture, batch_documents=7)
    assert documents(corpus) == drawn  # whatever the batches


def test_shares_and_the_tokens_that_they_are_of(corpus):
    context = tokenize(corpus, {"shares": {"web": 1, "wiki": 3}, "tokens": 2_000})
    drawn = json.loads((context.outputs["report"] / "report.json").read_text())["mixture"]
    shares = {row["part"]: row["share"] for row in drawn["parts"]}
    assert shares["wiki"] == pytest.approx(0.75, abs=0.06)
    assert drawn["tokens"] == pytest.approx(2_000, rel=0.15)


def test_no_mixture_takes_each_document_once(corpus):
    context = tokenize(corpus, None)
    assert documents(corpus) == pq.read_table(corpus / "data/corpus/train-00000-of-00001.parquet")["text"].to_pylist()
    assert "mixture" not in context.environment
    tokenize(corpus, {"temperature": 1})
    assert sorted(documents(corpus)) == sorted(
        pq.read_table(corpus / "data/corpus/train-00000-of-00001.parquet")["text"].to_pylist()
    )


def test_documents_of_a_high_score_more_often(corpus):
    context = tokenize(corpus, {"epochs": {"web": 1, "wiki": 1}, "quality": {"column": "score", "factors": [0, 1, 3]}})
    numbers = [int(text.split()[1]) for text in documents(corpus) if text.startswith("web")]
    low, middle, high = (sum(edge <= n < edge + 100 for n in numbers) for edge in (0, 100, 200))
    assert low == 0 and 55 < middle < 95 and 200 < high < 250  # 0, 0.75 and 2.25 times
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    assert [row["epochs"] for row in report["mixture"]["parts"]] == pytest.approx([1, 1], abs=0.1)


def test_repeating_too_often_is_warned_of(corpus):
    context = tokenize(corpus, {"epochs": {"web": 1, "wiki": 6}})
    assert any("wiki is taken 6.0 times" in warning for warning in context.warnings)


@pytest.mark.parametrize(("mixture", "problems"), [
    ({"shares": {"web": 1, "wikis": 1}}, [
        "tokenize.mixture.shares: no training document has the source 'wikis'; there are 'web', 'wiki'",
        "tokenize.mixture.shares: says nothing of the source 'wiki'; 0 leaves one out",
    ]),
    ({"by": "language", "temperature": 2}, [
        "tokenize.mixture: the corpus has no column 'language'; it has text, kind, source, score",
    ]),
    ({"temperature": 2, "quality": {"column": "kind"}}, [
        "tokenize.mixture.quality.column: 'kind' holds no numbers",
    ]),
])  # fmt: skip
def test_what_the_corpus_does_not_have_is_refused_before_anything_is_trained(corpus, mixture, problems):
    with pytest.raises(InputProblem) as refused:
        tokenize(corpus, mixture)
    assert refused.value.problems == problems
