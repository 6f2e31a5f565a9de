"""Secrets among the files that a snapshot would take along: they would be in git for good, and wherever it is pushed.

By name alone: files that hold keys and credentials, whatever is in them. Any other is looked at by the rules of
detect-secrets (https://github.com/Yelp/detect-secrets): keys of known services, private keys, passwords written out.
Its guesses by entropy are left out, since hashes are everywhere here, and nothing is asked of a network.

Only files that git does not track are looked at: what was added to git is there already, by a person's decision.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

BY_NAME = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.gpg", ".netrc", "_netrc", ".pgpass", ".pypirc", ".npmrc",
    ".htpasswd", ".git-credentials", ".vault-token", ".dockercfg", "kubeconfig", "*.kubeconfig", "credentials",
    "*credentials*.json", "*credentials*.y*ml", "credentials.*", "client_secret*.json", "service[-_]account*.json",
    "serviceaccount*.json", "secrets.*", "secret.*", "*.secret", "*.secrets", "*.tfstate", "api_keys.json",
)  # fmt: skip
FOLDERS = (".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".gcloud", "gcloud")
HARMLESS = ("*.pub", "*.example", "*.sample", "*.template", "*.py", "*.md")  # a module secrets.py is code: looked at
DATA = "data/raw/"  # what models learn from; curation redacts keys there (curate.redact)
LOOKED_AT = 1 << 20  # bytes of a file; larger ones are data, and hold what a secret is used for elsewhere
WHOLE = 1 << 16  # a smaller file is read as a whole, a larger one by its lines that a rule speaks of
GUESSES = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"}
_KEYWORDS = re.compile(
    r"(?:api|auth|service|account|db|database|priv|private|client)_?key|(?:db|database|key)_?pass|passw(?:or)?d|pwd|secret",
    re.IGNORECASE,
)
_SETTINGS = threading.Lock()  # the scanner's settings are the process's


def find(top: Path, names: Iterable[str]) -> dict[str, str]:
    """What is a secret among files, by path below ``top``, and how it is known: its name, or a rule and the line."""
    found, others = {}, []
    for name in names:
        if by_name(name):
            found[name] = "by its name"
        elif not name.startswith(DATA) and f"/{DATA}" not in name:
            path = top / name
            if path.is_file() and not path.is_symlink():
                others.append(name)
    if others:
        with _scanner() as scan:
            for name in others:
                if rule := scan(top / name):
                    found[name] = rule
    return found


def by_name(name: str) -> bool:
    """Whether a file of this path holds keys or credentials, by its names alone."""
    *folders, last = PurePosixPath(name.lower()).parts
    if any(folder in FOLDERS for folder in folders):
        return True
    if any(fnmatchcase(last, pattern) for pattern in HARMLESS):
        return False
    return any(fnmatchcase(last, pattern) for pattern in BY_NAME)


@contextlib.contextmanager
def _scanner() -> Iterator[Any]:
    """A function from a path to the first rule that finds a secret in the file; imports the scanner."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.core.scan import get_plugins, scan_file
    from detect_secrets.settings import transient_settings

    known = {str(kind.__name__) for kind in get_mapping_from_secret_type_to_class().values()}  # type: ignore[var-annotated]
    with _SETTINGS, transient_settings({"plugins_used": [{"name": name} for name in sorted(known - GUESSES)]}):
        rules = [_KEYWORDS, *(rule for plugin in get_plugins() for rule in getattr(plugin, "denylist", ()))]
        rules = [rule for rule in rules if isinstance(rule, re.Pattern)]

        def scan(path: Path) -> str | None:
            with open(path, "rb") as file:
                content = file.read(LOOKED_AT)
            text = content.decode(errors="replace")
            # The scanner takes a millisecond a line, so what no rule speaks of does not come to it.
            if b"\0" in content or not any(rule.search(text) for rule in rules):
                return None
            if len(content) <= WHOLE:
                return next((f"{hit.type}, line {hit.line_number}" for hit in scan_file(str(path))), None)
            lines = [
                (number, line)
                for number, line in enumerate(text.splitlines(), 1)
                if any(rule.search(line) for rule in rules)
            ]
            with tempfile.TemporaryDirectory(prefix="stemma-secrets-") as folder:
                excerpt = Path(folder) / path.name
                excerpt.write_text("".join(f"{line}\n" for _, line in lines), encoding="utf-8")
                hits = (f"{hit.type}, line {lines[hit.line_number - 1][0]}" for hit in scan_file(str(excerpt)))
                return next(hits, None)

        yield scan
