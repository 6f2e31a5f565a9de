"""A small OpenAI-compatible engine: ``python tiny_engine.py FOLDER PORT``. It says a word every 50 ms.

For what is not about engines: keys, limits, timeouts, processes, the chat page. It starts in a fraction of a second.
Asked ``say TEXT`` it answers with the text, and with the number of messages that it was sent for ``{count}``.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse

WORD_SECONDS = 0.05
app = FastAPI()


@app.get("/health")
async def health() -> dict:
    return {}


@app.post("/v1/chat/completions")
async def chat(body: dict):
    if not body.get("stream"):
        return JSONResponse({"choices": []})

    said = body["messages"][-1]["content"]
    if said.startswith("say "):
        text = said.removeprefix("say ").replace("{count}", str(len(body["messages"])))
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
        return StreamingResponse(iter([_event(choice), "data: [DONE]\n\n"]), media_type="text/event-stream")

    async def words():
        for number in range(body["max_tokens"]):
            await asyncio.sleep(WORD_SECONDS)
            yield _event({"index": 0, "delta": {"content": f"word-{number} "}, "finish_reason": None})
        yield _event({"index": 0, "delta": {}, "finish_reason": "length"})
        yield "data: [DONE]\n\n"

    return StreamingResponse(words(), media_type="text/event-stream")


def _event(choice: dict) -> str:
    return f"data: {json.dumps({'model': sys.argv[1], 'choices': [choice]})}\n\n"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
