"""What the endpoints take: OpenAI's fields, with bounds, and three that its clients pass as ``extra_body``.

What OpenAI knows and no engine here does is not declared, so it is refused rather than silently left out; what does not
change an answer (such as ``user``) is taken and ignored.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

Stop = Annotated[str, Field(min_length=1, max_length=200)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        min_length=1,
        max_length=200,
        description="A served model: MODEL, MODEL@ALIAS or MODEL:VERSION; /v1/models lists them.",
        examples=["assistant"],
    )

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, body: Any) -> Any:
        """Python reads more than JSON is: numbers that are none, and halves of characters, which no engine takes."""
        try:
            json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half of a surrogate pair, which is no character") from None
        except ValueError:
            raise ValueError("a number is not finite") from None
        return body


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = Field(False, description="End the stream with the numbers of tokens.")


class TextFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"] = "text"


class _Generation(_Request):
    max_tokens: int | None = Field(
        None, ge=1, le=2**31, description="Tokens of the answer at most; also limited by the gateway and the context."
    )
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = Field(
        None, description="0 always takes the likeliest token. Default: the model's own, else 1."
    )
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Sample from the likeliest tokens of this mass."
    )
    top_k: int | None = Field(None, ge=0, le=2**20, description="Sample from so many likeliest tokens; 0 from all.")
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Leave out tokens less likely than this share of the likeliest."
    )
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)] | None = Field(
        None, description="Above 1 makes tokens that were there less likely."
    )
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, description="The same seed samples the same answer.")
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = Field(
        None, description="Texts at which the answer ends; they are not part of it."
    )
    n: int | None = Field(None, ge=1, le=8, description="Answers to make; `transformers serve` makes one.")
    stream: bool | None = Field(False, description="Answer by server-sent events, piece by piece.")
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, description="Taken and ignored.")
    metadata: dict[str, JsonValue] | None = Field(None, description="Taken and ignored.")

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    @property
    def wanted(self) -> int | None:
        """Tokens that the answer may have, where the request says so."""
        return self.max_tokens


class CompletionRequest(_Generation):
    """Continue a text."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)] = Field(description="One text to continue.")

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class TextPart(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text"]
    text: str


class FunctionCall(BaseModel):
    name: str
    arguments: str = Field(description="A JSON object.")

    @field_validator("arguments")
    @classmethod
    def _is_an_object(cls, text: str) -> str:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ValueError("write a JSON object")
        return text


class ToolCall(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    def for_engine(self) -> dict[str, Any]:
        """Plain text content, and no fields without a value."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())
        role = "system" if self.role == "developer" else self.role
        given = self.model_dump(include={"name", "tool_calls", "tool_call_id"}, exclude_none=True)
        return {"role": role, "content": content, **given}

    def for_template(self) -> dict[str, Any]:
        """As engines show it to the template: the arguments of calls as objects."""
        message = self.for_engine()
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        return message


class Function(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None


class Tool(BaseModel):
    type: Literal["function"] = "function"
    function: Function


class ChatRequest(_Generation):
    """Answer a conversation, through the model's own chat template."""

    messages: list[Message] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31, description="The newer name of max_tokens.")
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    response_format: TextFormat | None = None
    store: bool | None = Field(None, description="Taken and ignored: nothing is stored.")

    @property
    def wanted(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class ClassifyRequest(_Request):
    """Sort texts into the model's classes."""

    input: str | Annotated[list[str], Field(min_length=1)] = Field(description="A text, or several.")

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every refusal and failure."""

    error: ErrorBody
