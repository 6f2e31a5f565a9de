"""A plan on the terminal: the model, whether it fits, its time and cost."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.numbers import count, duration, figure, size


def screen(plan: dict[str, Any]) -> RenderableType:
    """One plan, top to bottom: size, compute, memory, time, cost, disk, and the assumptions under all of it."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in (
        ("parameters", _parameters(plan)),
        ("compute", _compute(plan)),
        ("tokens", _tokens(plan)),
        ("time", _time(plan)),
        ("money", _money(plan)),
        ("energy", _energy(plan)),
        ("disk", _disk(plan)),
    ):
        if text:
            facts.add_row(name, text)
    device = plan["device"]
    processes = "1 process" if device["count"] == 1 else f"{device['count']} processes"
    many = f"{processes} on" if device["name"] == "cpu" else f"{device['count']} ×"
    title = Text(f"{plan['name']}: {many} {device['title']}, {device['precision']}", style="bold")
    return Group("", title, facts, "", _memory(plan), *_verdict(plan), "", _assumptions(plan))


def _parameters(plan: dict[str, Any]) -> str:
    model = plan["model"]
    parts = ", ".join(f"{part.replace('_', '-')} {count(n)}" for part, n in model["parameters_by_part"].items())
    active = model["active_parameters"]
    working = f"; {count(active)} work for a token" if active != model["parameters"] else ""
    trained = (
        f"; {count(model['trained_parameters'])} learn" if model["trained_parameters"] < model["parameters"] else ""
    )
    return f"{model['parameters']:,} ({parts}){working}{trained}"


def _compute(plan: dict[str, Any]) -> str:
    compute = plan["compute"]
    return (
        f"{compute['flops_exact']:.3g} FLOPs exact ({compute['attention_flops_share']:.1%} of them attention), "
        f"{compute['flops_6nd']:.3g} by 6ND; {count(compute['tokens'])} tokens in sequences of "
        f"{compute['context_tokens']:,}"
    )


def _tokens(plan: dict[str, Any]) -> str:
    scaling = plan["scaling"]
    if scaling is None:
        return ""
    lines = [
        f"{figure(scaling['tokens_per_parameter'])} a parameter; compute-optimal: "
        f"{count(scaling['compute_optimal_tokens_by_20_per_parameter'])} (20 a parameter), "
        f"{count(scaling['compute_optimal_tokens_by_hoffmann'])} (Hoffmann et al.)",
        scaling["remark"],
    ]
    if scaling["same_compute_optimal_parameters"]:
        lines.append(
            f"best for this compute: {count(scaling['same_compute_optimal_parameters'])} parameters on "
            f"{count(scaling['same_compute_optimal_tokens'])} tokens, "
            f"{scaling['loss_above_optimum_nats_per_token']:.3f} nats a token lower"
        )
    return "\n".join(lines)


def _time(plan: dict[str, Any]) -> str:
    time = plan["time"]
    hours = f"; {figure(time['device_hours'])} device-hours" if plan["device"]["name"] != "cpu" else ""
    step = f"; {time['step_seconds']:.3g} s a step" if time["step_seconds"] else ""
    return f"{_long(time['seconds'])}{hours}; {count(time['tokens_per_second'])} tokens/s{step}"


def _long(seconds: float) -> str:
    days = seconds / 86400
    return f"{figure(days)} days ({figure(seconds / 3600)} h)" if days >= 2 else duration(seconds)


def _money(plan: dict[str, Any]) -> str:
    cost = plan["cost"]
    if cost["money"] is None:
        return ""
    return f"{cost['money']:,.0f} at {cost['price_per_device_hour']:g} a device-hour"


def _energy(plan: dict[str, Any]) -> str:
    energy = plan["cost"]["energy_kilowatt_hours"]
    return "" if energy is None else f"{figure(energy)} kWh"


def _disk(plan: dict[str, Any]) -> str:
    disk = plan["disk"]
    data = f"tokens {size(disk['data_bytes'])}, " if disk["data_bytes"] else ""
    return (
        f"{size(disk['total_bytes'])}: {data}checkpoints {size(disk['checkpoints_bytes'])} "
        f"({size(disk['checkpoint_bytes'])} each), model {size(disk['model_bytes'])}"
    )


def _memory(plan: dict[str, Any]) -> Table:
    usable = plan["memory"][0]["usable_bytes"]
    sequences = plan["micro_batch_sequences"]
    holder = "process" if plan["device"]["name"] == "cpu" else "device"
    table = Table(
        box=None,
        header_style="bold",
        padding=(0, 2, 0, 0),
        title=f"Memory of a {holder} at a micro-batch of {sequences} (usable: {size(usable)})",
        title_justify="left",
        title_style="",
    )
    table.add_column("sharding")
    kinds = ["weights", "gradients", "optimizer", "activations", "scores", "allocator", "total"]
    if not any(row["allocator_bytes"] for row in plan["memory"]):
        kinds.remove("allocator")
    for name in (*kinds, "fits", "largest micro-batch"):
        table.add_column(name, justify="right")
    for row in plan["memory"]:
        table.add_row(
            ("→ " if row["chosen"] else "  ") + _division(row, plan["device"]["count"]),
            *(size(row[f"{kind}_bytes"]) for kind in kinds),
            Text("yes", style="green") if row["fits"] else Text("no", style="red"),
            str(row["largest_micro_batch_sequences"]),
        )
    return table


def _division(row: dict[str, Any], count: int) -> str:
    tensor, stages = row["tensor_devices"], row["pipeline_stages"]
    if row["sharding"] == "3d":
        return f"3d: {tensor} tensor × {stages} pipeline × {count // tensor // stages} data"
    return {"zero3": "zero3 = fsdp2"}.get(row["sharding"], row["sharding"])


def _verdict(plan: dict[str, Any]) -> list[Text]:
    """What to do where the chosen way does not fit."""
    if plan["fits"]:
        return []
    fitting = [row["sharding"] for row in plan["memory"] if row["fits"]]
    hint = (
        f"--sharding {fitting[0]} fits"
        if fitting
        else "try a smaller --micro-batch or --context, --gradient-checkpointing, or a larger --count"
    )
    return [Text(f"Does not fit with {plan['sharding']}; {hint}.", style="bold red")]


def _assumptions(plan: dict[str, Any]) -> Group:
    lines = ["Assumed:"]
    for each in plan["assumptions"]:
        option = f" ({each['option']})" if each["option"] else ""
        name = each["name"].replace("_", " ")
        lines.append(f"  {name} {figure(each['value'])} {each['meaning']}{option}")
    lines += [f"Note: {note}" for note in plan["notes"]]
    return Group(*(Text(line, style="dim") for line in lines))
