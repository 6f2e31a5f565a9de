"""Looking at a corpus: what it is made of, samples and phrases of it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.corpora import finding, summary
from components.corpora.shards import Corpus
from core.errors import InputProblem
from tests.unit.corpora.corpus import document, write


@pytest.fixture
def corpus(tmp_path):
    texts = [f"Text number {n} of the corpus, größer." for n in range(9)]
    train = [document(text, f"a.txt#{n}", "web" if n % 2 else "books") for n, text in enumerate(texts)]
    return write(tmp_path / "corpus", {"train": train, "test": [document("İ STAYS. The phrase here", "t")]})


def test_documents_and_bytes_are_counted_by_split_source_and_licence(corpus):
    found = summary.summarize(corpus)
    size = len("Text number 0 of the corpus, größer.".encode())
    assert found["splits"]["train"] == {"documents": 9, "bytes": 9 * size}
    assert list(found["by"]["source"]) == ["books", "web", "files"]  # by their text
    assert found["by"]["source"]["web"]["train"] == {"documents": 4, "bytes": 4 * size}
    assert set(found["by"]) == {"source", "license"}  # there is no column of the language


def test_tokens_are_those_of_a_report_of_the_same_text_only(corpus):
    found = summary.summarize(corpus)
    splits = {split: {**counts, "tokens": 5} for split, counts in found["splits"].items()}
    assert summary.tokens_of(found, {"splits": splits}) == {"train": 5, "test": 5}
    splits["train"]["bytes"] += 1
    assert summary.tokens_of(found, {"splits": splits}) == {"test": 5}
    assert summary.tokens_of(found, None) == {}


def test_a_sample_depends_on_the_seed_and_not_on_the_order(corpus, tmp_path):
    first = finding.sample(corpus, 4, 0, "train")
    assert len({row["id"] for row in first}) == 4 and {row["split"] for row in first} == {"train"}
    assert [row["id"] for row in finding.sample(corpus, 4, 1)] != [row["id"] for row in first]
    rows = [{k: v for k, v in row.items() if k != "split"} for row in finding.sample(corpus, 10, 5, "train")]
    again = write(tmp_path / "again", {"train": rows})
    assert [row["id"] for row in finding.sample(again, 4, 0)] == [row["id"] for row in first]
    with pytest.raises(InputProblem, match="no split 'dev'; there are train, test"):
        finding.sample(corpus, 4, 0, "dev")


def test_a_phrase_is_found_with_its_surroundings_in_any_case(corpus):
    hits, seen = finding.search(corpus, "NUMBER 3", 5)
    assert [(hit.origin, hit.before, hit.phrase, hit.after) for hit in hits] == [
        ("a.txt#3", "Text ", "number 3", " of the corpus, größer.")
    ]
    assert seen == corpus.documents == 10
    assert finding.search(corpus, "NUMBER 3", 5, exact=True) == ([], 10)
    [hit] = finding.search(corpus, "stays", 1)[0]
    assert (hit.before, hit.phrase) == ("İ ", "STAYS")  # the first letter is longer in lower case


def test_a_search_ends_with_the_documents_that_were_asked_for(corpus):
    hits, seen = finding.search(corpus, "text", 3, "train")
    assert (len(hits), seen) == (3, 3)


def test_what_a_rule_dropped_comes_from_the_report():
    examples = [{"origin": f"a#{n}", "reason": "short", "text": "x"} for n in range(5)]
    report = {"rules": [{"rule": "empty", "examples": examples}, {"rule": "c4_curly_bracket", "examples": []}]}
    found = finding.dropped(report, "corpus", "empty", 2, 0)
    assert len(found) == 2 and found[0]["rule"] == "empty" and found != finding.dropped(report, "corpus", "empty", 2, 1)
    for rule, message in (
        ("other", "no rule 'other' dropped anything; there are empty, c4_curly_bracket"),
        ("c4_curly_bracket", "no example of c4_curly_bracket was kept; set curate.examples"),
    ):
        with pytest.raises(InputProblem, match=message):
            finding.dropped(report, "corpus", rule, 2, 0)
    with pytest.raises(InputProblem, match="has no report beside it"):
        finding.dropped(None, "corpus", "empty", 2, 0)


def test_files_that_are_no_corpus_are_all_named(tmp_path):
    (tmp_path / "train-1.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(pa.table({"body": ["x"], "text": [5]}), tmp_path / "train-2.parquet")
    with pytest.raises(InputProblem) as problem:
        Corpus("mine", {path.name: path for path in tmp_path.iterdir()})
    assert len(problem.value.problems) == 3
    assert "train-1.parquet cannot be read" in str(problem.value.problems)
    assert "train-2.parquet has no column id, so it is no corpus" in str(problem.value.problems)
    assert "has values of type int64, not text, in its column text" in str(problem.value.problems)


def test_a_shard_that_is_damaged_is_named(corpus, tmp_path):
    path = tmp_path / "corpus" / "train-00001-of-00002.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(InputProblem, match="train-00001-of-00002"):
        summary.summarize(corpus)
