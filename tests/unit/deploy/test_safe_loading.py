"""No pickle is ever loaded and no code of a model's is ever run: nothing in the source can do either."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = sorted(
    path
    for part in ("core", "components", "registry", "deploy", "flows", "cli")  # bench/ runs other trainers as they are
    for path in (ROOT / part).rglob("*.py")
    if "__pycache__" not in path.parts
)
# Modules whose loading runs what the file says.
# Runs a function of the user's own, by the digest that the parameters name.
BY_DIGEST = {"components/preference_tune/own_reward.py": ["exec"]}
UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}


def problems(source: str) -> list[str]:
    """What a source file does that could run a stranger's code, by line."""
    found = []
    tree = ast.parse(source)
    pyyaml = any(
        isinstance(node, ast.Import) and any(name.name == "yaml" for name in node.names) for node in ast.walk(tree)
    )  # ruamel's YAML(), often called yaml too, builds plain values only
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"{node.lineno}: imports {name.name}" for name in node.names if name.name.split(".")[0] in UNSAFE]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE:
            found.append(f"{node.lineno}: imports from {node.module}")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
            if re.fullmatch(r"(torch|th)\.load", called) and given.get("weights_only") != "True":
                found.append(f"{node.lineno}: torch.load without weights_only=True")
            if called.endswith(("np.load", "numpy.load")) and given.get("allow_pickle", "False") != "False":
                found.append(f"{node.lineno}: numpy.load with allow_pickle")
            if called.endswith("read_pickle"):
                found.append(f"{node.lineno}: {called}")
            # Neither makes a model: alembic's scripts, and an adapter that is put on a model loaded before.
            others = ("ScriptDirectory.from_config", "PeftModel.from_pretrained")
            loads = re.search(r"\.from_(pretrained|config)$", called) and called not in others
            if loads and "trust_remote_code" not in given:  # without it transformers asks: "run the custom code? [y/N]"
                found.append(f"{node.lineno}: {called} without trust_remote_code=False")
            if given.get("trust_remote_code", "False") != "False":
                found.append(f"{node.lineno}: trust_remote_code={given['trust_remote_code']}")
            if given.get("use_safetensors", "True") != "True" or given.get("safe_serialization", "True") != "True":
                found.append(f"{node.lineno}: {called} with other weights than safetensors")
            if pyyaml and re.fullmatch(r"yaml\.(load|unsafe_load|full_load|load_all)", called):
                found.append(f"{node.lineno}: {called}")
            if called in ("eval", "exec"):
                found.append(f"{node.lineno}: {called}")
        elif isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and ast.unparse(node.value) != "False":
            found.append(f"{node.lineno}: trust_remote_code")
    return found


def test_nothing_loads_what_could_run_a_strangers_code():
    found = {str(path.relative_to(ROOT)): problems(path.read_text(encoding="utf-8")) for path in SOURCES}
    loads = [path for path in SOURCES if re.search(r"\.from_(pretrained|config)\(", path.read_text(encoding="utf-8"))]
    for name, allowed in BY_DIGEST.items():
        assert [line.partition(": ")[2] for line in found.pop(name)] == allowed
    assert len(found) > 200 and len(loads) > 10 and {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(path)",
        "transformers.AutoConfig.from_pretrained(path, local_files_only=True)",
        "AutoModelForCausalLM.from_config(config)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "AutoModel.from_pretrained(path, use_safetensors=False)",
        "import yaml; yaml.load(text)",
        "pandas.read_pickle(path)",
        "eval(text)",
    ],
)
def test_the_search_finds_each_of_them(line):
    assert len(problems(line)) >= 1


def test_no_configuration_trusts_remote_code():
    for name in ("params.yaml", "dvc.yaml", "deploy/compose.yaml", "prefect.yaml"):
        assert not re.search(r"trust[_-]remote[_-]code\W+(true|1)", (ROOT / name).read_text(), re.IGNORECASE)
    for path in SOURCES:
        assert "--trust-remote-code" not in path.read_text(encoding="utf-8"), path
