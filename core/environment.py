"""The environment that Stemma's own processes, and those that it starts, run in."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from fnmatch import fnmatchcase
from pathlib import Path

from core import python

# Nothing reaches out unless the user's configuration names a remote source.
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


# What a program needs of its machine: where things are, how words are written, how it computes.
_MACHINE = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TERM", "COLUMNS", "XDG_*",
    "PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "LD_PRELOAD", "SSL_CERT_*", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "COVERAGE_*", "SUPERVISED_BY", *TELEMETRY_OFF,
    "CUDA_*", "NVIDIA_*", "NCCL_*", "GLOO_*", "HIP_*", "ROCR_*", "OMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "TORCH*",
    "PYTORCH_*", "TRITON_*", "VLLM_*", "TOKENIZERS_PARALLELISM", "HF_HOME", "HF_HUB_*", "TRANSFORMERS_*",
)  # fmt: skip
_OPENS = re.compile(r"(^|_)(KEYS?|TOKENS?|SECRETS?|PASSWORD|CREDENTIALS?|AUTH)(_|$)")  # something, by its name
# Groups of further names for :func:`chosen`.
PROXIES = ("*_proxy", "*_PROXY")
DATABASES = ("PG*",)
STORES = ("AWS_*", "AZURE_*", "GOOGLE_*", "SSH_*", "GIT_*", "DVC_*", *PROXIES)  # of DVC and MLflow's artifacts
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def settle() -> None:
    """Settle this process's own environment: telemetry off unless the user set it, and the loopback without a proxy.

    A proxy in the environment is for the outside; Stemma's own servers on this machine are asked directly, by every
    library alike. To be called where a process begins.
    """
    _settle(os.environ)


def _settle(environment: MutableMapping[str, str]) -> None:
    for name, value in TELEMETRY_OFF.items():
        environment.setdefault(name, value)
    if any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in environment):
        given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        hosts = [host for host in given.split(",") if host.strip()]
        # Readers of the two spellings differ in which one counts.
        environment["no_proxy"] = environment["NO_PROXY"] = ",".join(
            [*hosts, *(host for host in _LOOPBACK if host not in hosts)]
        )


def account() -> str:
    """The name of the account that runs this process; its number where it has no name, as in a bare container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which one depends on Python's version
        return str(os.getuid())


def quiet_mlflow() -> None:
    """Keep MLflow's messages about its own database off the screen; to be called before it is imported."""
    settle()
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for a child, settled as by :func:`settle`, with this Python first on PATH.

    Its folder is on no import path (see :mod:`core.python`).

    ``dvc.yaml`` says ``python -m components …``; the folder of the running interpreter comes first, so that a stage
    runs in the environment that holds ``stemma``, activated or not.
    """
    environment = dict(os.environ)
    _settle(environment)
    python.isolate(environment)
    folder = str(Path(sys.executable).parent)
    paths = environment.get("PATH", os.defpath).split(os.pathsep)
    environment["PATH"] = os.pathsep.join([folder, *(path for path in paths if path != folder)])
    environment.setdefault("PYTHONUNBUFFERED", "1")  # a stage's last words reach its log also when it is killed
    environment.update(extra or {})
    return environment


def chosen(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    """A service's part of an environment: what any program needs of its machine, and the variables named here.

    Of the machine's part nothing that opens something (``…_KEY``, ``…_TOKEN``, ``…_PASSWORD``): a password or a key
    reaches a service only where that names it.

    Args:
        names: names of variables, or patterns such as ``PG*``.
    """
    return {
        name: value
        for name, value in environment.items()
        if any(fnmatchcase(name, pattern) for pattern in names)
        or (any(fnmatchcase(name, pattern) for pattern in _MACHINE) and not _OPENS.search(name))
    }


def quiet_prefect(home: Path, api_url: str | None) -> None:
    """Settle Prefect's settings before ``prefect`` is imported for the first time: it reads them then.

    Args:
        home: folder for Prefect's own files (``PREFECT_HOME``), unless the user chose one.
        api_url: server to talk to; ``None`` keeps what the environment says.
    """
    settle()
    os.environ.setdefault("PREFECT_HOME", str(home))
    if api_url:
        os.environ["PREFECT_API_URL"] = api_url
    # A flow that dies by kill -9 stops beating, so that an automation of the server can mark it Crashed.
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
