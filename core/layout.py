"""Every path below a workspace's home (``.stemma``, or ``STEMMA_HOME``): the one table of them.

Each function takes the home and returns a path; none of them makes anything.
"""

from __future__ import annotations

from pathlib import Path


def slug(stage: str) -> str:
    """A stage's name in file names: ``evaluate@base`` is ``evaluate-base``."""
    return stage.replace("@", "-")


# Databases and what belongs to them.


def registry_database(home: Path) -> Path:
    return home / "registry.db"


def mlflow_database(home: Path) -> Path:
    return home / "mlflow.db"


def mlflow_lock(home: Path) -> Path:
    """Held by a process that may be the first on MLflow's database."""
    return home / "mlflow.lock"


def mlflow_artifacts(home: Path) -> Path:
    return home / "mlartifacts"


def mlflow_accounts(home: Path) -> Path:
    return home / "mlflow-accounts.ini"


def prefect(home: Path) -> Path:
    """``PREFECT_HOME``, unless the user chose one."""
    return home / "prefect"


# Stages and runs.


def scratch(home: Path) -> Path:
    """``<slug>/<fingerprint>/``: checkpoints and the event log of one piece of work."""
    return home / "scratch"


def cache(home: Path) -> Path:
    """``<component>/``: files that any run may take again, named by the digest of all that made them."""
    return home / "cache"


def ratings(home: Path) -> Path:
    """What language models said of texts: ``verdict-<digest>.json``."""
    return cache(home) / "ratings"


def event_logs(home: Path) -> list[Path]:
    """The event log of every scratch folder, sorted."""
    return sorted(scratch(home).glob("*/*/tracking/events.jsonl"))


def replay_cursor(events: Path) -> Path:
    """How far an event log has been sent to MLflow."""
    return events.with_name("cursor.json")


def scratch_lock(events: Path) -> Path:
    """The lock of the scratch folder that an event log belongs to."""
    return events.with_name("lock")


def run(home: Path, name: str) -> Path:
    """What the stages of the pipeline run ``name`` leave for the process that started it."""
    return home / "runs" / name


def events_pointer(home: Path, name: str, stage: str) -> Path:
    """Holds the path of the event log of ``stage`` in the pipeline run ``name``, once it has started."""
    return run(home, name) / f"{slug(stage)}.events"


def problems(home: Path, name: str, stage: str) -> Path:
    """Holds the problems for which ``stage`` refused its input in the pipeline run ``name``."""
    return run(home, name) / f"{slug(stage)}.problems.json"


def runs(home: Path) -> Path:
    return home / "runs"


def sweeps_database(home: Path) -> Path:
    """Optuna's tables of all sweeps."""
    return home / "sweeps.db"


def sweep(home: Path, name: str) -> Path:
    """Figures of the sweep ``name``; beside it, with the suffix ``.lock``, the lock of the process that runs it."""
    return home / "sweeps" / name


def flow_run_lock(home: Path, identity: str) -> Path:
    """Held by the process that works for a flow run of Prefect."""
    return home / "runs" / f"flow-run-{identity}.lock"


def last_screen(home: Path) -> Path:
    """What the last run of all stages showed, for a run in which nothing changed."""
    return home / "last-run.json"


def forms(home: Path) -> Path:
    """``<digest>.json``: the values that a form of a deployment began with."""
    return home / "forms"


def failures(home: Path) -> Path:
    """One JSON file for each execution that failed and is not in the registry yet."""
    return home / "failures"


def worktrees(home: Path) -> Path:
    """Git worktrees of isolated runs."""
    return home / "worktrees"


def reproductions(home: Path) -> Path:
    return home / "reproductions"


def collection_lock(home: Path) -> Path:
    """Shared by runs, exclusive for a garbage collection."""
    return home / "collection.lock"


# Models, keys, decisions.


def models(home: Path) -> Path:
    """Files of versions, by digest, as they were fetched to be served or tried."""
    return home / "models"


def imports(home: Path) -> Path:
    """Models from outside while they are downloaded and converted; each is removed once it is taken."""
    return home / "imports"


def merged(home: Path) -> Path:
    """Bases with their adapters merged into them, by the digest of the version, for engines that know no adapters."""
    return home / "merged"


def keys(home: Path) -> Path:
    return home / "keys"


def signing_key(home: Path) -> Path:
    """The home's own private key; ``STEMMA_SIGNING_KEY`` may name another."""
    return keys(home) / "signing.pem"


def signing_public(home: Path) -> Path:
    return keys(home) / "signing.pub"


def placeholder_salt(home: Path) -> Path:
    """Keys the hashes that stand for personal data in a corpus."""
    return keys(home) / "placeholders.salt"


def trusted_keys(home: Path) -> Path:
    return keys(home) / "trusted"


def verdicts(home: Path) -> Path:
    """One JSON file for each verdict of the gate."""
    return home / "gates"


def api_keys(home: Path) -> Path:
    """The API keys of the gateway."""
    return home / "api_keys.json"


def prepared_pairs(home: Path) -> Path:
    """Pairs of answers that people are to be asked about, in their order."""
    return home / "prepared-pairs.json"


def feedback_lock(home: Path) -> Path:
    """Held while files are made of what people said, or what a person said is deleted."""
    return home / "feedback.lock"


# The stack.


def stack_state(home: Path) -> Path:
    return home / "stack.json"


def stack_lock(home: Path) -> Path:
    return home / "stack.lock"


def stack_tokens(home: Path) -> Path:
    """The tokens of the running stack's services, readable by its owner alone."""
    return home / "stack-tokens.json"


def storage(home: Path) -> Path:
    """Where the last stack kept its databases and artifacts."""
    return home / "storage.json"


def start_lock(home: Path) -> Path:
    """Held while a Prefect server starts on this home's database: two would race in its migration."""
    return prefect(home) / "start.lock"


def logs(home: Path) -> Path:
    return home / "logs"


def backups(home: Path) -> Path:
    """Where back-ups to a URL are put together."""
    return home / "backup"


def last_backup(home: Path) -> Path:
    """When and where to the last back-up of this home was taken."""
    return home / "last-backup.json"


# Retraining.


def retraining_lock(home: Path) -> Path:
    return home / "retrain.lock"


def next_retraining_lock(home: Path) -> Path:
    """Held by the one retraining that waits for its turn."""
    return home / "retrain.next.lock"


def pending_candidates(home: Path) -> Path:
    """Candidates of retraining that wait for a person's approval."""
    return home / "retrain.asked.json"
