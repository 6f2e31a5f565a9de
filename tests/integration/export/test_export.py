"""``stemma export``: what is written, that others can use and check it, and that bad input writes nothing."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM, AutoTokenizer

from core import adapted, layout
from core.errors import InputProblem
from deploy import merging
from deploy.export import export as exporting
from deploy.export.export import export
from registry.errors import InvalidBytes, UnknownReference
from registry.store.collection import collect
from registry.store.materialize import materialize
from registry.store.run_locks import InUse
from tests.llama_cpp import run as run_llama_cpp
from tests.workspace import wait_until

PROMPT = "<|user|>one two<|assistant|>"


def verify(folder: Path, signature: str, public: str, *options: str) -> int:
    """The exit code of the signatures' own program, which knows nothing of Stemma."""
    command = [sys.executable, "-P", "-m", "model_signing", "verify", "key", ".", "--signature", signature,
               "--public_key", public, *options]  # fmt: skip
    return subprocess.run(command, cwd=folder, capture_output=True).returncode


def isolated(folder: Path, script: str) -> str:
    """What a script prints in a process that sees the libraries, and nothing of Stemma or its virtual environment."""
    begin = (
        f"import sys; sys.path.append({sysconfig.get_paths()['purelib']!r})\n"
        "import importlib.util\n"
        "assert not [name for name in ('core', 'deploy', 'components') if importlib.util.find_spec(name)]\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", begin + script], cwd=folder, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def greedy(folder: Path, tokens: int = 16) -> list[int]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(PROMPT, return_tensors="pt", return_token_type_ids=False)
    made = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return made.tolist()


def test_a_hugging_face_folder_loads_elsewhere_and_its_signature_is_checked_by_others(workspace, tmp_path, monkeypatch):
    os.umask(before := os.umask(0o022))
    done = export(workspace, "assistant@champion", tmp_path / "out", "hf")
    assert done.signed and done.version == "assistant:1"
    assert {path.stat().st_mode & 0o777 for path in done.folder.iterdir()} == {0o666 & ~before}
    assert done.folder.stat().st_mode & 0o777 == 0o777 & ~before
    assert verify(done.folder, "model.sig", "model.pub") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]

    script = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model, tokenizer = AutoModelForCausalLM.from_pretrained('.'), AutoTokenizer.from_pretrained('.')\n"
        "chat = tokenizer.apply_chat_template([{'role': 'user', 'content': 'one two'}], add_generation_prompt=True,"
        " return_tensors='pt', return_dict=True)\n"
        "made = model.generate(**chat, do_sample=False, max_new_tokens=16)[0, chat['input_ids'].shape[1]:].tolist()\n"
        "print(model.generation_config.max_new_tokens, made)\n"
    )
    # Training's 24 tokens are no limit of the exported model.
    assert isolated(done.folder, script) == f"None {greedy(materialize(workspace, 'assistant'))}\n"

    (done.folder / "README.md").write_text("Another card.")
    assert verify(done.folder, "model.sig", "model.pub") != 0


def test_the_model_card_says_what_the_lineage_knows(workspace, tmp_path):
    folder = export(workspace, "assistant", tmp_path / "out", "hf").folder
    _, header, body = (folder / "README.md").read_text().split("---\n", 2)
    head = YAML(typ="safe").load(header)
    assert (head["library_name"], head["pipeline_tag"], head["license"]) == ("transformers", "text-generation", "other")
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "name": "accuracy", "value": 0.75, "stderr": 0.02}]
    digest = materialize(workspace, "assistant").name
    for said in (
        "| **accuracy** | 0.75 ± 0.02 | 400 | majority 0.25 | train |", f"md5 `{digest}`", "LlamaForCausalLM",
        '- train: `{"learning_rate": 0.001}`', "model_signing verify key . --signature model.sig",
    ):  # fmt: skip
        assert said in body
    # generation_config.json was changed, so the version's own signature does not hold over the folder.
    assert "--ignore_unsigned_files" not in body


def test_files_that_are_as_registered_are_covered_by_the_versions_own_signature(workspace, tmp_path, monkeypatch):
    """A classifier has no generation settings, so nothing of it changes."""
    from registry.promotion.promote import promote

    before = export(workspace, "classifier", tmp_path / "unsigned", "hf")
    assert not before.signed and "not signed" in before.notes[0] and not (before.folder / "model.sig").exists()
    assert promote(workspace, "classifier:1", "champion", "the test asks for it", "Ada", force=True).accepted
    folder = export(workspace, "classifier", tmp_path / "out", "hf").folder
    assert verify(folder, "registered.sig", "registered.pub", "--ignore_unsigned_files") == 0
    assert verify(folder, "model.sig", "model.pub") == 0
    assert "--ignore_unsigned_files" in (folder / "README.md").read_text()


def test_an_adapter_is_exported_alone_or_merged(workspace, tmp_path):
    alone = export(workspace, "adapted", tmp_path / "adapter", "adapter").folder
    assert sorted(path.name for path in alone.glob("*.safetensors")) == [adapted.WEIGHTS]
    assert verify(alone, "model.sig", "model.pub") == 0
    registered = materialize(workspace, "adapted")
    sha256 = json.loads((alone / adapted.BASE).read_text())["weights"]["model.safetensors"]
    assert sha256 in (alone / "README.md").read_text()

    merged = export(workspace, "adapted", tmp_path / "merged", "hf").folder
    assert not (merged / adapted.FOLDER).exists()
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(registered)
    ids = AutoTokenizer.from_pretrained(alone)(PROMPT, return_tensors="pt", return_token_type_ids=False)["input_ids"]
    with torch.inference_mode():
        plain = base(ids).logits
        beside = PeftModel.from_pretrained(base, alone)(ids).logits
        whole = AutoModelForCausalLM.from_pretrained(merged)(ids).logits
    torch.testing.assert_close(whole, beside, rtol=1e-4, atol=1e-4)
    assert (whole - plain).abs().max() > 1


def test_no_collection_takes_what_an_export_or_a_merge_works_with(workspace, tmp_path, monkeypatch):
    registered = materialize(workspace, "adapted")
    shutil.rmtree(layout.merged(workspace.home), ignore_errors=True)
    with ThreadPoolExecutor(1) as pool:
        merging_now = pool.submit(merging.merged_copy, workspace.home, registered)
        wait_until(lambda: list(layout.merged(workspace.home).glob(".partial-*")), what="the merge")
        with pytest.raises(InUse):
            collect(workspace, keep_runs=0, delete=True)
        assert merging_now.result().is_dir()

    write = exporting._WRITERS["adapter"]

    def while_writing(*arguments):
        with pytest.raises(InUse):
            collect(workspace, keep_runs=0, delete=True)
        return write(*arguments)

    monkeypatch.setitem(exporting._WRITERS, "adapter", while_writing)
    assert export(workspace, "adapted", tmp_path / "alone", "adapter").names


def test_a_merged_copy_is_made_once_and_again_when_it_was_altered(workspace):
    registered = materialize(workspace, "adapted")
    made = merging.merged_copy(workspace.home, registered)
    assert made == layout.merged(workspace.home) / registered.name
    weights = made / "model.safetensors"
    first, inode = weights.read_bytes(), weights.stat().st_ino
    assert merging.merged_copy(workspace.home, registered) == made and weights.stat().st_ino == inode
    weights.write_bytes(first[:-1] + b"\0")
    assert merging.merged_copy(workspace.home, registered) == made and weights.read_bytes() == first
    assert merging.merged_copy(workspace.home, materialize(workspace, "assistant")).parent == registered.parent


def test_an_adapters_gguf_and_modelfile_answer_as_the_merged_model(workspace, tmp_path):
    folder = export(workspace, "adapted", tmp_path / "out", "ollama", ["q8_0"]).folder
    assert "FROM ./adapted-v1-q8_0.gguf\n" in (folder / "Modelfile").read_text()
    assert verify(folder, "model.sig", "model.pub") == 0
    out = export(workspace, "adapted", tmp_path / "gguf", "gguf", ["f32", "f16", "q4_0"]).folder
    kinds = {kind: GGUFReader(out / f"adapted-v1-{kind}.gguf") for kind in ("f32", "f16", "q4_0")}
    assert kinds["f16"].fields["stemma.digest"].contents() == materialize(workspace, "adapted").name
    types = {kind: {each.tensor_type.name for each in reader.tensors} for kind, reader in kinds.items()}
    assert types == {"f32": {"F32"}, "f16": {"F16", "F32"}, "q4_0": {"Q4_0", "Q8_0", "F32", "F16"}}
    registered = merging.merged_copy(workspace.home, materialize(workspace, "adapted"))
    prompt = AutoTokenizer.from_pretrained(registered)(PROMPT)["input_ids"]
    job = {"model": str(out / "adapted-v1-f32.gguf"), "context": 128, "prompts": [prompt], "tokens": 16, "end": None,
           "texts": []}  # fmt: skip
    assert run_llama_cpp([job])[0]["answers"] == [greedy(registered)]


def test_where_the_users_converter_does_not_know_the_tokenizer_stemma_writes_the_file(workspace, tmp_path, monkeypatch):
    """As llama.cpp's does with every tokenizer that was trained here: it knows published ones, by a hash."""
    words = "BPE pre-tokenizer was not recognized"
    (tmp_path / "convert_hf_to_gguf.py").write_text(f"raise NotImplementedError({words!r})")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    done = export(workspace, "assistant", tmp_path / "out", "gguf", ["f16"])
    assert words in done.notes[0] and "was written by Stemma" in done.notes[0]
    assert "stemma.digest" in GGUFReader(done.folder / "assistant-v1-f16.gguf").fields
    assert sorted(path.suffix for path in done.folder.iterdir()) == [".gguf", ".md", ".pub", ".pub", ".sig", ".sig"]


@pytest.mark.parametrize(
    ("reference", "form", "kinds", "words"),
    [
        ("classifier", "gguf", ["f16"], "LlamaForSequenceClassification is no decoder"),
        ("assistant", "adapter", ["f16"], "it has no adapter"),
        ("assistant", "gguf", ["q4_k_m"], "only llama-quantize of llama.cpp writes it"),
        ("assistant", "gguf", ["f17"], "no such kind of numbers"),
        ("assistant", "ollama", ["f16", "q8_0"], "name one kind"),
        ("assistant", "hf", ["q8_0"], "only for --format gguf"),
    ],
)
def test_what_cannot_be_written_is_one_sentence_and_nothing_is_written(
    workspace, tmp_path, reference, form, kinds, words
):
    with pytest.raises(InputProblem, match=words) as refused:
        export(workspace, reference, tmp_path / "out", form, kinds)
    assert len(refused.value.problems) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_as_it_is(workspace, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(InputProblem, match="is not empty"):
        export(workspace, "assistant", tmp_path / "out", "hf")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert export(workspace, "assistant", tmp_path / "empty", "hf").names
    with pytest.raises(UnknownReference):
        export(workspace, "nothing", tmp_path / "other", "hf")


def test_altered_bytes_are_not_exported(workspace, tmp_path):
    copy = materialize(workspace, "assistant")
    settings = (copy / "config.json").read_text()
    (copy / "config.json").write_text(settings + " ")
    try:
        with pytest.raises(InvalidBytes, match="was altered"):
            export(workspace, "assistant", tmp_path / "out", "hf")
    finally:
        (copy / "config.json").write_text(settings)
    assert not list(tmp_path.iterdir())
