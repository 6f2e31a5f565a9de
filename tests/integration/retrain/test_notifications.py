"""People are told through a real webhook and a real notification block; nobody being there fails nothing."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, os, sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from flows.deployments.notifications import Notice, notify
from core.workspace import Workspace

body = {"event": "{{subject}}", "text": "{{body}}"}
CustomWebhookNotificationBlock(name="team", url=sys.argv[1], json_data=body).save("team", overwrite=True)
text = "base:2 is now base@champion"
notice = Notice("promotion", text, "base", 2, "champion", 1, {"passed": True}, "better", "run-1")
for address in sys.stdin:
    os.environ.pop("TEST_WEBHOOK", None)
    if address.strip():
        os.environ["TEST_WEBHOOK"] = address.strip()
    print(json.dumps(notify(Workspace.find(), notice)), flush=True)
"""


def test_by_webhook_and_by_block(project, told):
    project.set("  webhook_variable: TEST_WEBHOOK", "  webhook_variable: TEST_WEBHOOK\n  block: custom-webhook/team")

    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, told.address],
        cwd=project.root, env=project.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def send(address: str = "") -> list[str]:
        process.stdin.write(f"{address}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    assert send(told.address) == []
    by_webhook, by_block = told.bodies
    assert by_webhook == {
        "event": "promotion", "text": "base:2 is now base@champion", "model": "base", "version": 2,
        "alias": "champion", "previous": 1, "verdict": {"passed": True}, "reason": "better", "run": "run-1",
        "links": {},
    }  # fmt: skip
    assert by_block["event"] == "Stemma: base:2 is now base@champion" and "Reason: better" in by_block["text"]

    told.status = 503
    webhook, block = send()
    assert "the environment variable TEST_WEBHOOK is not set" in webhook
    assert "the block custom-webhook/team failed (HTTPStatusError)" in block

    project.set("custom-webhook/team", "custom-webhook/nobody")
    webhook, block = send("http://127.0.0.1:9/secret-of-the-address")
    assert "cannot be reached (ConnectError)" in webhook and "custom-webhook/nobody" in block
    assert "secret-of-the-address" not in webhook + block
    process.communicate(timeout=60)
