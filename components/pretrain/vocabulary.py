"""A loaded model's embedding made to fit another tokenizer: tokens that both know keep their rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
def fit_vocabulary(
    model: PreTrainedModel, before: PreTrainedTokenizerBase | None, after: PreTrainedTokenizerBase
) -> str | None:
    """Give ``model`` one row for each entry of ``after``; what was changed, in words, ``None`` where nothing was.

    Rows go with their token, by its spelling in the vocabulary; one that ``before`` does not know begins as the mean
    of all rows, which predicts it as an average token (Hewitt 2021,
    https://nlp.stanford.edu/~johnhew/vocab-expansion.html). The output layer, where it is a matrix of its own, is
    treated alike.

    Args:
        before: the tokenizer the weights were trained with; without it rows keep their ids.
    """
    embedding = model.get_input_embeddings()
    rows, entries = embedding.num_embeddings, len(after)
    if before is None:
        if rows == entries:
            return None
        model.resize_token_embeddings(entries, mean_resizing=False)
        return (
            f"no tokenizer lies beside the weights; {rows} rows of the embedding were made {entries} and keep their "
            f"ids, so that a different tokenizer makes them meaningless at first"
        )
    known, wanted = before.get_vocab(), after.get_vocab()
    if rows == entries and all(known.get(token) == number for token, number in wanted.items()):
        return None
    shared = {number: known[token] for token, number in wanted.items() if known.get(token, rows) < rows}
    kept = [embedding.weight.clone()]
    head = model.get_output_embeddings()
    apart = head is not None and head.weight is not embedding.weight
    if apart:
        kept.append(head.weight.clone())
        if getattr(head, "bias", None) is not None:
            kept.append(head.bias.clone())
    model.resize_token_embeddings(entries, mean_resizing=False)
    _fill(model.get_input_embeddings().weight, kept[0], shared)
    if apart:
        head = model.get_output_embeddings()
        for tensor, old in zip((head.weight, getattr(head, "bias", None)), kept[1:], strict=False):
            _fill(tensor, old, shared)
    return (
        f"the vocabulary differs: {rows} rows became {entries}; {len(shared)} tokens that both tokenizers know keep "
        f"theirs, {entries - len(shared)} begin as the mean"
    )


def _fill(tensor: Tensor | nn.Parameter, old: Tensor, shared: dict[int, int]) -> None:
    """Rows of ``tensor`` [entries, ...]: ``old`` [rows, ...] by ``shared`` (new id to old id), else the mean."""
    tensor[:] = old.mean(dim=0)
    new = torch.tensor(list(shared), dtype=torch.long, device=tensor.device)
    tensor[new] = old[torch.tensor(list(shared.values()), dtype=torch.long, device=tensor.device)]
