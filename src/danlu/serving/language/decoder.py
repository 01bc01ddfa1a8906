"""A transformers network that reads prompts and writes token after token for a batch whose rows come and go.

Every family whose keys and values the ragged cache keeps is decoded with it; `open_decoder` tries that out, and where
the scores are not those of the whole text read at once, as of recurrent families, each text is read anew for every
token: slow, and right.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.serving.language.prefix_cache import BLOCK, PrefixCache
from danlu.serving.language.ragged_cache import RaggedCache

CHUNK_TOKENS = 1024  # of prompts that are read between two tokens of the running sequences
TOLERANCE = 1e-3  # relative to the largest score if that exceeds 1: rounding stays far below, a wrong mask far above
TRIED = ((3, 1, 2, 4), (2, 3))  # token ids below which every vocabulary reaches


class Reading(ABC):
    """Read the prompts of some sequences (prefill), a chunk of tokens at a time.

    Attributes:
        scores: of each prompt's next token, [prompts, vocabulary], once all is read.
        known: how many tokens of each prompt were taken from the prefix cache.
    """

    scores: Tensor
    known: list[int]

    @abstractmethod
    def advance(self) -> bool:
        """Read a chunk; return whether all is read."""


class Decoder(ABC):
    """Write the texts of a batch token by token; each row is one text."""

    @abstractmethod
    def read(self, prompts: Sequence[Sequence[int]]) -> Reading:
        """Begin to read prompts of new sequences."""

    @abstractmethod
    def join(self, reading: Reading) -> None:
        """Take sequences whose prompts are read into the batch, behind those that are there."""

    @abstractmethod
    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append a token to each row, and return the scores of the next, [rows, vocabulary]."""

    @abstractmethod
    def drop(self, row: int, tokens: Sequence[int]) -> None:
        """Let a row leave; the last one takes its place.

        Args:
            row: which.
            tokens: that were appended to it, its prompt first.
        """

    @abstractmethod
    def clear(self) -> None:
        """Drop all rows."""


class Network:
    """Ask a network for scores: the logits of the token that follows.

    Args:
        network: a causal language model of transformers, in evaluation mode.
        device: where it is.
    """

    def __init__(self, network: Any, device: torch.device) -> None:
        self.network, self.device = network, device
        bare = network.get_base_model() if hasattr(network, "get_base_model") else network  # of adapters
        known = inspect.signature(bare.forward).parameters
        self._takes_positions = "position_ids" in known
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in known else {}

    @torch.inference_mode()
    def whole(self, tokens: Sequence[int]) -> Tensor:
        """Return the scores of the token that follows a text, read at once, [vocabulary]."""
        given = torch.tensor([list(tokens)], device=self.device)
        logits: Tensor = self.network(input_ids=given, use_cache=False, return_dict=True, **self._last).logits
        return logits[0, -1].float()

    @torch.inference_mode()
    def behind(self, cache: RaggedCache, tokens: Tensor) -> Tensor:
        """Append tokens to a cache's rows, and return the next tokens' scores.

        Args:
            cache: of the rows.
            tokens: [rows, columns].

        Returns:
            [rows, vocabulary].
        """
        more = tokens.shape[1]
        cache.make_room(more)
        positions = {"position_ids": cache.positions(more, self.device)} if self._takes_positions else {}
        logits: Tensor = self.network(
            input_ids=tokens.to(self.device),
            attention_mask=cache.mask(more, self.device),
            past_key_values=cache.cache,
            use_cache=True,
            return_dict=True,
            **positions,
            **self._last,
        ).logits
        cache.advance(more)
        return logits[:, -1].float()


class CachedReading(Reading):
    """Read prompts side by side, their ends in one column.

    What the prefix cache knows of a prompt is read again as far as the longest unknown rest of the others reaches, so
    that no column between known and read tokens stays empty.
    """

    def __init__(self, network: Network, prompts: Sequence[Sequence[int]], prefixes: PrefixCache, pad: int) -> None:
        self._network, self._prefixes, self.prompts = network, prefixes, prompts
        blocks = [prefixes.find(prompt) for prompt in prompts]
        unread = max(len(prompt) - BLOCK * len(found) for prompt, found in zip(prompts, blocks, strict=True))
        taken = [max(0, len(prompt) - unread) for prompt in prompts]
        self.known = taken
        before = max(taken)
        self.cache = RaggedCache(len(prompts), before)
        for row, (found, size) in enumerate(zip(blocks, taken, strict=True)):
            if size:
                pieces = [block.kept for block in found[: -(-size // BLOCK)]]
                cut = size - BLOCK * (len(pieces) - 1)
                pieces[-1] = [(key[:, :cut], value[:, :cut]) for key, value in pieces[-1]]
                self.cache.write(row, pieces)
        self.cache.starts = [before + unread - len(prompt) for prompt in prompts]
        self._tokens = torch.full((len(prompts), unread), pad)
        for row, (prompt, size) in enumerate(zip(prompts, taken, strict=True)):
            self._tokens[row, unread - len(prompt) + size :] = torch.tensor(prompt[size:])
        self._done = 0
        self._columns = max(BLOCK, CHUNK_TOKENS // len(prompts))

    def advance(self) -> bool:
        chunk = self._tokens[:, self._done : self._done + self._columns]
        scores = self._network.behind(self.cache, chunk)
        self._done += chunk.shape[1]
        if self._done < self._tokens.shape[1]:
            return False
        self.scores = scores
        for row, prompt in enumerate(self.prompts):
            self._prefixes.keep(prompt, self.cache, row)
        return True


class CachedDecoder(Decoder):
    """Decode by keys and values of all rows in one ragged cache.

    Args:
        network: that is asked.
        prefixes: what is known of beginnings.
        pad: a token for columns that are masked.
    """

    def __init__(self, network: Network, prefixes: PrefixCache, pad: int) -> None:
        self._network, self._prefixes, self._pad = network, prefixes, pad
        self._cache = RaggedCache()

    def read(self, prompts: Sequence[Sequence[int]]) -> CachedReading:
        return CachedReading(self._network, prompts, self._prefixes, self._pad)

    def join(self, reading: Reading) -> None:
        assert isinstance(reading, CachedReading), "this decoder began it"
        self._cache.join(reading.cache)

    def step(self, tokens: Sequence[int]) -> Tensor:
        return self._network.behind(self._cache, torch.tensor(tokens)[:, None])

    def drop(self, row: int, tokens: Sequence[int]) -> None:
        self._prefixes.keep(tokens[: self._cache.lengths[row]], self._cache, row)
        self._cache.drop(row)

    def clear(self) -> None:
        self._cache = RaggedCache()


class WholeReading(Reading):
    """Read prompts one after the other."""

    def __init__(self, network: Network, prompts: Sequence[Sequence[int]]) -> None:
        self._network, self.prompts = network, prompts
        self.known = [0] * len(prompts)
        self._found: list[Tensor] = []

    def advance(self) -> bool:
        self._found.append(self._network.whole(self.prompts[len(self._found)]))
        if len(self._found) < len(self.prompts):
            return False
        self.scores = torch.stack(self._found)
        return True


class WholeDecoder(Decoder):
    """Decode without keys and values: read each row's whole text for every token."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._rows: list[list[int]] = []

    def read(self, prompts: Sequence[Sequence[int]]) -> WholeReading:
        return WholeReading(self._network, prompts)

    def join(self, reading: Reading) -> None:
        assert isinstance(reading, WholeReading), "this decoder began it"
        self._rows += [list(prompt) for prompt in reading.prompts]

    def step(self, tokens: Sequence[int]) -> Tensor:
        for row, token in zip(self._rows, tokens, strict=True):
            row.append(token)
        return torch.stack([self._network.whole(row) for row in self._rows])

    def drop(self, row: int, tokens: Sequence[int]) -> None:
        last = self._rows.pop()
        if row < len(self._rows):
            self._rows[row] = last

    def clear(self) -> None:
        self._rows = []


def open_decoder(network: Any, device: torch.device, pad: int, prefix_bytes: int) -> Decoder:
    """Return the decoder that is right for a network, by trying it.

    Args:
        network: a causal language model of transformers, in evaluation mode.
        device: where it is.
        pad: a token for columns that are masked.
        prefix_bytes: for beginnings of texts.
    """
    asked = Network(network, device)
    if _keeps_all(asked, pad):
        return CachedDecoder(asked, PrefixCache(prefix_bytes), pad)
    return WholeDecoder(asked)


def _keeps_all(network: Network, pad: int) -> bool:
    """Return whether decoding by the cache gives the scores of whole texts.

    Tried are two prompts of different lengths read together, a third that joins, and a beginning that is known.
    """
    texts = [list(text) for text in TRIED]
    try:
        prefixes = PrefixCache(2**20)
        batch = CachedDecoder(network, prefixes, pad)
        together = batch.read(texts)
        together.advance()
        found = [together.scores]
        batch.join(together)
        long = [1, 2, 3, 4] * BLOCK
        joining = batch.read([long])
        while not joining.advance():
            pass
        batch.join(joining)
        again = batch.read([long[: 2 * BLOCK + 2]])
        again.advance()
        batch.join(again)
        found += [joining.scores, again.scores]
        texts += [long, long[: 2 * BLOCK + 2]]
        expected = [network.whole(text) for text in texts]
        for token in (1, 3):
            found.append(batch.step([token] * len(texts)))
            for text in texts:
                text.append(token)
            expected += [network.whole(text) for text in texts]
        if not again.known[0]:
            return False
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError, AssertionError):
        return False  # the family keeps something else, or in another form
    scores, wanted = torch.cat(found), torch.stack(expected)
    return bool((scores - wanted).abs().max() <= TOLERANCE * wanted.abs().max().clamp(min=1.0))
