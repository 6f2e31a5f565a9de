"""The peers' section of docs/benchmarks.md, written from the results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import InputProblem

BEGIN, END = "<!-- bench.pretrain: begin -->", "<!-- bench.pretrain: end -->"
PEERS = ("litgpt", "transformers")
NAMES = {"stemma": "Stemma", "litgpt": "litgpt", "transformers": "HF Trainer"}


def write(path: Path, text: str) -> None:
    """Put ``text`` between the markers of the page at ``path``.

    Raises:
        InputProblem: the page has no markers.
    """
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise InputProblem(f"{path}: put a line `{BEGIN}` and a line `{END}` where the results shall stand")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", encoding="utf-8")
    os.replace(temporary, path)


def render(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown; a missed goal is reported as missed."""
    parts = [_machine(summary), _ceiling(summary), _speed(summary), _profile(summary), _quality(summary), _gpu(summary)]
    return "\n\n".join(part for part in parts if part)


def _machine(summary: Mapping[str, Any]) -> str:
    machine, peers = summary["machine"], summary["versions"]
    units = "with" if machine["bf16_units"] else "without"
    lines = "; ".join(f"{peer}: {versions}" for peer, versions in peers.items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['vectors']}, {units} bfloat16 units, "
        f"{machine['memory_gb']} GB; {machine['system']}, Python {machine['python']}, torch {machine['torch']}, "
        f"transformers {machine['transformers']}. Peers: {lines}.\n\n"
        f"Model: Llama, {summary['parameters']:,} parameters (head not tied), batch {summary['batch']} x "
        f"{summary['context']} = {summary['batch'] * summary['context']:,} tokens."
    )


def _ceiling(summary: Mapping[str, Any]) -> str:
    if not summary["ceiling"]:
        return ""
    rows = [
        [str(row["cores"]), name, _number(row[name]["tokens_per_second"]), _number(row[name]["gigaflops"])]
        for row in summary["ceiling"]
        for name in ("fp32", "bf16")
    ]
    return (
        "### Matmul ceiling\n\nThe model's matrix products alone, without attention and anything element-wise. No "
        "trainer can be faster in that precision.\n\n" + _table(["cores", "precision", "tokens/s", "GFLOP/s"], rows)
    )


def _speed(summary: Mapping[str, Any]) -> str:
    parts = []
    for cores in sorted({row["cores"] for row in summary["speed"]}):
        rows = [row for row in summary["speed"] if row["cores"] == cores]
        table = [
            [
                row["title"],
                _spread(row["tokens_per_second"], row["tokens_per_second_quartiles"]),
                _number(row["tokens_per_cpu_second"]),
                f"{row['warmup_seconds']:.1f}",
                f"{row['peak_gb']:.1f}",
                f"{row['steps']} / {row['rounds']}",
            ]
            for row in rows
        ]
        heads = ["trainer", "tokens/s (quartiles)", "tokens per CPU second", "warm-up, s", "peak GB", "steps / rounds"]
        parts.append(f"### Tokens a second, {cores} core{'s' if cores > 1 else ''}\n\n{_table(heads, table)}")
        parts.append(_speed_verdict(rows))
    return "\n\n".join(part for part in parts if part)


def _speed_verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    speed = {row["variant"]: row["tokens_per_cpu_second"] for row in rows}
    lines = []
    for ours in ("stemma", "stemma-adamw", "stemma-compiled"):
        for theirs, goal in (("litgpt-bf16", 1.2), ("litgpt-fp32", 1.2), ("trainer-fp32", 2.0), ("trainer-bf16", None)):
            if ours in speed and theirs in speed:
                ratio = speed[ours] / speed[theirs]
                verdict = "" if goal is None else f" (goal {goal:g}: {'met' if ratio >= goal else 'missed'})"
                lines.append(f"- {ours} / {theirs}: {ratio:.2f}{verdict}")
    return "Tokens per CPU second, ratios:\n\n" + "\n".join(lines) if lines else ""


def _profile(summary: Mapping[str, Any]) -> str:
    if not summary["profile"]:
        return ""
    kinds = list(dict.fromkeys(kind for row in summary["profile"] for kind in row["seconds"]))
    rows = [
        [row["title"], *(f"{row['seconds'].get(kind, 0):.2f}" for kind in kinds), f"{sum(row['seconds'].values()):.2f}"]
        for row in summary["profile"]
    ]
    return (
        "### Where a step's time goes\n\nCPU seconds a step by kind of operation, one core, by torch.profiler (which "
        "itself costs some); litgpt runs as its own command and is not profiled.\n\n"
        + _table(["trainer", *kinds, "sum"], rows)
    )


def _quality(summary: Mapping[str, Any]) -> str:
    rows = summary["quality"]
    if not rows:
        return ""
    table = [
        [
            f"{row['budget']:g}",
            row["title"],
            f"{row['learning_rate']:g}",
            str(row["steps"]),
            f"{row['cpu_seconds']:.0f}",
            f"{row['bits_per_byte']:.3f} ({' to '.join(f'{bits:.3f}' for bits in row['bits_per_byte_range'])})",
            str(row["seeds"]),
        ]
        for row in rows
    ]
    heads = ["budget, CPU s", "trainer", "rate", "steps", "spent, CPU s", "bits per byte (least to most)", "seeds"]
    lines = []
    for budget in dict.fromkeys(row["budget"] for row in rows):
        bits = {row["trainer"]: row["bits_per_byte"] for row in rows if row["budget"] == budget}
        for peer in PEERS:
            if "stemma" in bits and peer in bits:
                change = bits["stemma"] / bits[peer] - 1
                verdict = "met" if change <= -0.05 else "missed"
                lines.append(f"- {budget:g} s: Stemma {change:+.1%} against {NAMES[peer]} (goal -5 %: {verdict})")
    return (
        f"### Bits per byte after equal CPU seconds\n\n{rows[0]['held_out_tokens']:,} held-out tokens, the same for "
        "all. Each peer in the precision that is faster on this processor, AdamW (betas 0.9 and 0.95, decay 0.1); "
        "Stemma with its defaults (Muon on the blocks' matrices, AdamW on the rest). Everybody at the best of the "
        "rates 0.001, 0.003 and 0.01 at the middle budget, seed 0 (0.003 is Stemma's default; Muon's rate is scaled "
        "along), 5 % warm-up (the peers begin it at 0, so where it is a single step they have none), cosine to a tenth "
        "over the budget, clipping at 1.\n\n" + _table(heads, table) + "\n\n" + "\n".join(lines)
    )


def _gpu(summary: Mapping[str, Any]) -> str:
    gpu = summary["gpu"]
    if "reason" in gpu:
        return f"### GPU\n\nNot measured: {gpu['reason']}."
    rows = [
        [row["model"], row["title"], _number(row["tokens_per_second"]), f"{row['mfu']:.1%}", f"{row['peak_gb']:.1f}"]
        for row in gpu["rows"]
    ]
    heads = ["model", "trainer", "tokens/s", "MFU", "host peak GB"]
    return f"### GPU: {gpu['device']}, bf16\n\n{_table(heads, rows)}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(middle: float, bounds: Sequence[float]) -> str:
    return f"{_number(middle)} ({' to '.join(map(_number, bounds))})"


def _number(value: float) -> str:
    return f"{value:,.0f}"
