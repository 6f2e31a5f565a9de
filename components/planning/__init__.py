"""Planning: what a training will need and cost, by arithmetic, before anything is spent.

`python -m components plan` is the entrance; `stemma plan` shows what it answers. Each file holds one kind of arithmetic
and names its source: ``scaling`` (how many tokens), ``flops``, ``memory``, ``devices``, ``estimate`` (time, money,
energy, disk). ``decoder`` and ``activations`` read a transformers configuration, ``probe`` calibrates a processor.
"""
