"""The requests: OpenAI's fields, with bounds, and three more that its clients pass as ``extra_body``.

A field of OpenAI that no engine here supports takes only its neutral values, which many clients send by default
(``logprobs: false``, ``logit_bias: {}``); any other value is refused, not silently ignored. What does not change an
answer (such as ``user``) is taken and ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic_core import core_schema


@dataclass(frozen=True, eq=False)  # Annotated[] would take (0,) for (False,)
class Unsupported:
    """Marks a field that no engine here supports: it takes ``null`` and the values that change nothing."""

    neutral: tuple[Any, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"enum": [None, *self.neutral], "description": "Only these values, which change nothing."}

    def _check(self, value: Any) -> None:
        if value is not None and not any(type(value) is type(each) and value == each for each in self.neutral):
            raise ValueError("this gateway does not support it; leave it out")


MOST_FIELDS = 100  # twice what any request has
SPARE_DEPTH = 100  # levels of nesting that are left for the code that writes the request again, deeper in calls
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
        """Python's parser takes more than JSON: NaN, and halves of surrogate pairs, which no engine takes."""
        if isinstance(body, dict) and len(body) > MOST_FIELDS:
            raise ValueError(f"it has {len(body)} fields")
        deeper = body
        for _ in range(SPARE_DEPTH):
            deeper = [deeper]
        try:
            json.dumps(deeper, ensure_ascii=False, allow_nan=False).encode()
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except TypeError:
            raise ValueError("it is not JSON") from None
        except UnicodeEncodeError:
            raise ValueError("a text contains half of a surrogate pair, which is not a character") from None
        except ValueError:
            raise ValueError("a number is not finite") from None
        return body


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = Field(False, description="End the stream with the numbers of tokens.")


class TextFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"] = "text"


class JsonFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_object"]


class NamedSchema(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    definition: dict[str, JsonValue] = Field(alias="schema", description="A JSON schema.")
    strict: bool | None = None


class SchemaFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]


class _Generation(_Request):
    max_tokens: int | None = Field(
        None, ge=1, le=2**31, description="Most tokens of the answer; also limited by the gateway and the context."
    )
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = Field(
        None, description="0 always takes the likeliest token. Default: the model's own, else 1."
    )
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Sample from the likeliest tokens of this mass."
    )
    top_k: int | None = Field(None, ge=0, le=2**20, description="Sample from this number of likeliest tokens; 0: all.")
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
    service_tier: str | None = Field(None, description="Taken and ignored.")
    safety_identifier: str | None = Field(None, description="Taken and ignored.")
    prompt_cache_key: str | None = Field(None, description="Taken and ignored.")
    logit_bias: Annotated[Any, Unsupported(({},))] = None

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    @property
    def token_limit(self) -> int | None:
        """Most tokens of the answer, where the request gives a number."""
        return self.max_tokens


class CompletionRequest(_Generation):
    """Continue a text."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)] = Field(
        description="One text to continue; a control token that it spells counts as one."
    )
    logprobs: Annotated[Any, Unsupported((False,))] = None  # 0 would ask for those of the chosen tokens
    echo: Annotated[Any, Unsupported((False,))] = None
    best_of: Annotated[Any, Unsupported((1,))] = None
    suffix: Annotated[Any, Unsupported(("",))] = None

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
    content: str | Annotated[list[TextPart], Field(max_length=10_000, fail_fast=True)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=1000)] | None = None
    tool_call_id: str | None = None

    def for_engine(self) -> dict[str, Any]:
        """Plain text content, and no fields without a value."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())
        role = "system" if self.role == "developer" else self.role
        given = self.model_dump(include={"name", "tool_calls", "tool_call_id"}, exclude_none=True)
        return {"role": role, "content": content, **given}

    def for_template(self) -> dict[str, Any]:
        """As engines pass it to the chat template: the arguments of tool calls as objects."""
        message = self.for_engine()
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        return message


class ToolFunction(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None


class Tool(BaseModel):
    type: Literal["function"] = "function"
    function: ToolFunction


class ToolName(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


class NamedTool(BaseModel):
    """The one tool that the answer has to call."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["function"] = "function"
    function: ToolName


class ChatRequest(_Generation):
    """Answer a conversation, through the model's own chat template."""

    messages: list[Message] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31, description="The newer name of max_tokens.")
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = Field(
        None, description="Whether tools may or must be called; `transformers serve` leaves that to the model."
    )
    parallel_tool_calls: bool | None = Field(None, description="Taken and ignored: the model decides.")
    response_format: ResponseFormat | None = Field(
        None, description="An answer in JSON, or by a JSON schema; `transformers serve` writes text only."
    )
    store: bool | None = Field(
        None, description="Keep the answer, for feedback, where the gateway does: `GET /v1/feedback` says how long."
    )
    metadata: dict[str, JsonValue] | None = Field(
        None,
        description='Of an answer that is kept: {"training": "yes"} allows training on it, {"conversation": NAME} '
        "says whose turn it is. All else is taken and ignored.",
    )
    logprobs: Annotated[Any, Unsupported((False,))] = None
    top_logprobs: Annotated[Any, Unsupported((0,))] = None
    functions: Annotated[Any, Unsupported(([],))] = None
    function_call: Annotated[Any, Unsupported(("none", "auto"))] = None
    modalities: Annotated[Any, Unsupported((["text"],))] = None
    audio: Annotated[Any, Unsupported()] = None
    prediction: Annotated[Any, Unsupported()] = None
    reasoning_effort: Annotated[Any, Unsupported()] = None
    verbosity: Annotated[Any, Unsupported(("medium",))] = None
    web_search_options: Annotated[Any, Unsupported()] = None

    @model_validator(mode="after")
    def _choice_has_tools(self) -> ChatRequest:
        names = {tool.function.name for tool in self.tools or ()}
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError(f"tool_choice: {self.tool_choice.function.name!r} is none of the tools")
        if self.tool_choice == "required" and not names:
            raise ValueError("tool_choice: there are no tools to call")
        return self

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class ClassifyRequest(_Request):
    """Sort texts into the model's classes."""

    input: str | Annotated[list[str], Field(min_length=1, fail_fast=True)] = Field(description="A text, or several.")

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input
