"""The command answers at once: nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "prefect", "mlflow", "transformers", "sqlalchemy", "dvc", "pandas", "pyarrow", "matplotlib")


def test_help_imports_nothing_heavy():
    code = f"import sys, cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_runs_before_a_flow_needs_no_training_library():
    modules = ("flows.pipeline.prepare", "flows.pipeline.parameters", "cli.diagnosis", "flows.prefect_server")
    code = (
        f"import importlib, sys\nfor module in {modules}:\n    importlib.import_module(module)\n"
        "    print(module, *(n for n in ('torch', 'trl', 'transformers', 'prefect') if n in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(modules)


def test_every_verb_has_help_with_an_example():
    from typer.testing import CliRunner

    from cli.main import app

    runner = CliRunner()
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {"run", "stage", "status", "doctor", "models", "trace", "promote", "sync", "params", "init", "generate"} <= {
        *verbs
    }
    for verb in verbs:
        result = runner.invoke(app, [verb, "--help"])
        assert result.exit_code == 0
        assert "Example" in result.output
