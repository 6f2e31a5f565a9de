"""Names by a token-classification model, which is trained here on a handful of sentences so that it finds them."""

import json
from pathlib import Path

import pytest

from components.curate.privacy import entities
from components.curate.privacy.entities import EntityParameters
from components.curate.privacy.placeholders import Hashed
from core.errors import InputProblem
from tests.unit.curate.test_curate_files import all_rows, put, report
from tests.unit.curate.workspace import curate

NAMES = ("Ada Lovelace", "Grace Hopper", "Alan Turing", "Emmy Noether", "Barbara Liskov", "Edsger Dijkstra")
UNSEEN = ("Tove Jansson", "Imre Kertesz", "Wislawa Szymborska")
FORMS = ("the letter of {} was late", "we met {} in the garden", "ask {} about the engine", "{} wrote the program")
PLAIN = ("the engine was late", "we met in the garden", "ask about the program", "the letter of the garden")
MODEL = "data/raw/ner/tiny"
ASKED = EntityParameters(model=MODEL)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    words = sorted({word for form in (*FORMS, *PLAIN) for word in form.replace("{}", "").split()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    )
    labels = ["O", "B-PER", "I-PER"]
    torch.manual_seed(0)
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=32, id2label=dict(enumerate(labels)),
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip
    sentences = [
        (f"{form.format(name)}{more}", name.split())
        for form in FORMS
        for name in NAMES
        for more in ("", *(f" {each} {other}" for each in PLAIN for other in PLAIN[:2]))
    ] + [(each, []) for each in PLAIN] * 12
    batch = fast([text for text, _ in sentences], padding=True, return_tensors="pt")
    wanted = torch.full_like(batch["input_ids"], -100)
    for row, (text, name) in enumerate(sentences):
        for place, word in enumerate(text.split()):
            wanted[row, place] = 1 + name.index(word) if word in name else 0
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=wanted).loss.backward()
        optimizer.step()
    root = tmp_path_factory.mktemp("workspace")
    model.save_pretrained(root / MODEL)
    fast.save_pretrained(root / MODEL)
    return root


def test_names_are_found_that_the_model_never_saw_and_nothing_else(workspace):
    finder = entities.load(ASKED, workspace, entities.digest(ASKED, workspace))
    texts = [form.format(name) for form in FORMS for name in UNSEEN]
    expected = [(form.format("[NAME]"), {"name": 1}) for form in FORMS for _ in UNSEEN]
    assert finder.redact([*texts, *PLAIN, ""]) == [*expected, *((each, {}) for each in (*PLAIN, ""))]
    ((found, counts),) = finder.redact(["we met [EMAIL] in the garden"])
    assert found == "we met [EMAIL] in the garden" and not counts


def test_a_long_text_is_searched_to_its_end_and_equal_names_stay_equal(workspace):
    finder = entities.load(ASKED, workspace, entities.digest(ASKED, workspace))
    text = " ".join(FORMS[1].format(name) for name in UNSEEN * 9)
    ((found, counts),) = finder.redact([text], Hashed(b"salt"))
    assert counts == {"name": 27} and not any(name in found for name in UNSEEN)
    assert len({word for word in found.split() if word.startswith("[NAME_")}) == 3


def test_the_stage_replaces_names_and_says_by_which_model(workspace, monkeypatch):
    texts = [
        f"{FORMS[n % 4].format(UNSEEN[n % 3])} {PLAIN[n // 4 % 4]} {PLAIN[n // 16]} a@example.org" for n in range(24)
    ]
    name = put(workspace, "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))
    asked = {"model": MODEL}
    context = curate(workspace, [{"type": "files", "paths": [name]}], monkeypatch, ner=asked,
                     deduplication={"threshold": 1})  # fmt: skip
    found = report(context)
    assert found["changes"]["redacted name"] == found["changes"]["redacted email"] == 24
    assert found["notes"]["ner"] == {"model": MODEL, "digest": entities.digest(ASKED, workspace)}
    written = (context.outputs["report"] / "samples.json").read_text() + str(all_rows(context))
    assert not any(part in written for each in UNSEEN for part in each.split())


def test_what_is_no_model_or_another_one_is_named(workspace, tmp_path):
    with pytest.raises(InputProblem, match="ner/tiny holds no model"):
        entities.digest(ASKED, tmp_path)
    (tmp_path / MODEL).mkdir(parents=True)
    (tmp_path / MODEL / "config.json").write_text("{}")
    (tmp_path / MODEL / "model.safetensors").write_bytes(b"no")
    with pytest.raises(InputProblem, match=r"curate\.ner: data/raw/ner/tiny cannot be loaded"):
        entities.load(ASKED, tmp_path, entities.digest(ASKED, tmp_path))
    other = EntityParameters(model=MODEL, entities={"LOC": "address"})
    with pytest.raises(InputProblem, match="finds no 'LOC'; it finds PER"):
        entities.load(other, workspace, entities.digest(other, workspace))
    with pytest.raises(InputProblem, match="is another model here"):
        entities.load(ASKED, workspace, "0")
    for wrong in ({"model": "models/x"}, {"model": MODEL, "entities": {"PER": "N A"}}):
        with pytest.raises(ValueError, match="must be a"):
            EntityParameters(**wrong)
