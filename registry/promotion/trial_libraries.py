"""What the processes that try models are forked with: ``sanity``, and nothing of what others import beside it.

transformers imports the libraries below for what a trial has no use for: trainings in parts, and losses of detectors.
"""

from core import python

python.hide("boto3", "deepspeed", "scipy")

from registry.promotion import sanity  # noqa: E402, F401
