"""Tests of generated code are left out, with the reason, where there can be no sandbox."""

import pytest

from core import sandbox

needs_sandbox = pytest.mark.skipif(sandbox.why_not() is not None, reason=sandbox.why_not() or "")
