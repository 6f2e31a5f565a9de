"""``stemma arena``: what people preferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from components.comparison.agreement import Agreement
    from core.workspace import Workspace
    from registry.feedback.votes import VoteView

EPILOG = """[bold]Examples[/]

stemma serve assistant@champion assistant:3    vote at http://127.0.0.1:8000/arena

stemma arena

stemma arena --votes --json

stemma arena --judge                                          how far the judge agrees with people
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(arena)


def arena(
    votes: Annotated[bool, typer.Option("--votes", help="List the votes instead, the newest last.")] = False,
    judge: Annotated[
        bool, typer.Option("--judge", help="Ask the judge of `evaluate.judge` about the same answers: does it agree?")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rank the versions by people's votes: Bradley-Terry ratings with 95 % intervals, and Elo.

    People vote on the page /arena of a gateway that serves two versions or more (`stemma serve`). 400 points are odds
    of ten to one; a tie, and a vote that both are bad, is half a win for each.
    """
    from cli.output import print_json, print_table, say, shortened
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.feedback.votes import votes as all_votes

    workspace = Workspace.find()
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        found = all_votes(session)
    if votes:
        if as_json:
            print_json([vote.as_dict() for vote in found])
        else:
            shown = [
                (
                    vote.a,
                    vote.b,
                    vote.choice,
                    vote.chosen,
                    vote.voter or "-",
                    *(shortened(text, 80) for text in (vote.question, vote.reason)),
                )
                for vote in found
            ]
            print_table(("A", "B", "vote", "chosen by", "by", "question", "reason"), shown)
        return
    from deploy.leaderboard import leaderboard

    board = leaderboard(found)
    whole = [vote for vote in found if vote.counts and vote.question]  # of others the texts have expired
    agreed = _agreement(workspace, whole) if judge and whole else None
    if as_json:
        print_json(board.as_dict() | ({"judge": agreed.as_dict()} if agreed is not None else {}))
        return
    if not board.votes and not board.left_out:
        print("No votes yet. Serve two versions (`stemma serve A B`) and vote on the page /arena.")
        return
    rows = [
        (each.model, f"{each.rating:.0f}", f"{each.low:.0f} to {each.high:.0f}", f"{each.elo:.0f}", each.battles,
         f"{each.wins} : {each.ties} : {each.losses}")
        for each in board.ratings
    ]  # fmt: skip
    print_table(("version", "rating", "95 %", "Elo", "votes", "won : tied : lost"), rows)
    say(f"{board.votes} votes; {board.both_bad} found both answers bad and count as ties.")
    if board.left_out:
        say(
            f"{board.left_out} votes on pairs that were chosen because reward model and judge disagree do not count: "
            "they are no sample of all questions."
        )
    if not board.connected:
        say(
            "Some versions were never compared with the others, not even through a third: do not compare their ratings."
        )
    if agreed is not None:
        say(agreed.in_words())


def _agreement(workspace: Workspace, votes: list[VoteView]) -> Agreement:
    """The judge's agreement with the votes, the newest ones if there are more than `evaluate.judge.prompts`."""
    from components.comparison.agreement import agreement
    from deploy.judging import judge_for
    from deploy.leaderboard import WON
    from registry.db.database import open as open_registry
    from registry.db.references import resolve

    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        models = [resolve(session, name).artifact_id for name in {each for vote in votes for each in (vote.a, vote.b)}]
    with judge_for(workspace, "arena", models) as judge:
        votes = votes[-judge.parameters.prompts :]
        pairs = [(vote.question, vote.answer_a, vote.answer_b) for vote in votes]
        return agreement(judge, pairs, [WON[vote.choice] for vote in votes], [vote.question for vote in votes])
