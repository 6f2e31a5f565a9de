"""The history outside the database: every signed statement as a commit of ``refs/stemma/promotions``.

A database can be cut off at its end, and its last rows then look like any others. Someone who pushes
``refs/stemma/*:refs/stemma/*`` keeps the history where the database's writers cannot reach it. A commit is made of
nothing but the statement and the commit before it, so all clones that share a database make the same ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import GitError
from core.git import git
from core.keys import HISTORY, Signed, fault, trusted_keys
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.schema import SignedStatement

ATTEMPTS = 5
WHO = "Stemma"


def read(root: Path) -> list[Signed]:
    """Every statement that the repository knows, oldest first; none where there is no history."""
    return _up_to(root, _tip(root))


def newest(root: Path) -> Signed | None:
    """The last statement that the repository knows."""
    message = git(root, "log", "--no-show-signature", "-1", "--format=%B", HISTORY, "--", check=False)
    return _parsed(message) if message else None


def extend(workspace: Workspace, registry: Registry) -> str | None:
    """Bring the statements that the database has and the repository lacks into it.

    Returns:
        Why that was not done; ``None`` where both agree now.
    """
    with registry.read() as session:
        recorded = signed_statements(session)
    for attempt in range(ATTEMPTS):
        before = _tip(workspace.root)
        known = _up_to(workspace.root, before)
        new = recorded[len(known) :]
        if known != recorded[: len(known)]:
            return f"the database and {HISTORY} disagree; see `stemma audit`"
        trusted = trusted_keys(workspace) if new else {}
        if any(fault(trusted, each) for each in new):
            return "the database has an entry that no trusted key signed; see `stemma audit`"
        try:
            _append(workspace.root, before, new)
            return None
        except GitError as error:  # another process may have been quicker
            if attempt == ATTEMPTS - 1:
                return str(error)
    return None


def is_recorded(session: Session, entry: Signed) -> bool:
    """Whether the database has an entry of the repository's history, be it from after ``session`` began."""
    found = select(SignedStatement.id).filter_by(body=entry.body, signature=entry.signature)
    if session.scalars(found).first() is not None:
        return True
    with Session(session.get_bind()) as newer:
        return newer.scalars(found).first() is not None


def signed_statements(session: Session) -> list[Signed]:
    """Every statement of the database, oldest first."""
    return [row.signed for row in session.scalars(select(SignedStatement).order_by(SignedStatement.id))]


def subject(statement: Signed) -> str:
    """A statement in a few words, whoever wrote it."""
    said = statement.said
    try:
        if said["kind"] != "promotion":
            return f"start of signatures, after {said['promotions']} unsigned promotions"
        model, number, _ = said["to"]
        return f"{said['action']} {model}:{number} to @{said['alias']} by {said['actor']} at {said['time'][:19]}"
    except (KeyError, TypeError, ValueError):
        return "an entry that says nothing"


def _tip(root: Path) -> str:
    """The history's newest commit; empty where there is none."""
    return git(root, "rev-parse", "--verify", "--quiet", HISTORY, check=False)


def _up_to(root: Path, commit: str) -> list[Signed]:
    text = git(root, "log", "--no-show-signature", "--reverse", "--format=%B%x00", commit, "--") if commit else ""
    entries = [_parsed(message) for message in text.split("\0") if message.strip()]
    return list(dict.fromkeys(entries))  # two processes at once could once write one twice


def _append(root: Path, before: str, statements: Sequence[Signed]) -> None:
    """Write the statements on top of the commit ``before``, if that is the newest one still; else ``GitError``."""
    if not statements:
        return
    tree, commit = git(root, "mktree", text=""), before
    for each in statements:
        line = json.dumps({"body": each.body, "key": each.key_id, "signature": each.signature}, sort_keys=True)
        when = f"{int(datetime.fromisoformat(each.said['time']).timestamp())} +0000"
        env = dict(os.environ)
        for role in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{role}_NAME": WHO, f"GIT_{role}_EMAIL": "stemma@localhost", f"GIT_{role}_DATE": when}
        title = json.dumps(subject(each))[1:-1]  # a name may hold what no subject line can
        parent = ("-p", commit) if commit else ()
        commit = git(root, "commit-tree", tree, *parent, "-F", "-", env=env, text=f"{title}\n\n{line}\n")
    git(root, "update-ref", "-m", "stemma: history", HISTORY, commit, before or "0" * 40)


def _parsed(message: str) -> Signed:
    """The statement of a commit; one that is damaged holds nothing that any key signed."""
    try:
        line = json.loads(message.strip().splitlines()[-1])
        return Signed(str(line["body"]), str(line["key"]), str(line["signature"]))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return Signed(message, "", "")
