"""Text generation by language models: prompts or conversations in, continuations out, with a key-value cache.

transformers' own loop generates; `logits_processors` decide which token is taken. Sampling is by the Gumbel-max trick
(Gumbel 1954): noise is added to the scores and the largest taken, which samples from their softmax. The noise of a text
depends on its own seed alone, so a text does not depend on its batch, and torch's global generator is not used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from danlu.core.component import Frozen
from danlu.core.seeds import Seed
from danlu.data.chats.encode import prompt_ids
from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.chat_rows import ChatRow
from danlu.data.sources.prompts import Prompt
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.data.text.special_tokens import open_for_texts
from danlu.errors import ArgumentError, ArtifactError
from danlu.models.predictor import Predictor

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Sampling(Frozen):
    """Hold the sampling options of `danlu generate`.

    Attributes:
        max_new_tokens: token limit of a generated text.
        temperature: divides the scores; 0 is greedy decoding.
        top_k: sample from the k most likely tokens only.
        top_p: nucleus sampling: the most likely tokens with this total probability (Holtzman et al. 2020,
            https://arxiv.org/abs/1904.09751).
        min_p: tokens with at least this fraction of the most likely token's probability (Nguyen et al. 2024,
            https://arxiv.org/abs/2407.01082).
        repetition_penalty: makes tokens already in the text less likely (Keskar et al. 2019,
            https://arxiv.org/abs/1909.05858).
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0


def logits_processors(sampling: Sampling, seeds: Sequence[Seed], num_padding: Tensor, device: torch.device) -> Any:
    """Build the logits processors of each step; the largest processed score is then taken.

    Args:
        sampling: the options.
        seeds: one per text.
        num_padding: number of left-padding positions per text, [texts].
        device: of the scores.
    """
    from transformers.generation import logits_process as known

    found: list[Any] = []
    if sampling.repetition_penalty != 1.0:
        penalty = known.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)
        found.append(_IgnorePadding(penalty, num_padding.to(device)))
    if sampling.temperature > 0.0:
        if sampling.temperature != 1.0:
            found.append(known.TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k is not None:
            found.append(known.TopKLogitsWarper(sampling.top_k))
        if sampling.top_p is not None:
            found.append(known.TopPLogitsWarper(sampling.top_p))
        if sampling.min_p is not None:
            found.append(known.MinPLogitsWarper(sampling.min_p))
        found.append(_GumbelNoise(seeds))
    return known.LogitsProcessorList(found)


class _IgnorePadding:
    """Wrap a processor so that it sees a text's tokens without left padding."""

    def __init__(self, processor: Any, padded: Tensor) -> None:
        self.processor, self.padded = processor, padded

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        before = torch.arange(input_ids.shape[1], device=input_ids.device) < self.padded[:, None]
        found: Tensor = self.processor(torch.where(before, input_ids[:, -1:], input_ids), scores)
        return found


class _GumbelNoise:
    """Add Gumbel noise from a generator per text; the argmax is a sample."""

    def __init__(self, seeds: Sequence[Seed]) -> None:
        # Drawn on the CPU, so that every device gets the same noise.
        self.generators = [torch.Generator().manual_seed(seed.value) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.stack([torch.empty(scores.shape[1]).exponential_(generator=each) for each in self.generators])
        return scores.float() - noise.log().to(scores.device)


BATCH_SIZE = 16  # texts generated together
INCOMPLETE_CHARACTER = "\ufffd"  # decoded from the first bytes of a character that is not complete yet

StopReason = Literal["end", "stop", "length", "interrupted"]


@dataclass(frozen=True)
class Generation:
    """Hold one generated text.

    Attributes:
        prompt: the prompt or conversation.
        text: the continuation, without the end token or stop string.
        tokens: number of generated tokens.
        ended: stop reason: an end token (end), a stop string (stop), the token limit (length) or, in a chat, Ctrl-C
            (interrupted).
    """

    prompt: Prompt
    text: str
    tokens: int
    ended: StopReason


def generate(
    predictor: Predictor,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    seed: Seed,
    stop: Sequence[str] = (),
    num_return: int = 1,
    stream: Callable[[str], None] | None = None,
) -> list[Generation]:
    """Generate continuations of prompts, in order.

    Args:
        prompts: texts to continue, or conversations to answer as the assistant.
        sampling: how tokens are chosen, and how many at most.
        seed: each text's draws depend only on it, the prompt's number and the text's number.
        stop: strings that end a text.
        num_return: texts per prompt; a prompt's texts follow one another in the result.
        stream: receives pieces of text as they are generated; used only if a single text is generated.

    Raises:
        ArgumentError: a prompt is empty or fills the model's context.
        ArtifactError: the model cannot generate.
    """
    tokenizer, network = tokenizer_and_network(predictor)
    tokenizer = tokenizer.model_copy(update={"date": None})  # a template that asks for the date is told today's
    inputs = [_encode_prompt(tokenizer, prompt, number) for number, prompt in enumerate(prompts, 1)]
    positions = getattr(network.config, "max_position_embeddings", None)
    for number, ids in enumerate(inputs, 1):
        if positions is not None and len(ids) >= positions:
            raise ArgumentError(
                f"prompt {number} has {len(ids):,} tokens, and the model takes {positions:,} including the generated "
                "ones; shorten the prompt",
                code="DL414",
            )
    wanted = [
        (prompt, ids, seed.derive("write", place, copy))
        for place, (prompt, ids) in enumerate(zip(prompts, inputs, strict=True))
        for copy in range(num_return)
    ]
    found: list[Generation] = []
    for start in range(0, len(wanted), BATCH_SIZE):
        some = wanted[start : start + BATCH_SIZE]
        most = sampling.max_new_tokens
        rooms = [most if positions is None else min(most, positions - len(ids)) for _, ids, _ in some]
        blanks = [_blank_before(tokenizer, prompt) for prompt, _, _ in some]
        watcher = _StoppingCriteria(tokenizer, stop, rooms, blanks, stream if len(wanted) == 1 else None)
        _generate_batch(predictor, network, tokenizer, some, sampling, watcher)
        found += [watcher.result(row, prompt) for row, (prompt, _, _) in enumerate(some)]
    return found


def tokenizer_and_network(predictor: Predictor) -> tuple[TokenizerFile, Any]:
    """Return the tokenizer and the transformers network that generates.

    Raises:
        ArtifactError: the model cannot generate.
    """
    network: Any = getattr(predictor.model, "network", None)
    preprocessor = predictor.preprocessor
    generates = predictor.kind.generates_text and hasattr(network, "generate")
    if not generates or not isinstance(preprocessor, TokenizingPreprocessor):
        raise ArtifactError(
            f"{predictor.manifest.name} is a model of {predictor.manifest.kind} data ({predictor.manifest.task}); "
            "only language models from transformers can generate",
            code="DL409",
        )
    return preprocessor.tokenizer, network


def _encode_prompt(tokenizer: TokenizerFile, prompt: Prompt, number: int) -> list[int]:
    """Encode a prompt; a plain text begins as documents do in training."""
    if isinstance(prompt, str):
        return [*tokenizer.lead, *open_for_texts(tokenizer).encode(prompt, add_special_tokens=False).ids]
    if not prompt:
        raise ArgumentError(f"prompt {number} is a conversation without messages; give at least one", code="DL414")
    if tokenizer.chat_template is None:
        raise ArgumentError(
            "the model's tokenizer has no chat template; give a plain prompt, or train it on chats", code="DL414"
        )
    return prompt_ids(tokenizer, prompt if isinstance(prompt, ChatRow) else ChatRow(prompt))


def _blank_before(tokenizer: TokenizerFile, prompt: Prompt) -> str:
    """Return the template's white space with which an answer is generated."""
    if isinstance(prompt, str):
        return ""
    last = (prompt.messages if isinstance(prompt, ChatRow) else prompt)[-1]
    return "" if last["role"] == "assistant" and last["content"].strip() else tokenizer.blank


def _generate_batch(
    predictor: Predictor,
    network: Any,
    tokenizer: TokenizerFile,
    batch: Sequence[tuple[Prompt, list[int], Seed]],
    sampling: Sampling,
    stopping: "_StoppingCriteria",
) -> None:
    """Generate a batch of texts; the watcher collects them token by token."""
    from transformers import GenerationConfig, StoppingCriteriaList

    longest = max(len(ids) for _, ids, _ in batch)
    padded = torch.tensor([longest - len(ids) for _, ids, _ in batch])
    rows = [[tokenizer.pad] * (longest - len(ids)) + ids for _, ids, _ in batch]
    given = torch.tensor(rows, device=predictor.device)
    mask = (torch.arange(longest) >= padded[:, None]).long().to(predictor.device)
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max(stopping.max_tokens), do_sample=False, use_cache=True, pad_token_id=tokenizer.pad
    )
    with torch.inference_mode():
        network.generate(
            given,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=logits_processors(sampling, [seed for _, _, seed in batch], padded, predictor.device),
            stopping_criteria=StoppingCriteriaList([stopping]),
        )


class _StoppingCriteria:
    """Check for stop conditions after every token, and stream the text.

    Attributes:
        max_tokens: token limit of each text.
        blanks: white space of the template with which each text is generated, and which is no part of it.
    """

    def __init__(
        self,
        tokenizer: TokenizerFile,
        stop: Sequence[str],
        max_tokens: list[int],
        blanks: list[str],
        stream: Callable[[str], None] | None,
    ) -> None:
        self.reader: Tokenizer = tokenizer.open()
        self.stop_ids = {tokenizer.end, *tokenizer.stops}
        self.stop, self.max_tokens, self.blanks, self.stream = stop, max_tokens, blanks, stream
        self.streamed_length = 0
        self.texts: list[list[int]] = [[] for _ in max_tokens]
        self.ended: list[StopReason | None] = [None] * len(max_tokens)

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self.ended[row] is None:  # finished texts only pad the batch
                self._append_token(row, token)
        return torch.tensor([ended is not None for ended in self.ended], device=input_ids.device)

    def _append_token(self, row: int, token: int) -> None:
        ids = self.texts[row]
        ids.append(token)
        if token in self.stop_ids:
            self.ended[row] = "end"
        elif len(ids) == self.max_tokens[row]:
            self.ended[row] = "length"
        if not self.stop and self.stream is None:
            return
        text, found = self._cut_at_stop(self._decode(row))
        if found:
            self.ended[row] = "stop"
        if self.stream is None:
            return
        # Hold back text that may be the beginning of a stop string, or of an incomplete character.
        held = max(
            (length for word in self.stop for length in range(len(word)) if text.endswith(word[:length])), default=0
        )
        ready = text[: len(text) - (0 if found else held)].rstrip(INCOMPLETE_CHARACTER)
        if self.blanks[row].startswith(text):  # which is taken away as soon as it is whole
            ready = ""
        if len(ready) > self.streamed_length:
            self.stream(ready[self.streamed_length :])
            self.streamed_length = len(ready)

    def _decode(self, row: int) -> str:
        ids = self.texts[row]
        if ids and ids[-1] in self.stop_ids:
            ids = ids[:-1]
        text: str = self.reader.decode(ids, skip_special_tokens=True)
        return text.removeprefix(self.blanks[row])

    def _cut_at_stop(self, text: str) -> tuple[str, bool]:
        places = [place for place in (text.find(word) for word in self.stop) if place >= 0]
        return (text[: min(places)], True) if places else (text, False)

    def result(self, row: int, prompt: Prompt) -> Generation:
        """Return a finished text; stream what was still held back."""
        text, _ = self._cut_at_stop(self._decode(row))
        if self.stream is not None and len(text) > self.streamed_length:
            self.stream(text[self.streamed_length :])
        return Generation(prompt, text, len(self.texts[row]), self.ended[row] or "length")
