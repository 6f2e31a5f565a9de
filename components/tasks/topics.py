"""Labels of the default corpus: a docstring's topic is the family that its module belongs to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from components.contract import StageParameters
from components.tasks.contract import unit_hash
from core.errors import InputProblem

FAMILIES: dict[str, tuple[str, ...]] = {
    "concurrency": (
        "asyncio", "multiprocessing", "threading", "_threading_local", "concurrent", "queue", "sched", "signal",
        "subprocess", "selectors", "asyncore", "asynchat",
    ),
    "data formats": (
        "xml", "html", "_markupbase", "json", "csv", "configparser", "plistlib", "tomllib", "pickle", "pickletools",
        "_compat_pickle", "copyreg", "shelve", "dbm", "sqlite3", "xdrlib", "base64", "quopri", "uu", "wave", "aifc",
        "chunk", "sunau", "sndhdr", "imghdr",
    ),
    "data structures": (
        "collections", "_collections_abc", "heapq", "bisect", "weakref", "_weakrefset", "copy", "enum", "graphlib",
        "operator", "functools", "contextlib", "dataclasses", "abc", "_py_abc", "types", "reprlib",
    ),
    "files and system": (
        "os", "pathlib", "shutil", "tempfile", "glob", "fnmatch", "ntpath", "posixpath", "genericpath", "stat",
        "filecmp", "fileinput", "io", "_pyio", "tarfile", "zipfile", "gzip", "bz2", "lzma", "compression",
        "_compression", "platform", "getpass", "pty", "tty", "pipes", "nturl2path",
    ),
    "gui": ("tkinter", "idlelib", "turtle", "turtledemo", "curses"),
    "math and time": (
        "_pydecimal", "decimal", "fractions", "statistics", "random", "secrets", "numbers", "datetime", "_pydatetime",
        "calendar", "_strptime", "zoneinfo", "colorsys", "hashlib", "hmac", "_pylong",
    ),
    "network and mail": (
        "http", "urllib", "xmlrpc", "socket", "socketserver", "ssl", "ftplib", "telnetlib", "wsgiref", "cgi",
        "webbrowser", "ipaddress", "netrc", "uuid", "email", "mailbox", "mailcap", "mimetypes", "smtplib", "smtpd",
        "imaplib", "poplib", "nntplib",
    ),
    "source code and packaging": (
        "importlib", "ast", "lib2to3", "inspect", "typing", "annotationlib", "dis", "symtable", "tokenize", "pyclbr",
        "pkgutil", "modulefinder", "imp", "zipimport", "runpy", "code", "codeop", "compileall", "py_compile",
        "linecache", "opcode", "keyword", "tabnanny", "distutils", "ensurepip", "venv", "site", "sysconfig", "zipapp",
    ),
    "testing and debugging": (
        "unittest", "doctest", "pdb", "bdb", "logging", "trace", "traceback", "tracemalloc", "cProfile", "profile",
        "profiling", "pstats", "timeit", "warnings", "cgitb",
    ),
    "text and options": (
        "encodings", "codecs", "re", "string", "textwrap", "difflib", "locale", "gettext", "stringprep", "shlex",
        "pprint", "argparse", "optparse", "getopt", "cmd", "pydoc", "rlcompleter", "_pyrepl",
    ),
}  # fmt: skip
"""Top-level modules of each topic. A topic with too few modules in this Python's library is left out and reported."""

_TOPIC = {module: topic for topic, modules in FAMILIES.items() for module in modules}
_OVERFILL = 1.25  # a held-out split may exceed its share so far, to take a whole module
_LEAST_TEXTS = {"train": 30, "validation": 5, "test": 10}


class TopicsParameters(StageParameters):
    """Topics of the standard library's docstrings."""

    min_characters: int = Field(40, ge=1, le=10_000, description="shorter docstrings get no label")


def topic_of(module: str) -> str | None:
    """Topic of a dotted module name, by its top-level package; None if it belongs to none."""
    return _TOPIC.get(module.partition(".")[0])


def label(
    documents: Iterable[Mapping[str, str]], shares: Mapping[str, float], parameters: TopicsParameters, seed: int
) -> tuple[dict[str, list[dict[str, str]]], dict[str, Any]]:
    """Rows (text, label, group) by split, no module in two of them, and the report.

    Args:
        documents: corpus rows; only those of kind ``docstring`` are labelled, their ``group`` is the module.
        shares: share of each topic's texts in ``validation`` and ``test``.
        seed: of the order in which modules are dealt out.

    Raises:
        InputProblem: the corpus has texts of fewer than two topics.
    """
    texts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    left_out: Counter[str] = Counter()
    unlabelled: Counter[str] = Counter()
    seen: set[str] = set()
    for document in documents:
        if document["kind"] != "docstring":
            continue
        topic = topic_of(document["group"])
        if len(document["text"]) < parameters.min_characters:
            left_out["shorter than min_characters"] += 1
        elif topic is None:
            left_out["module of no topic"] += 1
            unlabelled[document["group"].partition(".")[0]] += 1
        elif document["text"] in seen:
            left_out["same text seen before"] += 1
        else:
            seen.add(document["text"])
            texts[topic][document["group"]].append(document["text"])

    rows: dict[str, list[dict[str, str]]] = {"train": [], "validation": [], "test": []}
    modules: dict[str, dict[str, int]] = {}
    dropped = []
    for topic in sorted(texts):
        split_of = deal({module: len(found) for module, found in texts[topic].items()}, shares, seed)
        sizes: Counter[str] = Counter()
        for module, found in texts[topic].items():
            sizes[split_of[module]] += len(found)
        if any(sizes[split] < least for split, least in _LEAST_TEXTS.items()):
            dropped.append(topic)
            left_out["topic with too few texts or modules"] += sizes.total()
            continue
        modules[topic] = dict(sorted(Counter(split_of.values()).items()))
        for module in sorted(texts[topic]):
            rows[split_of[module]] += [{"text": text, "label": topic, "group": module} for text in texts[topic][module]]
    if len({row["label"] for row in rows["train"]}) < 2:
        raise InputProblem(
            "curate.labels: the corpus has docstrings of fewer than two topics of the standard library: add the "
            "python_docs source, or set curate.labels.source to files (your own labels) or none"
        )
    for split, labelled in rows.items():
        labelled.sort(key=lambda row: (unit_hash(seed, f"order {split}", row["text"]), row["text"]))
    report = {
        "left_out": dict(sorted(left_out.items())),
        "modules_of_no_topic": dict(unlabelled.most_common(20)),
        "topics_left_out": dropped,
        "modules": modules,
    }
    return rows, report


def deal(sizes: Mapping[str, int], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Split of each module of one topic, in random order: the held-out splits are filled to their shares first.

    Args:
        sizes: number of texts of each module.
        shares: share of the texts that each held-out split should have; modules that would overfill one train.
    """
    wanted = {split: share * sum(sizes.values()) for split, share in shares.items()}
    filled = dict.fromkeys(shares, 0)
    chosen = {}
    for module in sorted(sizes, key=lambda module: (unit_hash(seed, "module", module), module)):
        open_splits = [
            split
            for split in shares
            if filled[split] < wanted[split] and filled[split] + sizes[module] <= wanted[split] * _OVERFILL
        ]
        split = min(open_splits, key=lambda split: filled[split] / wanted[split], default="train")
        if split in filled:
            filled[split] += sizes[module]
        chosen[module] = split
    return chosen
