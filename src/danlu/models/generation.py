"""Text generation by language models: prompts or conversations in, continuations out, with a key-value cache.

transformers' own loop generates; `logits_processors` decide which token is taken. Sampling is by the Gumbel-max trick
(Gumbel 1954): noise is added to the scores and the largest taken, which samples from their softmax. The noise of a text
depends on its own seed alone, so a text does not depend on its batch, and torch's global generator is not used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from danlu.core.seeds import Seed
from danlu.data.chats.encode import prompt_ids
from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.chat_rows import ChatRow
from danlu.data.sources.prompts import Prompt
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.data.text.special_tokens import open_for_texts
from danlu.errors import ArgumentError, ArtifactError
from danlu.models.generated_text import GeneratedText, StopReason
from danlu.models.predictor import Predictor
from danlu.models.sampling import Sampling, logits_processors

BATCH_SIZE = 16  # texts generated together


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
    inputs = [encode_prompt(tokenizer, prompt, number) for number, prompt in enumerate(prompts, 1)]
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
    reader = tokenizer.open()
    found: list[Generation] = []
    for start in range(0, len(wanted), BATCH_SIZE):
        some = wanted[start : start + BATCH_SIZE]
        most = sampling.max_new_tokens
        rooms = [most if positions is None else min(most, positions - len(ids)) for _, ids, _ in some]
        texts = [
            GeneratedText(reader, tokenizer, room, stop, blank_before(tokenizer, prompt))
            for (prompt, _, _), room in zip(some, rooms, strict=True)
        ]
        watcher = _StoppingCriteria(texts, stream if len(wanted) == 1 else None)
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


def encode_prompt(tokenizer: TokenizerFile, prompt: Prompt, number: int) -> list[int]:
    """Encode a prompt; a plain text begins as documents do in training.

    Args:
        number: of the prompt, for messages.

    Raises:
        ArgumentError: it is empty, or a conversation for a tokenizer without a template.
        DataError: the chat template cannot write it.
    """
    if isinstance(prompt, str):
        return [*tokenizer.lead, *open_for_texts(tokenizer).encode(prompt, add_special_tokens=False).ids]
    if not prompt:
        raise ArgumentError(f"prompt {number} is a conversation without messages; give at least one", code="DL414")
    if tokenizer.chat_template is None:
        raise ArgumentError(
            "the model's tokenizer has no chat template; give a plain prompt, or train it on chats", code="DL414"
        )
    return prompt_ids(tokenizer, prompt if isinstance(prompt, ChatRow) else ChatRow(prompt))


def blank_before(tokenizer: TokenizerFile, prompt: Prompt) -> str:
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
        max_new_tokens=max(text.max_tokens for text in stopping.texts),
        do_sample=False,
        use_cache=True,
        pad_token_id=tokenizer.pad,
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
    """Check for stop conditions after every token, and stream the text."""

    def __init__(self, texts: Sequence[GeneratedText], stream: Callable[[str], None] | None) -> None:
        self.texts, self.stream = texts, stream

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        for text, token in zip(self.texts, input_ids[:, -1].tolist(), strict=True):
            if text.ended is None:  # finished texts only pad the batch
                self._tell(text.append(token))
        return torch.tensor([text.ended is not None for text in self.texts], device=input_ids.device)

    def _tell(self, piece: str) -> None:
        if piece and self.stream is not None:
            self.stream(piece)

    def result(self, row: int, prompt: Prompt) -> Generation:
        """Return a finished text; stream what was still held back."""
        text = self.texts[row]
        self._tell(text.finish())
        return Generation(prompt, text.text, len(text.tokens), text.ended or "length")
