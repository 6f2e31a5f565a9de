"""The loss under a frozen output layer is TRL's, value and gradient, and TRL's own kernel is back afterwards."""

import pytest
import torch
from trl.kernels import ChunkedLogProbFunction
from trl.trainer import utils

from components.finetuning.frozen_head import FrozenHead, frozen_head


@pytest.mark.parametrize(("softcap", "scale", "temperature"), [(None, 1.0, 1.0), (5.0, 0.5, 0.7)])
def test_it_is_trls_kernel_to_rounding(softcap, scale, temperature):
    torch.manual_seed(0)
    weight, bias = torch.randn(90, 16), torch.randn(90)
    labels, weights = torch.randint(0, 90, (600,)), torch.rand(600)  # more than one chunk
    found = []
    for kernel in (ChunkedLogProbFunction, FrozenHead):
        hidden = torch.randn(600, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        outputs = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
        scores = kernel.apply(hidden, weight, bias, labels, temperature, 256, softcap, scale, outputs)
        (scores[0] * weights).sum().backward()
        found.append((*(score.float() for score in scores), hidden.grad))
    for trls, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, trls, rtol=1e-4, atol=1e-4)


def test_trls_kernel_is_in_its_place_outside_the_block():
    usual = utils._ChunkedLogProbFunction
    with frozen_head(wanted=True):
        assert utils._ChunkedLogProbFunction is FrozenHead or torch.cuda.is_available()
    with frozen_head(wanted=False):
        assert utils._ChunkedLogProbFunction is usual
    assert utils._ChunkedLogProbFunction is usual
