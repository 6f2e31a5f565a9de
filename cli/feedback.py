"""``stemma feedback``: what people say of answers, made into data to train on, and deleted where they ask for it."""

from __future__ import annotations

from typing import Annotated

import typer

EXPORT_EPILOG = """[bold]Examples[/]

stemma serve --feedback-days 30      people allow answers to be kept, and rate and edit them

stemma feedback export

stemma data preview --stage preference_tune -n 3      once curate.instructions.files names the files
"""

DELETE_EPILOG = """[bold]Examples[/]

stemma feedback delete --person ada                        what there is of Ada, then a question

stemma feedback delete --conversation 9f2c4e… --yes
"""


CHOOSE_EPILOG = """[bold]Examples[/]

stemma feedback choose assistant@champion assistant:3      then /arena of a gateway offers them

stemma arena --votes
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Choose what to ask people, make data to train on of what they say, or delete it.", no_args_is_help=True
    )
    group.command(epilog=CHOOSE_EPILOG)(choose)
    group.command(epilog=EXPORT_EPILOG)(export)
    group.command(epilog=DELETE_EPILOG)(delete)
    app.add_typer(group, name="feedback")


def export(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Write votes, thumbs, stars and edits as files below `data/raw/feedback`, versioned with DVC.

    `pairs.jsonl`: votes, and edits over the answer. `labelled.jsonl` (KTO): answers with a thumb or with stars, but
    not 3. `demonstrations.jsonl`: edits, and answers that were found good. Only what people allowed models to be
    trained on is in them. Every row says where it comes from, by a pseudonym of the person. The files are written anew
    each time; new content sends Prefect the event `stemma.data.changed`, which may start a retraining.
    """
    from cli.output import print_json, print_table
    from core.workspace import Workspace
    from flows.feedback.export import FOLDER
    from flows.feedback.export import export as export_to
    from flows.retraining import triggers

    workspace = Workspace.find()
    done = export_to(workspace)
    sent = None
    if done.changed:
        sent, said = triggers.announce(workspace.home, done.changed)
        done.notes.append(said)
    else:
        done.notes.append(f"nothing changed: {FOLDER} holds this already")
    if as_json:
        print_json({**done.as_dict(), "event": sent})
        return
    print_table(("file", "rows"), [((FOLDER / name).as_posix(), count) for name, count in done.rows.items()])
    for reason, count in done.left_out.items():
        print(f"left out: {count} {reason}")
    print("\n".join(done.notes))


def choose(
    a: Annotated[str, typer.Argument(metavar="A", help="MODEL[:VERSION|@ALIAS]")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another version that chats.")],
    questions: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="Questions to put to both.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample of questions, and of the random share.")] = 1337,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every pair included.")] = False,
) -> None:
    """Prepare pairs of answers for people to judge: those first about which reward model and judge disagree.

    Both versions answer questions of `data/instructions/preference.jsonl`, `reward@champion` and the judge of
    `evaluate.judge` say which answer they prefer. The pages /arena and /rate of this workspace's gateway then offer the
    pairs. One in four is drawn at random: votes on these, and on people's own questions, count in ratings and in
    `human_win_rate`; those on disagreements do not, for they are no sample. All of them can be trained on.
    """
    import sys

    from cli.output import print_json, print_table, say, shortened
    from core.workspace import Workspace
    from flows.feedback.choice import choose as prepare
    from registry.store.run_locks import running

    def note(line: str) -> None:
        print(line, file=sys.stderr)

    workspace = Workspace.find()
    with running(workspace.home):  # no collection takes the models' files meanwhile
        done = prepare(workspace, a, b, questions=questions, seed=seed, say=note)
    pairs = done.pairs
    if as_json:
        about = {"same": done.same, "unusable": done.unusable, "opposed": done.opposed,
                 "warnings": done.warnings}  # fmt: skip
        print_json({**pairs.model_dump(), **about})
        return
    rows = [
        ("random" if each.at_random else "disagreement",
         "-" if each.disagreement is None else f"{each.disagreement:.2f}", f"{each.reward:.2f}",
         "-" if each.judge is None else f"{each.judge:g}", shortened(each.question, 60))
        for each in pairs.pairs[:10]
    ]  # fmt: skip
    print_table(("chosen by", "disagreement", f"{pairs.reward_model}: A", "judge: A", "question"), rows)
    if len(pairs.pairs) > len(rows):
        say(f"… and {len(pairs.pairs) - len(rows)} more")
    say(
        f"A is {pairs.a}, B is {pairs.b}. {len(pairs.pairs)} pairs, of which reward model and judge name different "
        f"winners of {done.opposed}; {done.same} questions with equal answers and {done.unusable} that a model cannot "
        "be asked are left out."
    )
    for warning in done.warnings:
        say(f"Warning: {warning}")
    say("Ask people: the pages /arena and /rate of a gateway of this workspace (`stemma serve`).")


def delete(
    person: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the person's API key.")] = None,
    conversation: Annotated[str | None, typer.Option(metavar="ID", help="As the chat page names it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a question.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; needs --yes.")] = False,
) -> None:
    """Delete what a person, or one conversation, left: answers, votes, and rows of the exported files.

    Names the models that were trained on it, by the exported files that held it, now or in the past; they stay, as do
    the past files in DVC's cache that these models need, and back-ups. What stays of the deletion is a record of counts
    and digests.
    """
    import sys
    from dataclasses import asdict

    from cli.output import print_json, say
    from core.errors import InputProblem
    from core.workspace import Workspace
    from flows.feedback import deletion

    problems: list[str] = []
    try:
        subject = deletion.subject_of(person, conversation)
    except InputProblem as wrong:
        problems += wrong.problems
    if not yes and (as_json or not sys.stdin.isatty()):
        problems.append("nobody can be asked here whether to delete: add --yes")
    if problems:
        raise InputProblem(problems)
    workspace = Workspace.find()
    found = deletion.find(workspace, subject)
    if not as_json:
        for line in deletion.in_words(found):
            say(line)
    if not yes and not typer.confirm(f"Delete everything of {subject}?"):
        say("Nothing was deleted.")
        raise typer.Exit(1)
    done = deletion.delete(workspace, subject)
    if as_json:
        print_json({**asdict(found), "done": done})
        return
    for line in done:
        say(line)
