"""The Dockerfiles keep the rules that hadolint and the CIS benchmark name; what they start is there to be started."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str


def instructions(path: Path) -> list[Instruction]:
    """Instructions with their continuation lines joined and comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def last(path: Path, name: str) -> str:
    return [each.text for each in instructions(path) if each.name == name][-1]


def test_there_is_an_image_for_every_part():
    assert [path.name.partition(".")[0] for path in FILES] == ["mlflow", "prefect", "stemma", "storage"]


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def dockerfile(request) -> Path:
    return request.param


def test_base_images_are_pinned_by_digest(dockerfile):
    stages: set[str] = set()
    for each in instructions(dockerfile):
        if each.name != "FROM":
            continue
        image, *rest = each.text.split()
        known = image in stages or any(re.fullmatch(image.replace("${DEVICE}", ".+"), stage) for stage in stages)
        assert known or re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*@sha256:[0-9a-f]{64}", image), image
        if rest[:1] == ["AS"]:
            stages.add(rest[1])


def test_it_does_not_run_as_root_and_tells_whether_it_is_well(dockerfile):
    uid, _, gid = last(dockerfile, "USER").partition(":")
    assert int(uid) >= 10000 and int(gid) >= 10000  # numbers, so that Kubernetes can tell that it is not root
    health = last(dockerfile, "HEALTHCHECK")
    assert {"--interval", "--timeout", "--start-period", "--retries"} <= set(re.findall(r"--[\w-]+", health))
    names = [each.name for each in instructions(dockerfile)]
    assert names.index("USER") < names.index("CMD")


def test_layers_hold_no_caches_no_secrets_and_every_package_has_its_hash(dockerfile):
    text = dockerfile.read_text()
    for each in instructions(dockerfile):
        assert each.name != "ADD", "COPY does not fetch or unpack"
        if each.name in ("ENV", "ARG"):
            assert not re.search(r"PASSWORD|SECRET|TOKEN|_KEY", each.text)
        if each.name == "RUN" and "apt-get install" in each.text:
            assert "--no-install-recommends" in each.text and "rm -rf /var/lib/apt/lists" in each.text
        for command in re.findall(r"pip install [^&]+", each.text) if each.name == "RUN" else ():
            ours = command.split()[-1] == "."
            assert "--no-deps" in command, f"{command} resolves what no lock names"
            assert ours or "--require-hashes" in command, f"{command} takes a file that no hash names"
            assert "extra-index-url" not in command
    assert "pip" not in text or "PIP_NO_CACHE_DIR=1" in text
    assert "curl" not in text and "latest" not in text and "sudo" not in text


def test_commands_are_lists_so_that_signals_reach_them(dockerfile):
    for each in instructions(dockerfile):
        if each.name in ("CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(each.text), list)


def test_what_is_copied_is_in_the_build_context_and_what_is_started_is_there(dockerfile):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "everything is left out unless it is named"
    kept = {line[1:] for line in ignored if line.startswith("!")}
    modules = []
    for each in instructions(dockerfile):
        if each.name == "COPY" and not each.text.startswith(". "):
            for source in shlex.split(each.text)[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in kept, f"{source} is not in the build context"
        if each.name in ("CMD", "ENTRYPOINT"):
            words = json.loads(each.text)
            modules += [words[index + 1] for index, word in enumerate(words) if word == "-m"]
    for module in modules:
        assert importlib.util.find_spec(module) is not None, f"{module} cannot be started"


def test_what_a_small_image_copies_imports_nothing_of_the_project_that_is_not_copied():
    """MLflow's image has a few of our files, and MLflow: whatever else they import is not there."""
    path = ROOT / "deploy" / "docker" / "mlflow.Dockerfile"
    copied = {source for each in instructions(path) if each.name == "COPY" for source in shlex.split(each.text)[:-1]}
    modules = {source.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for source in copied}
    for source in sorted(copied):
        if source.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / source).read_text())):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
                for name in names:
                    own = name.split(".")[0] in ("core", "components", "registry", "deploy", "flows", "cli")
                    assert not own or name in modules, f"{source} imports {name}"
