"""child.py, for `accelerate launch`, with FSDP2 on processors."""

from __future__ import annotations

import sys

from torch.distributed.fsdp import FSDPModule

from components.finetuning import sharding, training
from tests.unit.finetuning import child
from tests.unit.pretrain.sharded_child import part_of, shard_on_processors


def tell_share(model, *arguments, weights=sharding.weights):
    """``weights``, and how much of the model this process keeps."""
    if sharding.is_sharded(model):
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # some stay gathered after a forward pass
        kept, everything = map(sum, zip(*map(part_of, model.parameters()), strict=True))
        print(f"keeps {kept / everything:.3f} of the weights")
    return weights(model, *arguments)


def main() -> int:
    shard_on_processors()
    training.sharding.weights = tell_share
    return child.main()


if __name__ == "__main__":
    sys.exit(main())
