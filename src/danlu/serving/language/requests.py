"""What a client asks by OpenAI's API, as typed values: chat, completions, embeddings.

A parameter that danlu cannot follow is refused by its name, unless its value changes nothing; so is one that nobody
knows. Decodes JSON and checks values; knows no model.
"""

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from danlu.errors import ArgumentError
from danlu.models.sampling_options import check_sampling
from danlu.serving.refusals import Refused

MOST_CHOICES, MOST_STOPS, MOST_TOP_LOGPROBS = 16, 16, 20
MOST_PROMPTS = 256
DEFAULT_COMPLETION_TOKENS = 16  # as OpenAI's completions
# Values of parameters that are not followed which change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "dimensions": (),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "verbosity": (),
    "web_search_options": (),
}
UNKNOWN_FIELD = re.compile(r"unknown field `([^`]+)`")
MISSING_FIELD = re.compile(r"missing required field `([^`]+)`")
PATH = re.compile(r"`\$\.?([^`]*)`")


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Say what a stream tells besides the text."""

    include_usage: bool = False
    include_obfuscation: bool = False  # of no use here: nothing is added either way


class Texts(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Hold what chat and completions are both asked for.

    `user`, `metadata`, `safety_identifier` and `prompt_cache_key` are taken and change nothing.
    """

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class ChatRequest(Texts, forbid_unknown_fields=True, kw_only=True):
    """Ask for the assistant's next message."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    modalities: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    response_format: Any = None
    service_tier: Any = None
    store: Any = None
    verbosity: Any = None
    web_search_options: Any = None


class CompletionRequest(Texts, forbid_unknown_fields=True, kw_only=True):
    """Ask for the continuations of texts."""

    prompt: str | list[Any]  # of texts, of token ids, or of lists of these
    logprobs: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None


class EmbeddingRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Ask for vectors of texts."""

    model: str
    input: str | list[str]
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None


Request = TypeVar("Request", bound=Texts | EmbeddingRequest)


@dataclass(frozen=True)
class Wish:
    """Hold how the texts of a request are to be written, checked.

    Attributes:
        sampling: fields of danlu's sampling options but the token limit.
        max_tokens: of each text; None for as many as the model has room for.
        choices: texts a prompt.
        stop: strings that end a text.
        seed: of the draws; None for any.
        top_logprobs: likely tokens told of each written one; None for no scores.
        streams: whether pieces are sent as they are written.
        tells_usage: whether a stream ends with the count of tokens.
    """

    sampling: dict[str, Any]
    max_tokens: int | None
    choices: int
    stop: tuple[str, ...]
    seed: int | None
    top_logprobs: int | None
    streams: bool
    tells_usage: bool


def decode(body: bytes, form: type[Request]) -> Request:
    """Read a request.

    Raises:
        Refused: it is no JSON of that form, or has a parameter that is unknown or cannot be followed.
    """
    try:
        found = msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}") from None
    for name, neutral in NEUTRAL.items():
        value = getattr(found, name, None)
        if value is not None and value not in neutral:
            raise Refused(f"{name} is not supported here; leave it out", field=name, code="unsupported_parameter")
    return found


def _explained(message: str) -> Refused:
    """Return a refusal that names the parameter which msgspec complains about."""
    path = PATH.search(message)
    within = path[1] if path else ""
    unknown, missing = UNKNOWN_FIELD.search(message), MISSING_FIELD.search(message)
    if unknown is not None:
        name = ".".join(part for part in (within, unknown[1]) if part)
        return Refused(f"{name} is no parameter of this route", field=name, code="unknown_parameter")
    if missing is not None:
        name = ".".join(part for part in (within, missing[1]) if part)
        return Refused(f"{name} is missing", field=name, code="missing_required_parameter")
    return Refused(
        f"{within or 'the body'}: {message.partition(' - at')[0]}", field=within or None, code="invalid_type"
    )


def wish_of_chat(request: ChatRequest) -> Wish:
    """Return how a chat's answer is to be written.

    Raises:
        Refused: a value is out of range, or two contradict each other.
    """
    if None not in (request.max_tokens, request.max_completion_tokens) and (
        request.max_tokens != request.max_completion_tokens
    ):
        raise Refused("max_tokens and max_completion_tokens differ; give one", field="max_tokens")
    top = request.top_logprobs
    if top is not None and not request.logprobs:
        raise Refused("top_logprobs needs logprobs: true", field="top_logprobs")
    if top is not None and not 0 <= top <= MOST_TOP_LOGPROBS:
        raise Refused(f"top_logprobs: must be within 0 and {MOST_TOP_LOGPROBS}, got {top}", field="top_logprobs")
    most = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    return _wish(request, most, (top or 0) if request.logprobs else None)


def wish_of_completion(request: CompletionRequest) -> Wish:
    """Return how texts are to be gone on with; as `wish_of_chat`."""
    if request.logprobs is not None and not 0 <= request.logprobs <= MOST_TOP_LOGPROBS:
        raise Refused(f"logprobs: must be within 0 and {MOST_TOP_LOGPROBS}, got {request.logprobs}", field="logprobs")
    most = DEFAULT_COMPLETION_TOKENS if request.max_tokens is None else request.max_tokens
    return _wish(request, most, request.logprobs)


def _wish(request: Texts, most: int | None, top_logprobs: int | None) -> Wish:
    if most is not None and most < 1:
        raise Refused(f"max_tokens: must be at least 1, got {most}", field="max_tokens")
    choices = 1 if request.n is None else request.n
    if not 1 <= choices <= MOST_CHOICES:
        raise Refused(f"n: must be within 1 and {MOST_CHOICES}, got {choices}", field="n")
    if request.stream_options is not None and not request.stream:
        raise Refused("stream_options needs stream: true", field="stream_options")
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if len(stop) > MOST_STOPS or not all(stop):
        raise Refused(f"stop: give at most {MOST_STOPS} strings, none of them empty", field="stop")
    return Wish(
        sampling=_sampling(request),
        max_tokens=most,
        choices=choices,
        stop=stop,
        seed=request.seed,
        top_logprobs=top_logprobs,
        streams=bool(request.stream),
        tells_usage=request.stream_options is not None and request.stream_options.include_usage,
    )


def _sampling(request: Texts) -> dict[str, Any]:
    given = {
        name: value
        for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
        if (value := getattr(request, name)) is not None
    }
    try:
        check_sampling(**given)
    except ArgumentError as error:
        raise Refused(str(error), field=str(error).partition(":")[0]) from None
    return given


def prompts_of(request: CompletionRequest) -> list[str | list[int]]:
    """Return the prompts of a request: texts, or token ids.

    Raises:
        Refused: there is none, or there are too many.
    """
    given: Any = request.prompt
    if isinstance(given, str) or _are_ids(given):
        given = [given]
    if not 1 <= len(given) <= MOST_PROMPTS or not all(isinstance(each, str) or _are_ids(each) for each in given):
        raise Refused(f"prompt: give 1 to {MOST_PROMPTS} texts, or lists of token ids", field="prompt")
    return list(given)


def _are_ids(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(each) is int for each in given)
