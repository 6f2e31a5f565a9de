"""DVC as Stemma runs it: its command line, with every manifest checked before DVC writes what it names.

DVC itself writes whatever paths a manifest in its cache or remote holds, also those outside the folder, and checks a
manifest's digest on no way there. ``python -P -m core.guarded_dvc ARGUMENTS``; several commands are parted by
``--then``, and so is what they print, by a NUL.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from core import forks, manifests, prefork, python

THEN = "--then"
_STAGE = re.compile(r"(?:exec )?python -m components (\S+)")


def main(arguments: list[str]) -> int:
    """Run the commands one after the other, up to the first that fails; its exit code."""
    python.seldom_collect()
    _check_manifests()
    _mend_rwlock(Path.cwd())
    if "repro" in arguments:
        # A stage's own code is that of the tree, whatever keeps the tree from the import path of everything else.
        os.environ["PYTHONPATH"] = python.with_code_of(Path.cwd(), os.environ)
        if prefork.is_forked():
            _fork_stages()
    from dvc.cli import main as run

    for number, command in enumerate(_commands(arguments)):
        if number:
            print("\0", flush=True)
        if code := run(command):
            return int(code)
    return 0


def _fork_stages() -> None:
    """Have a stage's command run in a fork of this process, which has imported what the stage needs."""
    from dvc.stage import run
    from dvc.stage.exceptions import StageCmdFailedError
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # it would be a second thread
    start = run._run

    def fork(executable: str | None, cmd: str, **options: Any) -> None:
        command = _STAGE.fullmatch(cmd)
        if command is None or threading.active_count() > 1:
            start(executable, cmd, **options)
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as DVC does while it waits for a stage
        try:
            code = forks.run_in_fork("components", command[1], cwd=options["cwd"], env=options["env"])
        finally:
            signal.signal(signal.SIGINT, before)
        if code:
            raise StageCmdFailedError(cmd, code)

    run._run = fork


def _mend_rwlock(folder: Path) -> None:
    """Remove DVC's list of the paths in use where a kill, or a full disk, left it half-written.

    DVC writes it in place and afterwards refuses every command. Who writes it holds the lock beside it, so a list that
    cannot be read while that is held here has no writer.
    """
    root = next((each for each in (folder, *folder.parents) if (each / ".dvc").is_dir()), folder)
    path = root / ".dvc" / "tmp" / "rwlock"
    if _is_readable(path):
        return
    from dvc.lock import make_lock

    with make_lock(str(path.with_name("rwlock.lock"))):
        if not _is_readable(path):
            path.unlink()


def _is_readable(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except FileNotFoundError:
        return True
    except ValueError:
        return False


def _commands(arguments: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for argument in arguments:
        if argument == THEN:
            found.append([])
        else:
            found[-1].append(argument)
    return found


def _check_manifests() -> None:
    """Put the checks where DVC turns a manifest into the files of a folder; there are no other places."""
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError  # what DVC takes for a damaged object

    load, from_list = Tree.load.__func__, Tree.from_list.__func__

    def checked_load(cls: type, odb: Any, hash_info: Any, hash_name: str | None = None) -> Any:
        found = odb.get(hash_info.value)
        if "memory" not in _protocols(found.fs):  # what DVC has just made itself is there with other fields as well
            try:
                manifests.read(found.fs.cat_file(found.path), hash_info.value)
            except manifests.ManifestRefused as refused:
                raise ObjectFormatError(str(refused)) from None
        return load(cls, odb, hash_info, hash_name)

    def checked_from_list(cls: type, entries: list[dict[str, Any]], hash_name: str | None = None) -> Any:
        if problem := manifests.names_problem(entry.get("relpath") for entry in entries):
            raise ObjectFormatError(f"a folder's list of files {problem}")
        return from_list(cls, entries, hash_name)

    Tree.load, Tree.from_list = classmethod(checked_load), classmethod(checked_from_list)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
