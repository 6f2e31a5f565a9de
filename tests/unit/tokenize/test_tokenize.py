"""The tokenize stage on a real corpus of docstrings, and what it says about unusable ones."""

from __future__ import annotations

import filecmp
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import components
from components import pages
from components.tokenize.compression import Compression, SplitCompression, rows
from components.tokenize.corpus import text_bytes, words
from components.tokenize.parameters import TokenizeParameters
from components.tokenize.shards import TokenShardWriter, dtype_for
from components.tokenize.training import CHAT_TEMPLATE, END, PAD, ROLES
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.tokenize.stdlib_corpus import write_corpus, write_shard

COMPONENT = components.load("tokenize")
SMALL = {"vocabulary_size": 400, "shard_tokens": 5_000, "batch_documents": 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("workspace")
    write_corpus(workspace / "data/corpus", 400)
    return workspace, run_component(COMPONENT, workspace, SMALL)


@pytest.fixture(scope="module")
def tokenizer(made):
    return AutoTokenizer.from_pretrained(made[0] / "models/tokenizer")


def index_of(workspace: Path) -> dict:
    return json.loads((workspace / "data/tokens/index.json").read_text())


def texts(workspace: Path, split: str) -> list[str]:
    files = sorted((workspace / "data/corpus").glob(f"{split}-*.parquet"))
    return [text for file in files for text in pq.read_table(file)["text"].to_pylist()]


def test_shards_hold_exactly_the_documents_in_order(made, tokenizer):
    workspace, _ = made
    index = index_of(workspace)
    assert index["dtype"] == "uint16" and index["vocab_size"] == len(tokenizer) == 400
    assert index["eos_token_id"] == tokenizer.eos_token_id
    for split, entry in index["splits"].items():
        decoded = []
        for shard in entry["shards"]:
            ids = np.fromfile(workspace / "data/tokens" / shard["file"], dtype="<u2")
            assert len(ids) == shard["tokens"]
            assert ids[-1] == tokenizer.eos_token_id, "a document is divided between shards"
            documents = np.split(ids, np.flatnonzero(ids == tokenizer.eos_token_id) + 1)[:-1]
            assert len(documents) == shard["documents"]
            decoded += [tokenizer.decode(document[:-1]) for document in documents]
        original = texts(workspace, split)
        assert decoded == original
        assert entry["documents"] == len(original)
        assert entry["bytes"] == sum(len(text.encode()) for text in original)
        assert entry["tokens"] == sum(shard["tokens"] for shard in entry["shards"])
    assert len(index["splits"]["train"]["shards"]) > 1


def test_bytes_per_token_is_that_of_the_validation_split(made, tokenizer):
    workspace, context = made
    held = texts(workspace, "validation")
    expected = sum(len(t.encode()) for t in held) / sum(len(tokenizer.encode(t)) for t in held)
    metric = next(m for m in context.metrics if m.name == context.headline)
    assert metric.name == "bytes_per_token" and metric.value == pytest.approx(expected)
    assert metric.n == len(held) and metric.stderr > 0 and metric.baselines == {"bytes": 1.0}


def test_report_is_written(made):
    folder = made[0] / "reports/tokenize"
    report = json.loads((folder / "report.json").read_text())
    assert report["vocabulary"] == 400
    assert {row["split"] for row in report["parts"]} == {"train", "validation", "test"}
    assert {row["by"] for row in report["parts"]} == {"kind", "source"}
    assert sum(row["documents"] for row in report["document_lengths"]) == report["splits"]["train"]["documents"]
    assert "Bytes and words per token" in pages.tokenize.render(folder).html()


def test_same_input_gives_the_same_bytes(made, tmp_path):
    workspace, _ = made
    (tmp_path / "data").mkdir()
    (tmp_path / "data/corpus").symlink_to(workspace / "data/corpus")
    run_component(COMPONENT, tmp_path, SMALL | {"batch_documents": 50})
    for folder in ("models/tokenizer", "data/tokens", "reports/tokenize"):
        names = sorted(path.name for path in (workspace / folder).iterdir())
        assert filecmp.cmpfiles(workspace / folder, tmp_path / folder, names, shallow=False) == (names, [], [])


@settings(max_examples=60, deadline=None)
@given(text=st.text())
def test_every_text_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_text_that_spells_a_special_token_stays_text(tmp_path):
    corpus = tmp_path / "data/corpus"
    text = "An end is written <|endoftext|> and a user <|user|> is spelled like that."
    for split in ("train", "validation"):
        write_shard(
            corpus / f"{split}-00000-of-00001.parquet", [{"id": "1", "text": text, "kind": "file", "group": "g"}]
        )
    context = run_component(COMPONENT, tmp_path, {"vocabulary_size": 300})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "models/tokenizer")
    ids = np.fromfile(tmp_path / "data/tokens/train-00000.bin", dtype="<u2")
    assert list(np.flatnonzero(ids < 5)) == [len(ids) - 1]
    assert tokenizer.decode(ids[:-1]) == text
    assert any("no test split" in warning for warning in context.warnings)
    assert any("only" in warning and "300" in warning for warning in context.warnings)
    # The saved tokenizer does know them, for prompts.
    assert tokenizer.encode("<|user|>") == [tokenizer.convert_tokens_to_ids("<|user|>")]


def test_special_tokens_and_chat_template(tokenizer):
    assert tokenizer.eos_token == tokenizer.bos_token == "<|endoftext|>"
    assert tokenizer.pad_token == "<|pad|>" and tokenizer.pad_token_id != tokenizer.eos_token_id
    talk = [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": " hi\n"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "bye"},
    ]
    assert tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True) == (
        "<|system|>Be brief. <|user|> hi\n<|assistant|>hello<|endoftext|><|user|>bye<|assistant|>"
    )
    encoded = tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
    trained = [i for i, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(trained) == "hello<|endoftext|>"
    with pytest.raises(Exception, match="no such role: robot"):
        tokenizer.apply_chat_template([{"role": "robot", "content": "beep"}], tokenize=False)


def test_an_existing_tokenizer_is_used_and_completed(made, tmp_path):
    workspace, _ = made
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_tokens(sorted(pre_tokenizers.ByteLevel.alphabet()))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>").save_pretrained(tmp_path / "mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/corpus").symlink_to(workspace / "data/corpus")
    context = run_component(COMPONENT, tmp_path, {"tokenizer": str(tmp_path / "mine")})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "models/tokenizer")
    assert tokenizer.eos_token == tokenizer.bos_token == "</s>" and tokenizer.pad_token == "<|pad|>"
    assert index_of(tmp_path)["vocab_size"] == len(tokenizer) == 256 + 5
    assert index_of(tmp_path)["eos_token_id"] == tokenizer.convert_tokens_to_ids("</s>")
    assert "chat template" in context.warnings[0]
    assert any(f"the files in {tmp_path / 'mine'} are not watched" in warning for warning in context.warnings)
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokenizer.apply_chat_template(talk, tokenize=False) == "<|user|>a<|assistant|>b</s>"


def test_a_template_that_later_stages_cannot_use_is_warned_of_before_anything_is_trained(made, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/corpus").symlink_to(made[0] / "data/corpus")
    tokenizer = AutoTokenizer.from_pretrained(made[0] / "models/tokenizer")
    unmarked = CHAT_TEMPLATE.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
    for template, warning in (
        (unmarked.replace(" + eos_token", ""), "instruct_finetune cannot use .* no end token follows the answer"),
        (unmarked, "the chat template of .* does not take tool calls"),
    ):
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / "mine")
        context = run_component(COMPONENT, tmp_path, {"tokenizer": str(tmp_path / "mine")})
        assert [each for each in context.warnings if re.search(warning, each)]


def test_unknown_tokenizer_is_a_problem(made, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputProblem, match=r"tokenize\.tokenizer: cannot load"):
        run_component(COMPONENT, made[0], {"tokenizer": "no/such"})


def test_all_problems_of_a_corpus_at_once(tmp_path):
    corpus = tmp_path / "data/corpus"
    corpus.mkdir(parents=True)
    pq.write_table(pa.table({"body": ["a"], "kind": ["x"]}), corpus / "train-00000-of-00002.parquet")
    (corpus / "train-00001-of-00002.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputProblem) as caught:
        run_component(COMPONENT, tmp_path, {})
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "train-00000-of-00002.parquet has no column 'text'" in problems
    assert "train-00001-of-00002.parquet is not a readable parquet file" in problems
    assert "no validation split" in problems


def test_an_empty_split_and_a_missing_text_are_problems(tmp_path):
    corpus = tmp_path / "data/corpus"
    document = {"id": "1", "text": "some text", "kind": "file", "group": "g"}
    write_shard(corpus / "train-00000-of-00001.parquet", [document, document | {"text": None}])
    write_shard(corpus / "validation-00000-of-00001.parquet", [])
    with pytest.raises(InputProblem, match="no documents in its validation split"):
        run_component(COMPONENT, tmp_path, {})
    write_shard(corpus / "validation-00000-of-00001.parquet", [document])
    with pytest.raises(InputProblem, match="1 rows have no text, the first is row 1"):
        run_component(COMPONENT, tmp_path, {})


def test_dtype_grows_with_the_vocabulary():
    assert dtype_for(65_536).itemsize == 2 and dtype_for(65_537).itemsize == 4


def test_vocabulary_must_hold_all_bytes():
    with pytest.raises(ValidationError, match="261"):
        TokenizeParameters(vocabulary_size=260)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 200)), min_size=2, max_size=30))
def test_stderr_is_that_of_the_linearised_ratio(documents):
    compression = Compression()
    columns = np.array(documents).T
    compression.add(columns[0][:1], columns[1][:1], columns[1][:1])
    compression.add(columns[0][1:], columns[1][1:], columns[1][1:])
    sizes, tokens = columns.astype(float)
    residuals = sizes - sizes.sum() / tokens.sum() * tokens
    n = len(documents)
    assert compression.bytes_per_token == pytest.approx(sizes.sum() / tokens.sum())
    assert compression.stderr == pytest.approx((n * (residuals**2).sum() / (n - 1)) ** 0.5 / tokens.sum(), abs=1e-6)


def test_transformers_would_write_the_same_files(made, tmp_path):
    folder = made[0] / "models/tokenizer"
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")),
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES.values()),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert filecmp.cmpfiles(folder, tmp_path, names, shallow=False) == (names, [], [])


def test_the_stage_of_a_trained_tokenizer_imports_neither_torch_nor_transformers(made):
    code = (
        "import sys; from pathlib import Path; import components; from tests.stage import run_component; "
        f"run_component(components.load('tokenize'), Path({str(made[0])!r}), {SMALL!r}); "
        "sys.exit(', '.join({'torch', 'transformers', 'matplotlib'} & sys.modules.keys()) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from(" \n\ta\u3000é漢"), max_size=12), max_size=6))
def test_words_are_what_white_space_divides(texts):
    array = pa.array(["x y", *texts], pa.large_string())[1:]
    assert words(array).tolist() == [len(re.findall(r"[^ \t\n]+", text)) for text in texts]
    assert text_bytes(array).tolist() == [len(text.encode()) for text in texts]


def test_languages_without_spaces_have_no_tokens_per_word():
    compression = SplitCompression()
    batch = pa.RecordBatch.from_pydict({"bytes": np.array([9, 9]), "words": np.array([2, 1]), "language": ["en", "ja"]})
    compression.add(batch, np.array([4, 9]))
    found = {row["value"]: (row["tokens_per_word"], row["bytes_per_token"]) for row in rows({"train": compression})}
    assert found == {"en": (2.0, 9 / 4), "ja": (None, 1.0)}


def test_shards_are_the_same_however_documents_come(tmp_path):
    lengths = np.array([3, 10, 1, 1, 5, 20, 2, 2])
    ids = np.arange(lengths.sum())
    made = []
    for step in (1, 3, 8):
        folder = tmp_path / str(step)
        folder.mkdir()
        writer = TokenShardWriter(folder, "train", dtype=np.dtype("<u2"), shard_tokens=12)
        for start in range(0, 8, step):
            part = slice(lengths[:start].sum(), lengths[: start + step].sum())
            writer.add(ids[part], lengths[start : start + step], 7)
        entry = writer.finish()
        made.append((entry["shards"], [(folder / shard["file"]).read_bytes() for shard in entry["shards"]]))
    assert made[0] == made[1] == made[2]
    assert [shard["documents"] for shard in made[0][0]] == [2, 4, 2]
