"""A language model that writes: prompts or conversations in, what follows them out, with keys and values kept.

transformers' own loop generates; which token is taken is decided in `sampling`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from danlu.core.errors import ArgumentError, ArtifactError
from danlu.core.seeds import Seed
from danlu.data.chats.messages import Message
from danlu.data.chats.template import render
from danlu.data.place import TokenizerFile
from danlu.models.predictor import Predictor
from danlu.models.sampling import Sampling, processors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WRITING_KINDS = ("corpus", "chat", "preference")
BATCH = 16  # texts that are written side by side
BROKEN = "\ufffd"  # what the beginning of a character that is not complete yet is decoded to

Prompt = str | list[Message]
Ended = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class Written:
    """A text that a model wrote.

    Attributes:
        prompt: what it was given.
        text: what follows, without the token or words that ended it.
        tokens: how many were generated.
        ended: by the model itself (end), by words that were to stop it, or at the longest allowed (length).
    """

    prompt: Prompt
    text: str
    tokens: int
    ended: Ended


def write(
    predictor: Predictor,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    seed: Seed,
    stop: Sequence[str] = (),
    texts_a_prompt: int = 1,
    stream: Callable[[str], None] | None = None,
) -> list[Written]:
    """Go on with prompts, in order.

    Args:
        prompts: texts that are gone on with, or conversations that the assistant answers.
        seed: each text's draws follow from it, the prompt's number and the text's, and from nothing else.
        stop: words at which a text ends.
        texts_a_prompt: the texts of a prompt stand behind one another.
        stream: is given pieces of the text as they come; of one text alone.

    Raises:
        ArgumentError: a prompt leaves the model no room, or is empty.
        ArtifactError: the model does not write.
    """
    tokenizer, network = _parts(predictor)
    reader = tokenizer.open()
    inputs = [_ids(tokenizer, reader, prompt, number) for number, prompt in enumerate(prompts, 1)]
    positions = getattr(network.config, "max_position_embeddings", None)
    for number, ids in enumerate(inputs, 1):
        if positions is not None and len(ids) >= positions:
            raise ArgumentError(
                f"prompt {number} has {len(ids):,} tokens, and the model takes {positions:,} with what it writes; "
                "shorten it"
            )
    wanted = [
        (prompt, ids, seed.derive("write", place, copy))
        for place, (prompt, ids) in enumerate(zip(prompts, inputs, strict=True))
        for copy in range(texts_a_prompt)
    ]
    found: list[Written] = []
    for start in range(0, len(wanted), BATCH):
        some = wanted[start : start + BATCH]
        most = sampling.max_new_tokens
        rooms = [most if positions is None else min(most, positions - len(ids)) for _, ids, _ in some]
        watcher = _Watcher(tokenizer, stop, rooms, stream if len(wanted) == 1 else None)
        _generate(predictor, network, tokenizer, some, sampling, watcher)
        found += [watcher.written(row, prompt) for row, (prompt, _, _) in enumerate(some)]
    return found


def _parts(predictor: Predictor) -> tuple[TokenizerFile, Any]:
    """The tokenizer, and transformers' network that generates."""
    network: Any = getattr(predictor.model, "network", None)
    if predictor.manifest.kind not in WRITING_KINDS or not hasattr(network, "generate"):
        raise ArtifactError(
            f"{predictor.manifest.name} is a model of {predictor.manifest.kind} data ({predictor.manifest.task}); "
            "only language models of transformers write"
        )
    return predictor.preprocessor.tokenizer, network  # type: ignore[union-attr]


def _ids(tokenizer: TokenizerFile, reader: "Tokenizer", prompt: Prompt, number: int) -> list[int]:
    """What the model reads: of a text its tokens after the token that ends the one before, as in training."""
    if isinstance(prompt, str):
        return [tokenizer.end, *reader.encode(prompt, add_special_tokens=False).ids]
    if not prompt:
        raise ArgumentError(f"prompt {number} is a conversation without messages")
    if tokenizer.chat_template is None:
        raise ArgumentError("the model's tokenizer has no chat template; give a plain prompt, or train it on chats")
    return list(reader.encode(render(tokenizer, prompt, answer_next=True), add_special_tokens=False).ids)


def _generate(
    predictor: Predictor,
    network: Any,
    tokenizer: TokenizerFile,
    some: Sequence[tuple[Prompt, list[int], Seed]],
    sampling: Sampling,
    watcher: "_Watcher",
) -> None:
    """Have the watcher see what is written, token by token, for each text of a batch."""
    from transformers import GenerationConfig, StoppingCriteriaList

    longest = max(len(ids) for _, ids, _ in some)
    padded = torch.tensor([longest - len(ids) for _, ids, _ in some])
    rows = [[tokenizer.pad] * (longest - len(ids)) + ids for _, ids, _ in some]
    given = torch.tensor(rows, device=predictor.device)
    mask = (torch.arange(longest) >= padded[:, None]).long().to(predictor.device)
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max(watcher.rooms), do_sample=False, use_cache=True, pad_token_id=tokenizer.pad
    )
    with torch.inference_mode():
        network.generate(
            given,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=processors(sampling, [seed for _, _, seed in some], padded, predictor.device),
            stopping_criteria=StoppingCriteriaList([watcher]),
        )


class _Watcher:
    """Looks at what is written after every token: ends each text where it is over, and streams it.

    Attributes:
        rooms: most tokens of each text.
    """

    def __init__(
        self,
        tokenizer: TokenizerFile,
        stop: Sequence[str],
        rooms: list[int],
        stream: Callable[[str], None] | None,
    ) -> None:
        self.reader: Tokenizer = tokenizer.open()
        self.ends = {tokenizer.end, *tokenizer.stops}
        self.stop, self.rooms, self.stream = stop, rooms, stream
        self.shown = 0
        self.texts: list[list[int]] = [[] for _ in rooms]
        self.ended: list[Ended | None] = [None] * len(rooms)

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self.ended[row] is None:  # else the batch is only filled up
                self._add(row, token)
        return torch.tensor([ended is not None for ended in self.ended], device=input_ids.device)

    def _add(self, row: int, token: int) -> None:
        ids = self.texts[row]
        ids.append(token)
        if token in self.ends:
            self.ended[row] = "end"
        elif len(ids) == self.rooms[row]:
            self.ended[row] = "length"
        if not self.stop and self.stream is None:
            return
        text, found = self._until_stop(self._decoded(ids))
        if found:
            self.ended[row] = "stop"
        if self.stream is None:
            return
        # What may yet turn out to be the beginning of a stop, or of a character, waits.
        held = max(
            (length for word in self.stop for length in range(len(word)) if text.endswith(word[:length])), default=0
        )
        ready = text[: len(text) - (0 if found else held)].rstrip(BROKEN)
        if len(ready) > self.shown:
            self.stream(ready[self.shown :])
            self.shown = len(ready)

    def _decoded(self, ids: list[int]) -> str:
        if ids and ids[-1] in self.ends:
            ids = ids[:-1]
        text: str = self.reader.decode(ids, skip_special_tokens=True)
        return text

    def _until_stop(self, text: str) -> tuple[str, bool]:
        places = [place for place in (text.find(word) for word in self.stop) if place >= 0]
        return (text[: min(places)], True) if places else (text, False)

    def written(self, row: int, prompt: Prompt) -> Written:
        """What became of a text; what was still held back is streamed."""
        ids = self.texts[row]
        text, _ = self._until_stop(self._decoded(ids))
        if self.stream is not None and len(text) > self.shown:
            self.stream(text[self.shown :])
        return Written(prompt, text, len(ids), self.ended[row] or "length")
