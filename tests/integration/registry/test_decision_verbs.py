"""``stemma promote``, ``rollback``, ``history``, ``verify`` and ``audit`` as a user types them."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing

import pytest

from cli.main import main

UNUSABLE = ("\x1b[2Jgone", "a\0b", "half \udc80", "x" * 1_000_000)
VERBS = (("promote", "base", "--to", "champion"), ("rollback", "base"), ("pin", "base"))
pytestmark = pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)


@pytest.fixture
def stemma(two_versions, monkeypatch, capsys):
    """Runs the command in the workspace; (exit code, what it printed, what it said on standard error)."""
    monkeypatch.chdir(two_versions.root)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stemma", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_a_story(stemma, two_versions):
    code, text, _ = stemma("promote", "base:2", "--to", "champion", "--reason", "better")
    assert code == 0 and text.rstrip().endswith("base:2 is now base@champion")
    assert "what the gate saw" in text and "0.95 ± 0.02179" in text

    code, text, _ = stemma("promote", "base:1", "--to", "champion", "--reason", "older", "--json")
    refused = json.loads(text)
    assert code == 1 and refused["action"] == "reject" and not refused["accepted"]
    (failed,) = [check for check in refused["verdict"]["checks"] if not check["passed"]]
    assert "worse by 0.15, which is outside the noise" in failed["detail"]
    code, text, _ = stemma("promote", "base:1", "--to", "champion", "--reason", "the demo", "--force")
    assert code == 0 and "by force, against the gate" in text

    code, text, _ = stemma("rollback", "base", "--reason", "demo over")
    assert code == 0 and text.startswith("base:2 is base@champion again (before: base:1)")
    assert stemma("rollback", "base", "--reason", "more")[0] == 1

    code, text, _ = stemma("history", "base")
    actions = [line.split()[2:4] for line in text.splitlines()[1:]]
    assert code == 0
    assert [pair if pair[0] == "forced" else pair[:1] for pair in actions] == [
        ["promote"],
        ["reject"],
        ["forced", "promote"],
        ["rollback"],
    ]
    assert "refused: accuracy against base:2" in text and "Ada <ada@example.org>" in text
    records = json.loads(stemma("history", "base", "--json")[1])
    assert [record["verdict"]["request"]["reason"] for record in records] == [
        "better",
        "older",
        "the demo",
        "demo over",
    ]

    code, text, _ = stemma("verify", "base@champion")
    assert code == 0 and "made from  data/corpus (corpus)" in text
    code, text, _ = stemma("audit")
    assert code == 0 and "Checked 4 promotions" in text and text.rstrip().endswith("Every check passed.")

    for file in two_versions.workspace.home.glob("models/*/config.json"):
        file.write_text(file.read_text() + " ")
    for verb in (("verify", "base@champion"), ("generate", "base@champion", "one")):
        code, text, error = stemma(*verb)
        assert (code, text) == (1, "") and "was altered" in error and len(error.splitlines()) == 1
    code, text, _ = stemma("audit", "--json")
    body = json.loads(text)
    assert code == 1 and not body["sound"] and body["first_broken"]["part"] == "bytes"
    assert "First broken link: base:" in stemma("audit")[1]


def test_what_the_database_holds_does_nothing_to_a_terminal(stemma, two_versions):
    stemma("promote", "base:2", "--to", "champion", "--reason", "better")
    with closing(sqlite3.connect(two_versions.workspace.home / "registry.db")) as connection:
        connection.execute("DROP TRIGGER promotions_no_update")
        connection.execute("UPDATE promotions SET reason = char(27) || '[2J', actor = char(8238) || 'adA'")
        connection.commit()
    for verb in (("history", "base"), ("history", "base", "--json"), ("audit",), ("verify", "base@champion")):
        printed = "".join(stemma(*verb)[1:])
        assert printed and "\x1b" not in printed and "\u202e" not in printed


def test_bad_requests_change_nothing(stemma):
    for expected, arguments in (
        (2, ("promote", "base:9", "--to", "champion", "--reason", "x")),
        (2, ("promote", "base", "--to", "the best", "--reason", "x")),
        (2, ("promote", "base", "--to", "champion", "--reason", " ", "--force")),
        *((2, (*verb, "--reason", reason)) for reason in UNUSABLE for verb in VERBS),
        (2, ("promote", "base", "--to", "champion", "--force")),
        (2, ("rollback", "bass", "--reason", "x")),
        (1, ("rollback", "base", "--reason", "x")),
        (2, ("history", "bass")),
        (2, ("verify",)),
        (2, ("verify", "--folder", "nowhere")),
        (1, ("verify", "base")),
    ):
        code, text, error = stemma(*arguments)
        assert (code, text) == (expected, "") and 0 < len(error) < 1000 and error.encode(), arguments
        assert "\x1b" not in error and "\0" not in error
    assert json.loads(stemma("history", "base", "--json")[1]) == []
