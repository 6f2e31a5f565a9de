"""Imported first by a server of forked stages: hides what the harness's worker hides where there is no use for it."""

from core import python

python.hide("boto3", "deepspeed", "bitsandbytes")
