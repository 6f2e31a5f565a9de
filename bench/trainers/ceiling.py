"""The matmul ceiling: how many tokens a second the model's matrix products alone allow on these cores.

`python -m bench.trainers.ceiling ORDER.json` times every product of a step (forward, and two backward) in float32 and
in bfloat16, each in a buffer that exists already, and adds them up. Attention, which is no plain product here, and
everything element-wise is left out: no trainer can be faster, none has to be this fast.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")
LONG = 1.0  # seconds after which a product is not repeated


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    step = order["batch"] * order["context"]
    # Where bfloat16 is emulated a sixteenth of a step takes long enough.
    emulated = not any(torch.cpu.get_capabilities().get(unit) for unit in BF16_UNITS)
    body = {}
    for name, dtype, rows in (
        ("fp32", torch.float32, step),
        ("bf16", torch.bfloat16, max(1, step // 16) if emulated else step),
    ):
        seconds = sum(
            count * product_seconds(*shape, dtype, repeats=order["steps"])
            for columns_in, columns_out, count in layers(order["shape"])
            for shape in (
                (rows, columns_in, columns_out),
                (rows, columns_out, columns_in),
                (columns_out, rows, columns_in),
            )
        )
        flops = 6 * rows * sum(i * o * count for i, o, count in layers(order["shape"]))
        body[name] = {"tokens_per_second": rows / seconds, "gigaflops": flops / seconds / 1e9}
    (Path(order["folder"]) / "ceiling.json").write_text(json.dumps(body))


def layers(shape: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Width in, width out and number of the model's linear layers, the head among them."""
    hidden, inner, depth = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    return [
        (hidden, hidden, 4 * depth),
        (hidden, inner, 2 * depth),
        (inner, hidden, depth),
        (hidden, shape["vocab_size"], 1),
    ]


def product_seconds(rows: int, inner: int, columns: int, dtype: torch.dtype, *, repeats: int) -> float:
    """Median time of a [rows, inner] by [inner, columns] product; fewer repeats where one takes long."""
    a, weight = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    out, b = torch.empty(rows, columns, dtype=dtype), weight.T.contiguous()
    # torch has several kernels for it, and which one is fast differs: the ceiling is the faster one's.
    kinds = (lambda: torch.mm(a, b, out=out), lambda: torch.nn.functional.linear(a, weight))
    return min(_median_seconds(product, repeats) for product in kinds)


def _median_seconds(product: Callable[[], object], repeats: int) -> float:
    times: list[float] = []
    while len(times) <= repeats and sum(times) < LONG:
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    # The first also warms up; where it was long by itself, that is no matter.
    times = times[1:] or times
    return statistics.median(times)


if __name__ == "__main__":
    main()
