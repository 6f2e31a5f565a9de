"""The package that a release uploads: it builds, holds what the code reads, and its command works."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
READ_BY_THE_CODE = {
    "registry/db/migrations/env.py",
    "components/harness/accelerate/ddp.yaml",
    "deploy/k8s/base/job-template.json",
    "deploy/gateway/page/index.html",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """(wheel, sdist) of what git knows here, so that nothing lying about gets in."""
    folder = tmp_path_factory.mktemp("package")
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name.split("/")[0] not in ("tests", "docs", "bench"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(folder / "source"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next((folder / "dist").glob("*.whl")), next((folder / "dist").glob("*.tar.gz"))


def test_it_holds_the_files_that_the_code_reads_and_no_secret(built):
    wheel, sdist = built
    names = set(zipfile.ZipFile(wheel).namelist())
    assert READ_BY_THE_CODE <= names
    with tarfile.open(sdist) as archive:
        names |= set(archive.getnames())
    assert not [name for name in names if name.endswith((".env", ".pem", ".db", ".safetensors")) or "/.stemma/" in name]


def test_its_command_works_where_nothing_else_of_the_project_is(built, tmp_path):
    """In an environment of its own, with the dependencies of this one."""
    venv.create(tmp_path / "env", with_pip=False, system_site_packages=False)
    python = tmp_path / "env" / "bin" / "python"
    unpack = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check",
              "--target", str(tmp_path / "installed"), str(built[0])]  # fmt: skip
    subprocess.run(unpack, check=True, capture_output=True)
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path / 'installed')!r}]; sys.path.append({dependencies!r})\n"
        "import flows, registry, deploy.stack\n"
        f"assert flows.__file__.startswith({str(tmp_path)!r}), flows.__file__\n"
        "from cli import main; sys.argv = ['stemma', *sys.argv[1:]]; main()\n"
    )
    for arguments in (["--help"], ["backup", "--help"]):
        done = subprocess.run([python, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and "stemma" in done.stdout, done.stderr
