"""The systemd units parse, are hardened, and start what exists."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[3] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
HARDENED = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
            "RestrictSUIDSGID": "yes", "CapabilityBoundingSet": "", "UMask": "0077"}  # fmt: skip
EXPOSED = 3.0  # `systemd-analyze security`: 0 is shut, 10 is open; services without any of this have 9.6


def service(path: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(path)
    return parser["Service"]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_is_hardened_runs_as_nobody_special_and_keeps_secrets_in_a_file_of_its_own(path):
    section = service(path)
    assert {name: section[name] for name in HARDENED} == HARDENED
    assert section["User"] == "stemma"
    assert section["EnvironmentFile"] == "-/etc/stemma/stemma.env"
    assert not re.search(r"PASSWORD|SECRET|KEY", path.read_text().replace("PASSWORD=<", ""))


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_it_starts_a_verb_of_the_command(path):
    from typer.main import get_command

    from cli.main import app

    program, verb, *_ = service(path)["ExecStart"].split()
    assert Path(program).name == "stemma" and verb in get_command(app).commands


def test_the_timer_starts_the_backup():
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(UNITS / "stemma-backup.timer")
    assert parser["Timer"]["OnCalendar"] and parser["Timer"]["Persistent"] == "yes"
    assert (UNITS / "stemma-backup.service").is_file()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_systemd_reads_it_and_finds_it_shut(path, tmp_path):
    for unit in UNITS.iterdir():
        # The program of the unit is not on this machine.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / path.name)]
    verified = subprocess.run(command, capture_output=True, text=True)
    told = [line for line in verified.stderr.splitlines() if path.name in line]
    assert verified.returncode == 0 and not told, verified.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / path.name)]
    report = subprocess.run(command, capture_output=True, text=True).stdout
    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", report)
    assert float(level) <= EXPOSED
