"""Repeats are found, distinct texts stay, the links between similar ones are kept: by the rule, and as it is applied
on disk."""

import itertools
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate.deduplication import buckets, decisions, disk, first
from components.curate.deduplication.decisions import EXACT, KEPT, NEAR, decide
from components.curate.deduplication.signatures import shingles, signatures
from components.curate.documents import identifier
from components.curate.parameters import DeduplicationParameters
from core.errors import InputProblem
from tests.unit.curate.duplicates_in_memory import Deduplicator
from tests.unit.curate.workspace import sentence

PARAMETERS = DeduplicationParameters()
SHORT = DeduplicationParameters(permutations=16, threshold=0.75, split_threshold=0.4)
words = st.lists(st.text("abcdefgh", min_size=3, max_size=8), min_size=12, max_size=60, unique=True)


def written(folder: Path, rows: list[tuple[str, np.ndarray, bool]], file_rows: int = 1 << 30) -> list[Path]:
    """Judged files of documents: identifier, signature, whether it takes part."""
    paths = []
    for number, begin in enumerate(range(0, len(rows), file_rows)):
        part = rows[begin : begin + file_rows]
        width = len(part[0][1]) * 4
        table = pa.table(
            {
                "id": pa.array([name for name, _, _ in part]),
                "rule": pa.array([None if takes else "short" for _, _, takes in part], pa.string()),
                "signature": pa.array(
                    [s.astype("<u4").tobytes() if takes else None for _, s, takes in part], pa.binary(width)
                ),
            }
        )
        paths.append(folder / f"{number:04d}.parquet")
        pq.write_table(table, paths[-1], write_page_checksum=True)
    return paths


def judged(texts: list[str]) -> tuple[list[tuple[int, int, float]], list[tuple[int, int]]]:
    """Outcome, number of the kept text and similarity of each text in turn, and the links."""
    signed = signatures(texts, PARAMETERS, 1)
    rows = [(identifier(text), each, True) for text, each in zip(texts, signed, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        return listed(decide(written(Path(folder), rows), PARAMETERS, Path(folder, "work")))


def listed(found: decisions.DuplicateDecisions) -> tuple[list[tuple[int, int, float]], list[tuple[int, int]]]:
    each = zip(found.outcome.tolist(), found.of.tolist(), found.similarity.tolist(), strict=True)
    return list(each), [tuple(pair) for pair in found.links.tolist()]


def in_memory(rows: list[tuple[str, np.ndarray, bool]], parameters: DeduplicationParameters, representatives: int):
    rule = Deduplicator(parameters, representatives)
    found = [rule.add(name, signature) for name, signature, takes in rows if takes]
    return [(outcome, of, float(np.float32(alike))) for outcome, of, alike in found], rule.links


@st.composite
def corpora(draw):
    """Documents of few bands, so that many meet, alike and unlike; some repeat, some break a rule."""
    count = draw(st.integers(0, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bands = random.integers(0, 2**32, (draw(st.integers(1, 4)), 4, 4), dtype=np.uint32)
    rows = []
    for number in range(count):
        signature = bands[random.integers(len(bands), size=4), np.arange(4)].copy()
        signature[random.random((4, 4)) < 0.1] = number
        rows.append((identifier(str(number)), signature.reshape(-1), random.random() < 0.9))
        if random.random() < 0.2:
            rows.append(rows[random.integers(len(rows))])
    return rows


@settings(max_examples=60, deadline=None)
@given(corpora(), st.sampled_from([1, 3, 16, 1000]), st.sampled_from([1, 2, 256]), st.sampled_from([5, 1000]))
def test_the_decisions_on_disk_are_those_of_the_rule_in_memory(rows, block, representatives, file_rows):
    with tempfile.TemporaryDirectory() as folder:
        paths = written(Path(folder), rows, file_rows)
        found = decide(paths, SHORT, Path(folder, "work"), block=block, representatives=representatives)
        assert listed(found) == in_memory(rows, SHORT, representatives)


def corpus(count: int, seed: int = 0) -> list[tuple[str, np.ndarray, bool]]:
    """Documents that come in families, the members of which are more or less alike."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        if number % 5:
            signature = rows[-1][1].copy()
            signature[random.random(16) < random.random()] = number
        else:
            signature = random.integers(0, 2**32, 16, dtype=np.uint32)
        rows.append((identifier(str(number // 7 * 7 if number % 3 == 0 else number)), signature, True))
    return rows


def test_compiled_code_many_partitions_and_what_a_killed_run_left_change_nothing(tmp_path, monkeypatch):
    rows = corpus(500)
    paths, expected = written(tmp_path, rows), in_memory(rows, SHORT, 256)
    assert {outcome for outcome, _, _ in expected[0]} == {KEPT, EXACT, NEAR} and expected[1]
    monkeypatch.setattr(decisions, "WORTH_COMPILING", 0)
    for module in (decisions.buckets, first):
        monkeypatch.setattr(module, "PARTITION", 1000)
    assert listed(decide(paths, SHORT, tmp_path / "work", block=64)) == expected
    found = decisions._blocks

    def killed(*given):
        yield from itertools.islice(found(*given), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(decisions, "_blocks", killed)
    with pytest.raises(KeyboardInterrupt):
        decide(paths, SHORT, tmp_path / "work", block=64)
    monkeypatch.setattr(decisions, "_blocks", found)
    assert listed(decide(paths, SHORT, tmp_path / "work", block=64)) == expected


def test_memory_does_not_grow_with_the_documents(tmp_path, monkeypatch):
    for module in (decisions.buckets, first):
        monkeypatch.setattr(module, "PARTITION", 4000)
    monkeypatch.setattr(decisions, "_LINKS", 1000)
    peaks = []
    for count in (1000, 6000):
        (folder := tmp_path / str(count)).mkdir()
        paths = written(folder, corpus(count), 500)
        tracemalloc.start()
        decide(paths, SHORT, folder / "work", block=256)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 8 * 5000  # a partition may be somewhat fuller; an index takes over 100 bytes each


def test_boilerplate_costs_no_square(tmp_path, monkeypatch):
    """A million documents with one equal band would be compared 10 ** 12 times without a bound."""
    random = np.random.default_rng(0)
    compared = []
    compare = decisions._compare

    def counted(done, row, begins, taken, places, *rest):
        compared.append(sum(int(places[place]) for place in taken))
        return compare(done, row, begins, taken, places, *rest)

    monkeypatch.setattr(decisions, "_compare", counted)
    rows = [(identifier(str(n)), random.integers(0, 2**32, 16, dtype=np.uint32), True) for n in range(600)]
    for _, signature, _ in rows:
        signature[:4] = 7
    found = decide(written(tmp_path, rows), SHORT, tmp_path / "work", block=50, representatives=8)
    assert (found.outcome == KEPT).all()
    assert max(compared) == 50 * 8


def test_the_disk_is_asked_before_it_is_filled(tmp_path, monkeypatch):
    paths = written(tmp_path, corpus(10))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 1 << 40, 1 << 29))
    decide(paths, SHORT, tmp_path / "work")  # so little fits
    with pytest.raises(InputProblem, match=r"finding duplicates needs 0\.3 GB of disk .* 0\.5 GB\s+are free"):
        disk.require_room(tmp_path, 300_000_000, "finding duplicates")


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one, PARAMETERS.shingle_words), shingles(other, PARAMETERS.shingle_words)
    return len(a & b) / len(a | b)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=20))
def test_no_text_is_kept_twice(texts):
    texts = [text.encode("utf-8", "ignore").decode() or "x" for text in texts]
    outcomes = [outcome for outcome, _, _ in judged([*texts, *texts])[0]]
    kept = [text for text, outcome in zip(texts, outcomes[: len(texts)], strict=True) if outcome == KEPT]
    assert len(kept) == len(set(kept))
    assert KEPT not in outcomes[len(texts) :]


@settings(max_examples=20, deadline=None)
@given(words)
def test_case_and_punctuation_make_a_near_duplicate(found):
    (one, second), _ = judged([" ".join(found), ", ".join(found).upper() + "!"])
    assert one[0] == KEPT
    assert second[:2] == (NEAR, 0)


@settings(max_examples=25, deadline=None)
@given(words, st.data())
def test_a_change_of_few_words_is_judged_by_its_similarity(found, data):
    text = " ".join(found)
    places = data.draw(st.sets(st.integers(0, len(found) - 1), max_size=6))
    changed = " ".join("zzz" + str(i) if i in places else word for i, word in enumerate(found))
    (_, (outcome, _, _)), links = judged([text, changed])
    true = jaccard(text, changed)
    # 128 permutations estimate with a standard error of at most 0.045; the margins are three of them.
    if changed != text and true < PARAMETERS.threshold - 0.14:
        assert outcome == KEPT
    if true > PARAMETERS.threshold + 0.14:
        assert outcome != KEPT
    if outcome == KEPT and true > PARAMETERS.split_threshold + 0.14:
        assert links == [(0, 1)]
    if outcome == KEPT and true < PARAMETERS.split_threshold - 0.14:
        assert links == []


def test_distinct_texts_all_stay():
    assert [each[0] for each in judged([sentence(n) for n in range(300)])[0]] == [KEPT] * 300


def test_short_texts_are_distinguished():
    texts = ["Open the file", "Close the file", "open the FILE", "Open the file"]
    assert [each[0] for each in judged(texts)[0]] == [KEPT, KEPT, NEAR, EXACT]


odd_texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("ab_9 \n\tÉßİ日本Ⓐ²\u0300\U0001d518")),
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(odd_texts, min_size=1, max_size=8), st.sampled_from([1, 3, 5]), st.integers(0, 2**40))
def test_compiled_shingles_give_the_same_signatures(texts, words, seed):
    parameters = DeduplicationParameters(shingle_words=words, permutations=48)
    found = signatures(texts, parameters, seed, compiled=True)
    assert found.tolist() == signatures(texts, parameters, seed).tolist()


@pytest.mark.parametrize("alike", [0.3, 0.5, 0.7])
def test_pairs_meet_as_often_as_theory_says(tmp_path, alike):
    """1 - (1 - s ** r) ** b of the pairs with Jaccard similarity s share one of b bands of r rows."""
    pairs, words = 400, 120
    common = round(2 * words * alike / (1 + alike))
    texts = []
    for pair in range(pairs):
        whole = [f"w{pair}x{number}" for number in range(2 * words - common)]
        texts += [" ".join(whole[:words]), " ".join(whole[-words:])]
    loose = DeduplicationParameters(shingle_words=1, threshold=1, split_threshold=0.001)
    rows = [(str(n).zfill(32), each, True) for n, each in enumerate(signatures(texts, loose, 5, compiled=True))]
    _, links = listed(decide(written(tmp_path, rows), loose, tmp_path / "work"))
    met = sum(other == one + 1 and one % 2 == 0 for one, other in links) / pairs
    true = common / (2 * words - common)
    theory = 1 - (1 - true**buckets.ROWS_PER_BAND) ** (128 // buckets.ROWS_PER_BAND)
    assert abs(met - theory) < 4 * (theory * (1 - theory) / pairs) ** 0.5 + 0.01


def test_signatures_are_equal_in_every_process():
    program = (
        "from components.curate.deduplication.signatures import *;"
        "print(signatures(['the quick brown fox jumps over the dog'],DeduplicationParameters(),7).tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
