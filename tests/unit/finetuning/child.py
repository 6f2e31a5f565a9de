"""Runs a fine-tuning stage in this process as one of several: STAGE WORKSPACE PARAMETERS-AS-JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import components
from components.harness import launch
from tests.stage import run_component


def main() -> int:
    run_component(components.load(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
    launch.leave_group()
    return 0
