"""The pretrain stage: tokens and tokenizer in, a decoder out."""

from __future__ import annotations

import json
import math
import os
import shutil

# Before torch is imported: threads that spin while they wait take the processor from those that work
# (measured on a busy machine with two cores: 12k against 0.9k tokens a second).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Huge pages for large tensors: 7 % of a step on one core.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from components.contract import Context, Metric
from components.pretrain import memory, unchanged, zero3
from components.pretrain.architecture import make
from components.pretrain.data import Batches, TokenSplit, TrainingOrder
from components.pretrain.evaluation import bits_per_byte, evaluate, unigram
from components.pretrain.loop import train
from components.pretrain.loss import CausalLoss
from components.pretrain.parallelism import bound_to_processes, gathered
from components.pretrain.parameters import PretrainParameters
from components.pretrain.step import keep_freed_memory
from components.training import ChosenPrecision, choose_precision, forget_precision
from core import adapted
from core.errors import InputProblem


def run(context: Context) -> None:
    """Train, evaluate on the whole validation split, save the model with its tokenizer; or take a model as it is."""
    parameters: PretrainParameters = context.parameters
    if parameters.seed is not None:
        context.seed = parameters.seed
    if parameters.steps == 0:
        _take(context)
        return
    if why := memory.problem(parameters):
        raise InputProblem(why)
    tokenizer, training, held = _inputs(context)
    order = TrainingOrder(training, parameters.seq_length, context.seed)
    accelerator, precision = _accelerator(context)
    batches = Batches(
        parameters.batch_size,
        parameters.seq_length,
        start=parameters.batch_ramp_start,
        ramp_tokens=parameters.batch_ramp_tokens,
        # Of the processes that are asked for too, so that fewer or more of them cut the same batches.
        multiple=math.lcm(parameters.processes, accelerator.num_processes),
    )
    steps = _steps(parameters, order.windows, batches)
    torch.manual_seed(context.seed)
    model = make(context, tokenizer)
    if context.elastic and (reasons := bound_to_processes(model)):
        where = "params.yaml: compute.pretrain.min_nodes"
        raise InputProblem([f"{where}: {reason}, or leave min_nodes out" for reason in reasons])
    parameter_count = sum(parameter.numel() for parameter in model.parameters())
    _check_disk(context, parameter_count)

    module, progress = train(context, accelerator, model, tokenizer, order, held, batches, steps)
    if progress.said_processes() != str(parameters.processes):
        context.environment["processes"] = progress.said_processes()
    result = evaluate(
        accelerator, module, held, parameters.seq_length, tokens=None, documents=parameters.mask_documents
    )
    weights = gathered(accelerator, module.model)
    if accelerator.is_main_process:
        from components.pretrain.report import write_report  # it takes a while, and not every process comes here

        baseline = unigram(training, held)
        _record(context, result, held, baseline, progress.curve[-1]["loss"], parameter_count)
        module.model.save_pretrained(context.outputs["model"], state_dict=weights)
        tokenizer.save_pretrained(context.outputs["model"])
        write_report(
            context,
            progress=progress,
            held=result,
            bits=result.bits_per_byte(held),
            unigram=baseline,
            unigram_bits=bits_per_byte(baseline, held),
            sizes={
                "parameters": parameter_count,
                "trained_tokens": context.tokens,
                "corpus_tokens": training.tokens,
            },
            precision=str(precision),
        )
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _take(context: Context) -> None:
    """The parent as it is; where there is text, with its loss on it."""
    report = unchanged.take(context)
    index = context.inputs["tokens"] / "index.json"
    splits = json.loads(index.read_text(encoding="utf-8"))["splits"] if index.exists() else {}
    if splits.get("validation", {}).get("tokens") and unchanged.generates(report):
        held = TokenSplit(context.inputs["tokens"], "validation")
        accelerator, precision = _accelerator(context)
        model = AutoModelForCausalLM.from_pretrained(
            context.outputs["model"], dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        model = adapted.apply(model, context.outputs["model"])
        module = CausalLoss(model.to(accelerator.device).eval())
        result = evaluate(accelerator, module, held, context.parameters.seq_length, tokens=None)
        baseline = unigram(TokenSplit(context.inputs["tokens"], "train"), held)
        _record_loss(context, result, held, baseline)
        report |= {
            "precision": str(precision),
            "validation_loss": result.loss,
            "validation_loss_stderr": result.stderr,
            "validation_tokens": result.tokens,
            "validation_bits_per_byte": result.bits_per_byte(held),
            "unigram_loss": baseline,
            "unigram_bits_per_byte": bits_per_byte(baseline, held),
        }
    context.report(report)


def _inputs(context: Context) -> tuple[PreTrainedTokenizerBase, TokenSplit, TokenSplit]:
    parameters: PretrainParameters = context.parameters
    folder = context.inputs["tokens"]
    if not (folder / "index.json").exists():
        raise InputProblem(f"{folder} has no index.json: run the tokenize stage first")
    tokenizer = AutoTokenizer.from_pretrained(context.inputs["tokenizer"], trust_remote_code=False)
    problems = []
    vocabulary = json.loads((folder / "index.json").read_text())["vocab_size"]
    if vocabulary != len(tokenizer):
        problems.append(
            f"the tokens were packed with {vocabulary} vocabulary entries and the tokenizer has {len(tokenizer)}: "
            f"run the tokenize stage again"
        )
    splits = []
    for name in ("train", "validation"):
        try:
            splits.append(TokenSplit(folder, name))
        except InputProblem as problem:
            problems.extend(problem.problems)
    if problems:
        raise InputProblem(problems)
    training, held = splits
    longest = max((len(shard) for shard in training.shards), default=0)
    if longest <= parameters.seq_length:
        problems.append(
            f"pretrain.seq_length: the largest training shard has {longest} tokens, and a sequence needs "
            f"{parameters.seq_length} and one more: add text or lower seq_length"
        )
    if training.seq_length not in (None, parameters.seq_length):
        problems.append(
            f"pretrain.seq_length is {parameters.seq_length}, and the training tokens are packed into sequences of "
            f"{training.seq_length}: make tokenize.seq_length the same and run the tokenize stage again"
        )
    if not held.tokens:
        problems.append("the validation split has no tokens: add text to it")
    if problems:
        raise InputProblem(problems)
    return tokenizer, training, held


def _steps(parameters: PretrainParameters, windows: int, batches: Batches) -> int:
    """Optimizer steps of the budget."""
    if parameters.steps is not None:
        return parameters.steps
    if parameters.epochs is not None:
        return batches.steps(parameters.epochs * windows)
    return batches.steps((parameters.tokens or 0) / parameters.seq_length)  # set, where the others are not


def _accelerator(context: Context) -> tuple[Accelerator, ChosenPrecision]:
    precision = choose_precision(context.parameters.precision)
    context.environment["precision"] = precision.name
    on_cpu = not torch.cuda.is_available()
    forget_precision()
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision=precision.mixed,
        kwargs_handlers=[
            DistributedDataParallelKwargs(
                # Without it, gradients move to other buckets after the first step, and with three processes or more
                # the last bits of a sum depend on its bucket: a resumed run would differ.
                find_unused_parameters=int(os.environ.get("WORLD_SIZE", "1")) > 2
            )
        ],
    )
    if zero3.active(accelerator):
        # transformers would divide a model while it makes it; here it is divided once it is whole, as by FSDP2.
        unset_hf_deepspeed_config()
    if on_cpu:
        keep_freed_memory()
        torch.use_deterministic_algorithms(True)
        # Nothing here reads memory before writing it, and filling it takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False
        local = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // local))
    context.device = "cpu" if on_cpu else torch.cuda.get_device_name(accelerator.device)
    wanted, running = context.parameters.processes, accelerator.num_processes
    if running != wanted and not context.elastic:  # a warning says where it changes
        context.warn(
            f"pretrain.devices x nodes is {wanted} and {running} processes run: the result differs by rounding"
        )
    if context.parameters.batch_size % running:
        raise InputProblem(
            f"pretrain: the whole batch of {context.parameters.batch_size} sequences (per_device_batch_size x "
            f"gradient_accumulation_steps x devices x nodes) is not divisible by the {running} processes that run; "
            f"set devices to {running}"
        )
    return accelerator, precision


def _check_disk(context: Context, parameter_count: int) -> None:
    """The checkpoints kept and the one being written, each of weights and at most two moments, and the model."""
    parameters: PretrainParameters = context.parameters
    under_way = ["the one being written"] + ["the one being uploaded"] * (parameters.checkpoints is not None)
    checkpoints = parameters.keep_last + parameters.keep_best + len(under_way)
    for name, folder, needed in (
        (
            f"{checkpoints} checkpoints ({' + '.join(['pretrain.keep_last', 'keep_best', *under_way])})",
            context.scratch,
            checkpoints * 3 * 4 * parameter_count,
        ),
        ("the model", context.outputs["model"], 4 * parameter_count),
    ):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise InputProblem(
                f"no disk space: {name} need {needed / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free"
            )


def _record(context: Context, result, held: TokenSplit, baseline: float, train_loss: float, parameters: int) -> None:
    _record_loss(context, result, held, baseline)
    context.record(Metric("train_loss", train_loss, higher_is_better=False))
    context.record(Metric("parameters", parameters))


def _record_loss(context: Context, result, held: TokenSplit, baseline: float) -> None:
    scale = bits_per_byte(1.0, held)
    context.record(
        Metric(
            "validation_bits_per_byte",
            result.loss * scale,
            higher_is_better=False,
            stderr=result.stderr * scale,
            n=result.tokens,
            eval_set="tokens",
            baselines={"unigram": baseline * scale},
        ),
        headline=True,
    )
    context.record(
        Metric(
            "validation_loss",
            result.loss,
            higher_is_better=False,
            stderr=result.stderr,
            n=result.tokens,
            eval_set="tokens",
            baselines={"unigram": baseline},
        )
    )
