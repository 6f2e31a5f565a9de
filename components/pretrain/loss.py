"""A decoder with its loss: cross-entropy by chunks of tokens, so that the logits of a batch never exist together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import create_masks_for_generate

from components.pretrain.data import IGNORED

# Logits of one chunk: on a CPU what its caches hold, elsewhere enough to keep the device busy.
CHUNK_LOGITS = {"cpu": 1 << 22}
CHUNK_LOGITS_ELSEWHERE = 1 << 27


@dataclass(frozen=True)
class Head:
    """How a decoder turns its last hidden states into logits: ``cap * tanh(scale * linear(h) / cap)``.

    Attributes:
        linear: the output layer.
        scale: what its outputs are multiplied with (Cohere's ``logit_scale``, Granite's ``1 / logits_scaling``).
        cap: bound of Gemma 2's soft capping; ``None`` does not cap.
    """

    linear: nn.Linear
    scale: float = 1.0
    cap: float | None = None


class CausalLoss(nn.Module):
    """A decoder and its training loss as one module, so that whatever wraps or shards modules sees one forward pass.

    Args:
        model: a transformers decoder with a language-model head.
        z_loss: coefficient of the squared logarithm of the softmax's denominator, which keeps logits from drifting
            (Chowdhery et al. 2022, section 5: 1e-4).
        masks: make the masks that end attention at documents here, since the model does not (:func:`masks_documents`).

    Attributes:
        chunked: whether the head is one that the chunked loss computes exactly as the model does; else the model's own
            logits are taken, all at once.
    """

    def __init__(self, model: PreTrainedModel, *, z_loss: float = 0.0, masks: bool = False):
        super().__init__()
        self.model, self.z_loss, self.config, self._masks = model, z_loss, model.config, masks
        # Sharding finds the layers that stay whole by these names.
        self._no_split_modules = list(getattr(model, "_no_split_modules", None) or [])
        self._head = _head(model)
        self.chunked = self._head is not None
        self._balance = _balance(model)

    def forward(
        self, inputs: Tensor, labels: Tensor, positions: Tensor | None = None, weight: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Objective to differentiate, and the sum of the cross-entropies (detached), of a micro-batch.

        Args:
            inputs: token ids [sequences, context].
            labels: the token after each input, [sequences, context]; ignored ones count nowhere.
            positions: [sequences, context], from 0 in each document, where attention ends at documents.
            weight: what the sum over tokens is multiplied with in the objective: 1 / tokens of the whole batch.
        """
        output, logits = self._run(inputs, positions)
        if logits is None:
            sums = _chunked(output, labels, self._head, self.z_loss)
        else:
            sums = _from_logits(logits.flatten(0, 1), labels.flatten(), self.z_loss)
        objective = sums[0] * weight
        if self._balance is not None:
            # A mean over the micro-batch's tokens, as the model's own: weighed by the micro-batch's part of the batch.
            objective = objective + self._balance(output) * ((labels != IGNORED).sum() * weight)
        return objective, sums[1].detach()

    @torch.no_grad()
    def token_losses(self, inputs: Tensor, labels: Tensor, positions: Tensor | None = None) -> Tensor:
        """Cross-entropy of each token, [sequences, context]; zero where the label is ignored."""
        output, logits = self._run(inputs, positions)
        if (head := self._head) is None:
            return _losses(logits.flatten(0, 1).float(), labels.flatten()).view(labels.shape)
        hidden, flat = output.last_hidden_state.flatten(0, 1), labels.flatten()
        losses = [
            _losses(_capped(_logits(hidden[rows].to(_compute_dtype(hidden)), head), head), flat[rows])
            for rows in _chunks(hidden, head)
        ]
        return torch.cat(losses).view(labels.shape)

    def generate(self, *arguments, **options) -> Tensor:
        """The decoder's own ``generate``: of a sharded model only this module's methods see whole weights."""
        return self.model.generate(*arguments, **options)

    def head_parameters(self) -> list[nn.Parameter]:
        """Those of the head that are read here, outside of the head's own forward pass."""
        return list(self._head.linear.parameters()) if self.chunked else []

    def _run(self, inputs: Tensor, positions: Tensor | None):
        options = {"use_cache": False} | ({} if positions is None else _positioned(self.model, positions, self._masks))
        if self._balance is not None:
            options["output_router_logits"] = True
        if self.chunked:
            return self.model.base_model(input_ids=inputs, **options), None
        output = self.model(input_ids=inputs, **options)
        return output, output.logits


def masks_documents(model: PreTrainedModel) -> Literal["model", "here"] | None:
    """What keeps attention within a document where positions begin anew, found by trying; for some models nothing does.

    transformers reads documents off such positions (``masking_utils.find_packed_sequence_indices``), but a few models
    (GPT-OSS) do not hand it the positions; they take masks that are made here in the same way.
    """
    if _keeps_documents_apart(model, masks=False):
        return "model"
    return "here" if _keeps_documents_apart(model, masks=True) else None


def _positioned(model: PreTrainedModel, positions: Tensor, masks: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"position_ids": positions}
    if masks:
        # Of embeddings only the shape of a batch and the type are looked at.
        embeddings = torch.empty((*positions.shape, 0), dtype=model.dtype, device=positions.device)
        options["attention_mask"] = create_masks_for_generate(model.config, embeddings, None, None, positions)
    return options


def _keeps_documents_apart(model: PreTrainedModel, *, masks: bool) -> bool:
    ids = torch.arange(16, device=model.device).remainder(model.config.vocab_size)[None]
    other = ids.clone()
    other[0, :8] = ids[0, :8].flip(0)
    positions = torch.arange(8, device=model.device).repeat(2)[None]
    with _quietly(model):
        try:
            first, second = (
                model.base_model(
                    input_ids=each, use_cache=False, **_positioned(model, positions, masks)
                ).last_hidden_state[0, 8:]
                for each in (ids, other)
            )
        except (TypeError, ValueError, AttributeError, RuntimeError):  # it knows no positions, or no such masks
            return False
    return torch.allclose(first, second, atol=1e-5, rtol=1e-4)


def _head(model: PreTrainedModel) -> Head | None:
    """The head as its configuration describes it, if the logits made so are the model's own; else nothing."""
    linear, config = model.get_output_embeddings(), model.config
    if not isinstance(linear, nn.Linear) or model.base_model is model:
        return None
    scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    head = Head(linear, float(scale), getattr(config, "final_logit_softcapping", None))
    ids = torch.arange(8, device=model.device).remainder(config.vocab_size)[None]
    with _quietly(model):
        theirs = model(input_ids=ids, use_cache=False).logits.float()
        hidden = getattr(model.base_model(input_ids=ids, use_cache=False), "last_hidden_state", None)
        if hidden is None or hidden.shape[-1] != linear.in_features:
            return None
        ours = _capped(_logits(hidden.to(linear.weight.dtype), head), head)
    # Weights that are not finite are the training's to find.
    same = ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4, equal_nan=True)
    return head if same else None


def _balance(model: PreTrainedModel) -> Callable | None:
    """The auxiliary loss that keeps a mixture's experts equally busy, where the configuration sets it."""
    config = model.config
    if not getattr(config, "output_router_logits", False):
        return None
    function = getattr(sys.modules[type(model).__module__], "load_balancing_loss_func", None)
    if function is None:
        return None
    coefficient = getattr(config, "router_aux_loss_coef", 0.001)
    experts, chosen = model.num_experts, model.num_experts_per_tok

    def balance(output) -> Tensor:
        return coefficient * function(output.router_logits, experts, chosen)

    return balance


@contextmanager
def _quietly(model: nn.Module) -> Iterator[None]:
    """No gradients and no dropout; the random state stays as it is."""
    training = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(training)


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _chunks(hidden: Tensor, head: Head) -> list[slice]:
    rows = max(64, CHUNK_LOGITS.get(hidden.device.type, CHUNK_LOGITS_ELSEWHERE) // head.linear.out_features)
    return [slice(start, start + rows) for start in range(0, len(hidden), rows)]


def _logits(hidden: Tensor, head: Head) -> Tensor:
    """Logits in float32 before the capping, [tokens, vocabulary]."""
    bias = None if head.linear.bias is None else head.linear.bias.to(hidden.dtype)
    logits = F.linear(hidden, head.linear.weight.to(hidden.dtype), bias).float()
    return logits if head.scale == 1 else logits * head.scale


def _capped(logits: Tensor, head: Head) -> Tensor:
    return logits if head.cap is None else torch.tanh(logits / head.cap) * head.cap


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")


def _from_logits(logits: Tensor, labels: Tensor, z_loss: float) -> Tensor:
    """Sums over tokens of objective and cross-entropy, [2]."""
    logits = logits.float()
    cross = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    if not z_loss:
        return torch.stack([cross, cross])
    z = (torch.logsumexp(logits, dim=-1).square() * (labels != IGNORED)).sum()
    return torch.stack([cross + z_loss * z, cross])


@torch.compiler.disable
def _chunked(output, labels: Tensor, head: Head, z_loss: float) -> Tensor:
    hidden = output.last_hidden_state.flatten(0, 1)
    return _ChunkedCrossEntropy.apply(
        hidden, head.linear.weight, head.linear.bias, labels.flatten(), head, z_loss, _compute_dtype(hidden)
    )


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sums over tokens of objective and cross-entropy, [2], from hidden states, a chunk of logits at a time.

    The gradients are made on the way forward, while a chunk's logits are at hand: three matrix products, where a
    recomputation would take four. ``torch.nn.functional.linear_cross_entropy`` works alike, but its sum is rounded to
    bfloat16 when its inputs are, and it knows neither z-loss nor capped logits. Only the first of the two sums can be
    differentiated.
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, labels, head, z_loss, dtype):
        device = hidden.device.type
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        sums = torch.zeros(2, dtype=torch.float32, device=hidden.device)
        to_hidden = torch.empty_like(hidden) if need_hidden else None
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
        to_bias = torch.zeros_like(bias, dtype=torch.float32) if need_bias and bias is not None else None
        with torch.autocast(device, enabled=False):
            cast = weight.to(dtype)
            for rows in _chunks(hidden, head):
                states = hidden[rows].to(dtype)
                logits = F.linear(states, cast, None if bias is None else bias.to(dtype)).float()
                gradient, z = _gradient(logits, labels[rows], head, z_loss, sums)
                if z is not None:
                    sums[0] += z_loss * z
                gradient = gradient.to(dtype)
                if need_hidden:
                    to_hidden[rows] = gradient @ cast
                if need_weight:
                    if dtype == torch.float32:
                        to_weight.addmm_(gradient.T, states)
                    else:
                        to_weight += gradient.T @ states
                if to_bias is not None:
                    to_bias += gradient.sum(dim=0, dtype=torch.float32)
        sums[0] += sums[1]
        ctx.save_for_backward(to_hidden, to_weight, to_bias)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        return sums

    @staticmethod
    def backward(ctx, upstream):
        to_hidden, to_weight, to_bias = ctx.saved_tensors
        scale = upstream[0]
        return (
            None if to_hidden is None else to_hidden * scale.to(to_hidden.dtype),
            None if to_weight is None else (to_weight * scale).to(ctx.dtypes[0]),
            None if to_bias is None else (to_bias * scale).to(ctx.dtypes[1]),
            None,
            None,
            None,
            None,
        )


def _gradient(logits: Tensor, labels: Tensor, head: Head, z_loss: float, sums: Tensor) -> tuple[Tensor, Tensor | None]:
    """Turns a chunk's logits into their gradient, in place; adds its cross-entropy to ``sums[1]``.

    With p the softmax and Z its denominator, the gradient of -log p[label] + c (log Z)^2 by the logits is
    p - onehot + 2 c log(Z) p.
    """
    if head.scale != 1:
        logits.mul_(head.scale)
    slope = None
    if head.cap is not None:
        logits.div_(head.cap).tanh_()
        slope = 1 - logits.square()
        logits.mul_(head.cap)
    counted = labels != IGNORED
    index = labels.clamp(min=0)[:, None]
    largest = logits.amax(dim=1, keepdim=True)
    logits.sub_(largest)
    own = logits.gather(1, index)
    logits.exp_()
    total = logits.sum(dim=1, keepdim=True)
    log_total = total.log()
    sums[1] += ((log_total - own)[:, 0] * counted).sum()
    z, share = None, total.reciprocal()
    if z_loss:
        log_z = log_total + largest
        z = (log_z[:, 0].square() * counted).sum()
        share = share * (1 + 2 * z_loss * log_z)
    logits.mul_(share)
    logits.scatter_add_(1, index, torch.full_like(own, -1.0))
    if logits.device.type != "cpu" or not counted.all():  # elsewhere the question would wait for the device
        logits.mul_(counted[:, None])
    if slope is not None:
        logits.mul_(slope)
    if head.scale != 1:
        logits.mul_(head.scale)
    return logits, z
