"""What a client gets by OpenAI's API, as typed values: answers, pieces of streams, errors."""

from typing import Any, Literal

import msgspec

from danlu.serving.refusals import Refusal

FinishReason = Literal["stop", "length", "tool_calls"]
DONE = b"data: [DONE]\n\n"
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 503: "overloaded"}


class PromptDetails(msgspec.Struct):
    """Say how much of the prompts was known."""

    cached_tokens: int


class Usage(msgspec.Struct):
    """Count the tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Function(msgspec.Struct):
    """Name a tool and its arguments, as JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    """Call a tool; `index` stands in streams alone."""

    id: str
    function: Function
    type: str = "function"
    index: int | msgspec.UnsetType = msgspec.UNSET


class LikelyToken(msgspec.Struct):
    """Say how likely a token was; `bytes` is null for part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(msgspec.Struct):
    """Say how likely a written token was, and which others were."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[LikelyToken]


class ChatLogprobs(msgspec.Struct):
    """Hold the scores of a message's tokens."""

    content: list[TokenLogprob]
    refusal: None = None


class CompletionLogprobs(msgspec.Struct):
    """Hold the scores of a text's tokens, in lists side by side."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class Message(msgspec.Struct):
    """Hold what the assistant says; also what a piece of a stream adds to it."""

    role: str | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct):
    """Hold one answer of a chat."""

    index: int
    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatChunkChoice(msgspec.Struct):
    """Hold a piece of one answer of a chat."""

    index: int
    delta: Message
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class TextChoice(msgspec.Struct):
    """Hold one continuation, or a piece of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class Answer(msgspec.Struct):
    """Hold an answer, or a piece of a stream."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[Any]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


class Embedding(msgspec.Struct):
    """Hold one text's vector: numbers, or base64 of float32."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(msgspec.Struct):
    """Count the tokens of texts."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct):
    """Hold the vectors of a request."""

    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
    object: str = "list"


class ModelCard(msgspec.Struct):
    """Name a model that is served."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "danlu"


class ModelList(msgspec.Struct):
    """Name all that are served."""

    data: list[ModelCard]
    object: str = "list"


class _Error(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _ErrorBody(msgspec.Struct):
    error: _Error


def error_body(refusal: Refusal) -> bytes:
    """Return a refusal as OpenAI's clients read it."""
    usual = "server_error" if refusal.status >= 500 else "invalid_request_error"
    code = refusal.code or CODES.get(refusal.status)
    return msgspec.json.encode(
        _ErrorBody(_Error(refusal.message, TYPES.get(refusal.status, usual), refusal.field, code))
    )


def event(value: Any) -> bytes:
    """Return a value as an event of a stream."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def error_event(refusal: Refusal) -> bytes:
    """Return the event that tells why a stream ends before its end."""
    return b"event: error\ndata: " + error_body(refusal) + b"\n\n"
