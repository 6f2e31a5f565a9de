"""dvc.yaml, the components and what their code imports agree, both ways; and the four parts keep their distance."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import components

ROOT = Path(__file__).resolve().parents[2]
# The harness does not touch numbers; the contract and the process helper are the frame every stage stands in.
EXEMPT = ("components/__init__.py", "components/contract.py", "components/process.py", "components/harness/")


def _stages() -> dict[str, dict]:
    """dvc.yaml with its foreach stages expanded: stage name -> definition."""
    stages = {}
    for name, body in YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"].items():
        if "foreach" not in body:
            stages[name] = body
            continue
        for item in body["foreach"]:
            stages[f"{name}@{item}"] = _fill(body["do"], item)
    return stages


def _fill(value, item):
    if isinstance(value, str):
        return value.replace("${item}", item)
    if isinstance(value, list):
        return [_fill(each, item) for each in value]
    if isinstance(value, dict):
        return {_fill(name, item): _fill(each, item) for name, each in value.items()}
    return value


def _declared() -> dict[str, tuple[components.Component, str | None]]:
    return {
        f"{name}@{instance}" if instance else name: (component, instance)
        for name, component in ((name, components.load(name)) for name in components.STAGES)
        for instance in component.instances or (None,)
    }


STAGES, DECLARED = _stages(), _declared()


def test_every_component_is_a_stage_and_every_stage_a_component():
    assert set(STAGES) == set(DECLARED)


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_says_what_its_component_declares(stage):
    body, (component, instance) = STAGES[stage], DECLARED[stage]
    slug = stage.replace("@", "-")
    assert body["cmd"] == f"exec python -m components {stage}"
    inputs = [artifact.for_instance(instance).path for artifact in component.inputs]
    code = [dependency for dependency in body["deps"] if dependency.startswith("components/")]
    assert sorted(set(body["deps"]) - set(code)) == sorted(inputs)
    assert sorted(code) == sorted(component.code)
    assert body["params"] == ["seed", component.name]
    assert sorted(body["outs"]) == sorted(artifact.for_instance(instance).path for artifact in component.outputs)
    assert body["metrics"] == [{f"metrics/{slug}.json": {"cache": False}}, {f"receipts/{slug}.json": {"cache": False}}]


@pytest.mark.parametrize("name", components.STAGES)
def test_a_stage_depends_on_all_the_code_it_imports(name):
    component = components.load(name)
    assert component.code[0] == f"components/{name}" and component.name == name
    files = [file for path in component.code for file in _python_files(ROOT / path)]
    assert files
    for file in files:
        for module in _imports(file):
            if not module.startswith("components."):
                continue
            path = _file_of(module)
            if path is None or path.startswith(EXEMPT):
                continue
            covered = any(path == code or path.startswith(f"{code}/") for code in component.code)
            assert covered, f"{file.relative_to(ROOT)} imports {module}, which is not among the deps of {name}"


@pytest.mark.parametrize("name", components.STAGES)
def test_a_stage_declares_no_code_it_does_not_use(name):
    component = components.load(name)
    used = {f"components/{name}"}
    frontier = list(_python_files(ROOT / "components" / name))
    while frontier:
        for module in _imports(frontier.pop()):
            path = _file_of(module) if module.startswith("components.") else None
            if path and not path.startswith(EXEMPT) and path not in used:
                used.add(path)
                frontier.append(ROOT / path)
    for code in component.code[1:]:
        assert any(path == code or path.startswith(f"{code}/") for path in used), f"{name} does not use {code}"


FORBIDDEN = {
    "components": ("prefect", "flows", "registry", "deploy"),
    "registry": ("flows", "components", "deploy", "torch", "transformers", "trl"),
    "flows": ("deploy.gateway",),
    "deploy": ("components", "trl"),
}


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_the_parts_import_only_what_they_may(part):
    for file in _python_files(ROOT / part):
        for module in _imports(file):
            for forbidden in FORBIDDEN[part]:
                assert module != forbidden and not module.startswith(f"{forbidden}."), f"{file}: imports {module}"


@pytest.mark.parametrize("module", ["components", "flows.cli"])
def test_what_the_command_reads_imports_nothing_heavy(module):
    script = (
        f"import sys, {module}, components\n"
        "for name in components.STAGES: components.load(name)\n"
        "print([heavy for heavy in ('torch', 'transformers', 'trl', 'datasets', 'mlflow', 'sklearn', 'matplotlib')"
        " if heavy in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*.py") if "__pycache__" not in file.parts]


def _imports(file: Path) -> set[str]:
    """Absolute names of what a file imports, at any depth of nesting."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute in this project"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _file_of(module: str) -> str | None:
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (ROOT / candidate).is_file():
            return candidate.as_posix()
    return None
