"""HumanEval and MBPP: the model writes a function, and the benchmark's tests run it in the sandbox.

Prompts, few-shot examples, stop sequences and how the code is cut out of an answer are those of the
lm-evaluation-harness's tasks ``humaneval``, ``humaneval_instruct``, ``mbpp`` and ``mbpp_instruct``. The harness would
run what the model writes in this process; here it only writes, and :mod:`core.sandbox` runs.

Sources: Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374, 2021), whose estimator of
pass@k is used (section 2.1); Austin et al., "Program Synthesis with Large Language Models" (arXiv:2108.07732, 2021).
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from core import sandbox
from core.errors import InputProblem

LIMITS = sandbox.Bounds(seconds=10, memory_megabytes=1024)
_KS = (1, 10, 100)  # of pass@k, as published
_FENCE = "```"
_EXPERT = "You are an expert Python programmer, and here is your task:"


def configuration(task: str, *, chat: bool, samples: int, temperature: float) -> dict[str, Any]:
    """The task for the harness, without its data.

    Args:
        chat: the question is put into the chat template, and the answer begins with the code.
        samples: answers to each problem.
        temperature: of drawing them; 0 takes the most probable token.

    Raises:
        InputProblem: there can be no sandbox here.
    """
    if reason := sandbox.why_not():
        raise InputProblem(reason)
    drawn = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    names = [f"pass@{k}" for k in _KS if k <= samples]
    shared = {
        "task": task,
        "output_type": "generate_until",
        "test_split": "test",
        "repeats": samples,
        "filter_list": [{"name": "none", "filter": [{"function": "custom", "filter_fn": _judged(task, chat)}]}],
        "process_results": lambda problem, verdicts: pass_at(verdicts[0], samples),
        "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in names],
        "metadata": {"version": 1.0},
    }
    of_task = _HUMANEVAL if task == "humaneval" else _MBPP
    body = of_task["chat" if chat else "document"]
    return {**shared, **body, "generation_kwargs": {**body["generation_kwargs"], **drawn}}


def pass_at(verdicts: Sequence[bool], samples: int) -> dict[str, float]:
    """pass@k of one problem for every k of 1, 10 and 100 that ``samples`` allow: ``1 - C(n - c, k) / C(n, k)``."""
    right = sum(verdicts)
    return {
        f"pass@{k}": 1.0 - math.comb(samples - right, k) / math.comb(samples, k) for k in _KS if k <= samples
    }  # fmt: skip


def passes(program: str) -> bool:
    """Whether a program with its tests runs to its last line.

    Its end is shown by a word that it cannot guess: a program that leaves early, with whatever status, does not pass.
    """
    word = secrets.token_hex(16)
    ended = sandbox.run(f"{program}\nprint()\nprint({word!r})\n", limits=LIMITS)
    return ended.code == 0 and ended.output.rstrip().endswith(word)


def humaneval_program(problem: dict[str, Any], answer: str) -> str:
    """The function, completed by ``answer``, and the problem's tests."""
    return f"{problem['prompt']}{answer}\n{problem['test']}\ncheck({problem['entry_point']})"


def mbpp_program(problem: dict[str, Any], answer: str) -> str:
    """The model's code and the problem's three tests."""
    return "\n".join([problem.get("test_setup_code") or "", answer, *problem["test_list"]])


def _judged(task: str, chat: bool) -> Any:
    """The harness's filter: from the answers to every problem to their verdicts, run side by side."""

    def judge(answers: Sequence[Sequence[str]], problems: Sequence[dict[str, Any]]) -> list[list[bool]]:
        program = humaneval_program if task == "humaneval" else mbpp_program
        cut = _CUT[task, chat]
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            running = [
                [workers.submit(passes, program(problem, cut(answer))) for answer in given]
                for given, problem in zip(answers, problems, strict=True)
            ]
            return [[each.result() for each in given] for given in running]

    return judge


def _until_fence(answer: str) -> str:
    """The code of an answer that begins within a fenced block."""
    return answer.partition(_FENCE)[0]


_CUT = {
    ("humaneval", False): lambda answer: answer,
    ("humaneval", True): _until_fence,
    ("mbpp", False): lambda answer: answer,
    ("mbpp", True): _until_fence,
}
_HUMANEVAL: dict[str, dict[str, Any]] = {
    "document": {
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{canonical_solution}}",
        "target_delimiter": "",
        "generation_kwargs": {"until": ["\nclass", "\ndef", "\n#", "\nif", "\nprint"], "max_gen_toks": 512},
    },
    "chat": {
        "doc_to_text": "Write a solution to the following problem and make sure that it passes the tests:\n"
        "```python\n{{ prompt }}\n```\n",
        "gen_prefix": "Here is the completed function:\n```python\n{{ prompt }}\n",
        "doc_to_target": "{{canonical_solution}}",
        "target_delimiter": "",
        "generation_kwargs": {"until": ["\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n```"], "max_gen_toks": 512},
    },
}
_TESTS = "{{test_list[0]}}\n{{test_list[1]}}\n{{test_list[2]}}"
_MBPP: dict[str, dict[str, Any]] = {
    "document": {
        "doc_to_text": f"{_EXPERT} {{{{text}}}} Your code should pass these tests:\n\n{_TESTS}\n[BEGIN]\n",
        "doc_to_target": "{{code}}\n[DONE]",
        "target_delimiter": "",
        "fewshot_config": {"sampler": "first_n"},
        "generation_kwargs": {"until": ["[DONE]"], "max_gen_toks": 256},
    },
    "chat": {
        "doc_to_text": f"{_EXPERT}\n{{{{text}}}}\nYour code should pass these tests:\n{_TESTS}",
        "gen_prefix": "\n```python\n",
        "doc_to_target": "{{code}}\n```",
        "target_delimiter": "",
        "fewshot_config": {"sampler": "first_n"},
        "generation_kwargs": {"until": ["\n```"], "max_gen_toks": 256},
    },
}
FEWSHOT = {"humaneval": 0, "mbpp": 3}
