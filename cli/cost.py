"""``stemma cost``: what a model took to make."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(epilog="[bold]Example[/]: stemma cost assistant@champion")(cost)


def cost(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[:VERSION|@ALIAS]", help="The newest version if none is named.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Add up device time, tokens and money over a model's whole ancestry.

    Each execution counts once and what was reused counts nothing. What judging models were asked of it and its
    ancestors counts too. Prices are in `params.yaml` under `cost`.
    """
    from cli.output import print_json, print_table
    from core.numbers import duration, figure
    from core.workspace import Workspace
    from registry.db.database import open as open_registry
    from registry.integrity import history
    from registry.lineage.cost import CostParameters
    from registry.lineage.cost import cost as cost_of

    workspace = Workspace.find()
    parameters = CostParameters.load(workspace.root)
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        history.require_for(workspace, session, model)
        found = cost_of(session, model, parameters)
    if as_json:
        print_json(found.as_dict())
        return

    def money(amount: float | None) -> str:
        return "no price" if amount is None else f"{amount:,.4f}"

    rows = [
        (line.stage, line.run, f"{line.devices} × {line.device}", duration(line.device_seconds),
         figure(line.tokens) if line.tokens else "", money(line.money))
        for line in found.executions
    ]  # fmt: skip
    rows += [
        (line.stage, "", f"judge {line.judge}", "", figure(line.prompt_tokens + line.completion_tokens),
         money(line.money))
        for line in found.judging
    ]  # fmt: skip
    total = ("together", "", "", duration(found.device_seconds), figure(found.tokens), money(found.money))
    print_table(("stage", "run", "device", "device time", "tokens", found.currency), [*rows, total])
    if found.unpriced:
        print(
            "Not counted, for it has no price in params.yaml (cost.price_per_device_hour, "
            f"cost.price_per_million_tokens): {', '.join(found.unpriced)}"
        )
