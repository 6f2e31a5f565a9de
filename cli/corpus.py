"""``stemma data show | sample | search | diff``: the documents of a corpus, and what differs between two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.corpora.difference import CorpusDifference
    from components.corpora.shards import Corpus

SHOW_EPILOG = """[bold]Examples[/]

stemma data show                                  data/corpus as it lies there

stemma data show base@champion                    the corpus of the run that made the version
"""
SAMPLE_EPILOG = """[bold]Examples[/]

stemma data sample -n 5 --split validation

stemma data sample --rule near_duplicate          what a rule dropped, as the report keeps it

stemma data sample run-20250101-120000-ab12 --seed 7 --json
"""
SEARCH_EPILOG = """[bold]Examples[/]

stemma data search "lorem ipsum"

stemma data search "All rights reserved" base:2 --split train -n 50
"""
DIFF_EPILOG = """[bold]Examples[/]

stemma data diff base:1 base:2

stemma data diff run-20250101-120000-ab12 data/corpus

stemma data diff HEAD~3 HEAD -n 10 --json
"""
NAMES = "A folder, a run, MODEL[:VERSION|@ALIAS], or a git revision."
SHOWN = 2000  # characters of a document
VALUES = 20  # of a column that are listed
Corpora = Annotated[
    str | None,
    typer.Argument(metavar="CORPUS", help=NAMES, show_default="data/corpus"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Split = Annotated[str | None, typer.Option(metavar="NAME", help="Documents of this split alone.")]


def register(group: typer.Typer) -> None:
    group.command(epilog=SHOW_EPILOG)(show)
    group.command(epilog=SAMPLE_EPILOG)(sample)
    group.command(epilog=SEARCH_EPILOG)(search)
    group.command(epilog=DIFF_EPILOG)(diff)


def show(corpus: Corpora = None, as_json: AsJson = False) -> None:
    """Show what a corpus is made of: documents and bytes by split, source, licence and language, and what was dropped.

    Tokens are shown where the corpus was tokenized as it is.
    """
    from cli.output import print_json, print_table, say
    from components.corpora.summary import summarize, tokens_of
    from core.numbers import size

    opened, reports = _open(corpus)
    found = summarize(opened)
    tokens = tokens_of(found, reports["tokenized"])
    rules = [
        {name: rule[name] for name in ("rule", "in", "dropped", "dropped_characters")}
        for rule in (reports["report"] or {}).get("rules", [])
    ]
    if as_json:
        print_json({"corpus": opened.name, **found, "tokens": tokens, "dropped": rules})
        return
    say(opened.name)
    rows = [
        (split, f"{c['documents']:,}", size(c["bytes"]), f"{tokens[split]:,}" if split in tokens else "-")
        for split, c in found["splits"].items()
    ]
    print_table(("SPLIT", "DOCUMENTS", "TEXT", "TOKENS"), rows)
    total = sum(counts["bytes"] for counts in found["splits"].values()) or 1
    for column, values in found["by"].items():
        if not values:
            continue
        print()
        rows = []
        for value, by_split in list(values.items())[:VALUES]:
            documents, held = (sum(c[name] for c in by_split.values()) for name in ("documents", "bytes"))
            rows.append((value, f"{documents:,}", size(held), f"{held / total:.1%}"))
        print_table((column.upper(), "DOCUMENTS", "TEXT", "SHARE"), rows)
        if len(values) > VALUES:
            say(f"and {len(values) - VALUES:,} more; --json lists them")
    if rules:
        print()
        print_table(
            ("RULE", "IN", "DROPPED", "CHARACTERS"),
            [(r["rule"], f"{r['in']:,}", f"{r['dropped']:,}", f"{r['dropped_characters']:,}") for r in rules],
        )


def sample(
    corpus: Corpora = None,
    split: Split = None,
    rule: Annotated[str | None, typer.Option(metavar="NAME", help="What this rule dropped, instead.")] = None,
    count: Annotated[int, typer.Option("-n", min=1, max=1000, help="Documents to show.")] = 3,
    seed: Annotated[int, typer.Option(help="Another seed, other documents.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show documents of a corpus, or of what a rule dropped, drawn by seed.

    The same seed shows the same documents. Of what rules dropped, the report keeps `curate.examples` a rule.
    """
    from cli.output import print_json
    from components.corpora import finding
    from core.errors import InputProblem

    if rule is not None and split is not None:
        raise InputProblem("--rule and --split exclude each other: what a rule dropped is in no split")
    opened, reports = _open(corpus)
    if rule is None:
        rows = finding.sample(opened, count, seed, split)
    else:
        rows = finding.dropped(reports["report"], opened.name, rule, count, seed)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        _document(row)


def search(
    phrase: Annotated[str, typer.Argument(metavar="PHRASE", help="Text as it stands there, line breaks included.")],
    corpus: Corpora = None,
    split: Split = None,
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="Documents to show; then the search ends.")] = 10,
    exact: Annotated[bool, typer.Option("--exact", help="Capital and small letters differ.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the first documents of a corpus that hold a phrase, with what stands around it."""
    from cli.output import print_json, print_parts, say
    from components.corpora import finding
    from core.errors import InputProblem

    if not phrase:
        raise InputProblem("PHRASE is empty: give the text to look for")
    opened, _ = _open(corpus)
    opened.require_split(split)
    hits, seen = finding.search(opened, phrase, count, split, exact=exact)
    total = opened.documents if split is None else opened.count(split)
    if as_json:
        print_json({"corpus": opened.name, "searched": seen, "of": total, "hits": [hit.as_dict() for hit in hits]})
        return
    for hit in hits:
        say(f"[{hit.split}] {hit.source}: {hit.origin}" + (f"  ({hit.times} times)" if hit.times > 1 else ""))
        print_parts([(hit.before, False), (hit.phrase, True), (hit.after, False)])
        print()
    more = f"; the search ended after {count}, -n shows more" if len(hits) == count and seen < total else ""
    say(f"{len(hits)} documents of the {seen:,} that were looked through ({opened.name} has {total:,}){more}")


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=NAMES)],
    b: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    count: Annotated[int, typer.Option("-n", min=0, max=1000, help="Samples of each difference.")] = 3,
    seed: Annotated[int, typer.Option(help="Another seed, other samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show which documents came, went, changed or moved to another split between two corpora.

    A document is known by its text; it changed if another text has the same source and origin.
    """
    from dataclasses import asdict

    from cli.output import print_json
    from components.corpora.difference import difference

    (first, _), (second, _) = _open(a), _open(b)
    found = difference(first, second, count, seed)
    if as_json:
        print_json({"a": first.name, "b": second.name, **asdict(found)})
    else:
        _show_difference(first.name, second.name, found)


def _open(name: str | None) -> tuple[Corpus, dict[str, Any]]:
    from core.workspace import Workspace
    from deploy.corpora import open_corpus

    return open_corpus(Workspace.find(), name)


def _document(row: dict[str, Any]) -> None:
    from cli.output import say

    head = [row.get(name) for name in ("source", "kind", "language", "license")]
    say(f"[{row['split']}] {row.get('origin') or row.get('id')}  ({', '.join(filter(None, head))})" if "split" in row
        else f"[{row['rule']}] {row['origin']}" + (f"  ({row['reason']})" if row["reason"] else ""))  # fmt: skip
    text = row["text"] or ""
    say(text if len(text) <= SHOWN else f"{text[:SHOWN]} [... {len(text) - SHOWN:,} more characters]")
    print()


def _show_difference(a: str, b: str, found: CorpusDifference) -> None:
    from cli.output import print_table, say

    say(f"{a} → {b}")
    kinds = ("came", "went", "changed", "moved")
    say(f"{found.documents[0]:,} documents → {found.documents[1]:,}; {found.same:,} are the same")
    if not any(getattr(found, kind) for kind in kinds):
        say("no difference")
        return
    for title, by in (("SPLIT", found.by_split), ("SOURCE", found.by_source)):
        print()
        rows = [(name, *(f"{counts.get(kind, 0):,}" for kind in kinds)) for name, counts in by.items()]
        if title == "SPLIT":
            rows.append(("all", *(f"{getattr(found, kind):,}" for kind in kinds)))
        print_table((title, *(kind.upper() for kind in kinds)), rows[: VALUES + 1])
        if len(rows) > VALUES + 1:
            say(f"and {len(rows) - VALUES - 1:,} more; --json lists them")
    for kind in kinds:
        if found.samples[kind]:
            say(f"\n{kind}: {len(found.samples[kind])} of {getattr(found, kind):,}")
        for before, after in found.samples[kind]:
            _pair(before, after)


def _pair(before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
    from cli.output import print_changes, say
    from components.corpora.changes import ADDED, REMOVED, changes

    row: dict[str, Any] = after or before or {}
    moved = f"{before['split']} → {after['split']}" if before and after and before["split"] != after["split"] else None
    say(f"[{moved or row['split']}] {row.get('source') or '-'}: {row.get('origin') or row['id']}")
    if before and after:
        if before["text"] != after["text"]:
            print_changes(changes(before["text"], after["text"]))
    else:
        sign, text = (ADDED if after else REMOVED), row["text"]
        print_changes([(text[: SHOWN // 4], sign), (" [...]" if len(text) > SHOWN // 4 else "", "")])
    print()
