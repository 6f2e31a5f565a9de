"""dvc.yaml, the components and what their code imports agree, both ways; and the four parts keep their distance."""

import ast
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

import components
from components import code, pages
from components.code import of as code_of
from components.harness.fingerprint import code_digest
from docs import imports as house

ROOT = Path(__file__).resolve().parents[2]


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
    files = [dependency for dependency in body["deps"] if dependency.startswith("components/")]
    assert sorted(set(body["deps"]) - set(files)) == sorted(inputs)
    assert tuple(files) == code_of(component.name)
    assert body["params"] == ["seed", component.name]
    assert sorted(body["outs"]) == sorted(artifact.for_instance(instance).path for artifact in component.outputs)
    assert body["metrics"] == [{f"metrics/{slug}.json": {"cache": False}}, {f"receipts/{slug}.json": {"cache": False}}]


def test_the_command_that_writes_the_code_of_the_stages_finds_nothing_to_write(tmp_path):
    assert code.differing(ROOT / "dvc.yaml", components.STAGES) == []


def test_a_stage_whose_code_is_not_what_it_imports_is_found_and_mended(tmp_path):
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    wrong = text.replace("      - components/optimizers.py\n", "", 1)
    shutil.copytree(ROOT / "components", tmp_path / "components", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "dvc.yaml").write_text(wrong, encoding="utf-8")
    assert code.differing(tmp_path / "dvc.yaml", components.STAGES) == ["pretrain"]
    assert code.write(tmp_path / "dvc.yaml", components.STAGES) == ["pretrain"]
    assert (tmp_path / "dvc.yaml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", components.STAGES)
def test_the_frame_of_the_stages_is_none_of_their_code(name):
    assert not [path for path in code_of(name) if path.startswith(code.FRAME)]


def test_how_a_page_looks_is_no_part_of_what_a_stage_is(tmp_path):
    """A change in components/pages makes no stage stale: no dependency holds it, and no fingerprint covers it."""
    for stage, body in STAGES.items():
        assert not [path for path in body["deps"] if f"{path}/".startswith("components/pages/") or path == "components"]
        assert [path for path in body["outs"] if path == f"reports/{stage.replace('@', '-')}"], stage
    shutil.copytree(ROOT / "components", tmp_path / "components", ignore=shutil.ignore_patterns("__pycache__"))
    before = {name: code_digest(tmp_path, code_of(name, tmp_path)) for name in components.STAGES}
    for page in (tmp_path / "components" / "pages").glob("*.py"):
        page.write_text(page.read_text().replace("Page(", "Page (") + "\nCOLOUR = 'red'\n")
    assert {name: code_digest(tmp_path, code_of(name, tmp_path)) for name in components.STAGES} == before


def test_every_stage_has_a_page():
    assert set(pages._PAGES) == set(components.STAGES)


def test_every_import_goes_down():
    assert not [edge for edge in house.imported() if edge[1] not in house.ALLOWED[edge[0]]]


def test_a_floor_names_another_only_to_start_it():
    """A module's name in a text is how a process is started; importing by such a name would be a back door."""
    assert {(file, module) for _, _, file, module in house.named()} == {
        ("cli/serve.py", "deploy.gateway"),
        ("deploy/k8s/register.py", "flows.deployments.guards"),
        ("deploy/stack/services.py", "flows.console"),
        ("deploy/stack/services.py", "flows.deployments"),
        ("flows/prefect_server.py", "deploy.stack.prefect_server"),
    }
    loads = [file for file in house.files() if "import_module(" in file.read_text(encoding="utf-8")]
    assert {file.relative_to(ROOT).as_posix() for file in loads} == {
        "components/__init__.py",  # a stage by its name
        "components/contract.py",
        "components/curate/sources/c_docs.py",  # the interpreter's C modules, for their documentation
        "core/prefork_server.py",  # libraries of others
        "flows/deployments/catalogue.py",  # a flow of this floor by the name of its deployment
    }


def test_no_files_import_each_other():
    assert house.circles() == []


def test_every_library_that_is_imported_is_declared():
    """What another library brings may go with its next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra != "dev"]
    declared = {
        canonicalize_name(Requirement(line).name) for lines in (project["dependencies"], *extras) for line in lines
    }
    own, distributions = {*sys.stdlib_module_names, *house.FLOORS}, metadata.packages_distributions()
    undeclared = {
        f"{file.relative_to(ROOT).as_posix()}: {library}"
        for file in house.files()
        for library in {module.split(".")[0] for module in code.imports(file)} - own
        if declared.isdisjoint(map(canonicalize_name, distributions.get(library, [])))
    }
    assert not undeclared


def test_a_class_name_names_one_class():
    definitions = Counter(
        node.name for file in house.files() for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )  # fmt: skip
    assert not [name for name, number in definitions.items() if number > 1]


def test_the_table_of_imports_is_that_of_the_code():
    assert house.PAGE.read_text(encoding="utf-8") == house.page()


FOREIGN = {
    "core": {"prefect", "mlflow", "torch", "transformers", "dvc"},
    "components": {"prefect"},
    "registry": {"prefect", "torch", "transformers", "trl"},
    "deploy": {"trl"},
}


OWN_PROCESSES = ("registry/promotion/sanity.py", "registry/promotion/template_trial.py", "core/guarded_dvc.py")


@pytest.mark.parametrize("floor", sorted(FOREIGN))
def test_a_floor_imports_no_library_that_another_floor_is_for(floor):
    for file in house.files(floor):
        if file.relative_to(ROOT).as_posix() in OWN_PROCESSES:
            continue  # programs: what the gate's own processes run, and DVC itself
        found = {module.split(".")[0] for module in code.imports(file)} & FOREIGN[floor]
        assert not found, f"{file}: imports {found}"


@pytest.mark.parametrize("module", ["components", "cli"])
def test_what_the_command_reads_imports_nothing_heavy(module):
    script = (
        f"import sys, {module}, components\n"
        "for name in components.STAGES: components.load(name)\n"
        "print([heavy for heavy in ('torch', 'transformers', 'trl', 'datasets', 'mlflow', 'sklearn', 'matplotlib')"
        " if heavy in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
