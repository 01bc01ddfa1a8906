"""The augmentations of texts that a recipe may name. They work on token ids and leave special tokens and padding alone.

In: a batch's `input_ids` and `attention_mask`. Out: the same names, as long or shorter. Imports no torch.
"""

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt

from danlu.core.seeds import Seed
from danlu.data.augment.base import BatchAugmentation, TransformContext
from danlu.data.augment.hash_rng import HashRng
from danlu.data.descriptors import TokenizerFile
from danlu.data.loader import Batch, BatchTransform
from danlu.errors import Problem, RecipeError

if TYPE_CHECKING:
    from torch import Tensor

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
MASKS = ("[MASK]", "<mask>", "<|mask|>")  # as BERT, RoBERTa and ModernBERT's successors call it


@dataclass(frozen=True)
class SpecialTokens:
    """Hold the ids of special tokens.

    Attributes:
        special: all of them, padding included.
        pad: fills shorter texts.
        mask: stands for a hidden token; the unknown token where there is no mask token; None where neither is.
    """

    special: tuple[int, ...]
    pad: int
    mask: int | None


def read_special_tokens(tokenizer: TokenizerFile) -> SpecialTokens:
    """Read a tokenizer's special tokens from its file."""
    contents = json.loads(tokenizer.json_text)
    special = {token["content"]: int(token["id"]) for token in contents["added_tokens"] if token["special"]}
    unknown = contents["model"].get("unk_token") or next((name for name in ("<unk>", "[UNK]") if name in special), None)
    mask = next((special[name] for name in (*MASKS, unknown) if name in special), None)
    return SpecialTokens(tuple(sorted({*special.values(), tokenizer.pad, tokenizer.end})), tokenizer.pad, mask)


@dataclass(frozen=True)
class TokenBatch:
    """Hold the texts of a batch.

    Attributes:
        ids: [texts, length] int64.
        mask: 1 where there is text or a special token, 0 where there is padding, [texts, length] int64.
        changeable: which tokens may be changed, [texts, length] bool.
        uniform: random numbers in [0, 1), a function of (seed, epoch, row, position), [texts, length].
        vocabulary: the special tokens.
    """

    ids: "Tensor"
    mask: "Tensor"
    changeable: "Tensor"
    uniform: "Tensor"
    vocabulary: SpecialTokens


class TokenAugmentation(BatchAugmentation):
    """Transform texts."""

    kinds = ("text",)

    @abstractmethod
    def apply(self, tokens: TokenBatch) -> "tuple[Tensor, Tensor]":
        """Return the transformed ids and mask."""

    def build_transform(self, setting: TransformContext) -> BatchTransform:
        assert setting.tokenizer is not None, "texts have a tokenizer"
        return TokenTransform(self, read_special_tokens(setting.tokenizer), setting.seed)


@dataclass(frozen=True)
class TokenTransform:
    """Apply one text augmentation to whole batches."""

    augmentation: TokenAugmentation
    vocabulary: SpecialTokens
    seed: Seed

    def __call__(self, batch: Batch, take: Callable[[np.ndarray], Batch]) -> Batch:
        import torch

        from danlu.data.augment.device import hashed_uniform

        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        free = mask.bool() & ~torch.isin(ids, torch.tensor(self.vocabulary.special, device=ids.device))
        keys = HashRng(batch.rows, self.seed.derive(batch.epoch)).keys("token")
        luck = hashed_uniform(keys, ids.shape[1], ids.device)
        ids, mask = self.augmentation.apply(TokenBatch(ids, mask, free, luck, self.vocabulary))
        longest = max(1, int(mask.sum(dim=1).max()))
        inputs = {**batch.inputs, "input_ids": ids[:, :longest], "attention_mask": mask[:, :longest]}
        return replace(batch, inputs=inputs)


class DeleteTokens(TokenAugmentation):
    """Delete each token with a probability (EDA, Wei and Zou 2019, https://arxiv.org/abs/1901.11196).

    At least one token of a text stays.
    """

    name: Literal["delete-tokens"] = "delete-tokens"
    probability: Rate = 0.1

    def apply(self, tokens: TokenBatch) -> "tuple[Tensor, Tensor]":
        import torch

        luckiest = torch.where(tokens.changeable, tokens.uniform, -1.0).argmax(dim=1, keepdim=True)
        stays = (tokens.uniform >= self.probability) | ~tokens.changeable
        stays = stays.scatter(1, luckiest, True) & tokens.mask.bool()
        order = (~stays).to(torch.int8).argsort(dim=1, stable=True)
        mask = stays.gather(1, order).to(tokens.mask.dtype)
        ids = tokens.ids.gather(1, order)
        return torch.where(mask.bool(), ids, tokens.vocabulary.pad), mask


class SwapTokens(TokenAugmentation):
    """Swap neighbouring tokens; `probability` is that of a pair.

    As EDA's swap, but local (Wei and Zou 2019, https://arxiv.org/abs/1901.11196).
    """

    name: Literal["swap-tokens"] = "swap-tokens"
    probability: Rate = 0.1

    def apply(self, tokens: TokenBatch) -> "tuple[Tensor, Tensor]":
        import torch

        texts, length = tokens.ids.shape
        if length < 3:
            return tokens.ids, tokens.mask
        positions = torch.arange(length, device=tokens.ids.device)
        # Pairs begin at the odd or at the even positions of a text; its first number decides, the others choose pairs.
        odd = (tokens.uniform[:, :1] < 0.5).long()
        begins = (positions - odd) % 2 == 0
        both = tokens.changeable & tokens.changeable.roll(-1, dims=1) & (positions < length - 1)
        left = begins & both & (tokens.uniform.roll(-1, dims=1) < self.probability)
        source = positions.expand(texts, length) + left.long() - left.roll(1, dims=1).long()
        return tokens.ids.gather(1, source), tokens.mask


class MaskSpans(TokenAugmentation):
    """Mask spans of `length` tokens until about `share` of a text is masked.

    After SpanBERT (Joshi et al. 2020, https://arxiv.org/abs/1907.10529). A masked token becomes the tokenizer's mask
    token, or its unknown token where it has no other.
    """

    name: Literal["mask-spans"] = "mask-spans"
    share: Rate = 0.15
    length: PositiveInt = 3

    def build_transform(self, setting: TransformContext) -> BatchTransform:
        assert setting.tokenizer is not None, "texts have a tokenizer"
        if read_special_tokens(setting.tokenizer).mask is None:
            message = "mask-spans needs a mask or an unknown token, and the tokenizer has neither; use delete-tokens"
            raise RecipeError(Problem("", "data.augment", message, code="DL116"))
        return super().build_transform(setting)

    def apply(self, tokens: TokenBatch) -> "tuple[Tensor, Tensor]":
        import torch

        assert tokens.vocabulary.mask is not None
        # A token is hidden when any of `length` positions up to it begins a span.
        begins = tokens.uniform < 1 - (1 - self.share) ** (1 / self.length)
        hidden = begins.clone()
        for step in range(1, min(self.length, tokens.ids.shape[1])):
            hidden[:, step:] |= begins[:, :-step]
        return torch.where(hidden & tokens.changeable, tokens.vocabulary.mask, tokens.ids), tokens.mask
