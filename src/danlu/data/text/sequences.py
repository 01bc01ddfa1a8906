"""Token ids as model inputs: texts of any length padded to a batch, and corpora cut into blocks.

Both read from arrays that may lie in a file; only one batch is in memory at a time.
"""

from dataclasses import dataclass

import numpy as np

from danlu.data.loader import TARGET, Tensors
from danlu.data.text.tokenize import RaggedTokens
from danlu.tasks.token_losses import IGNORED


@dataclass(frozen=True)
class PaddedTokens:
    """Pad texts to the longest of a batch; `attention_mask` marks the padding.

    Attributes:
        tokens: of all texts.
        pad: the id of padding.
    """

    tokens: RaggedTokens
    pad: int

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        import torch

        rows = rows % len(self)
        starts, ends = self.tokens.offsets[rows], self.tokens.offsets[rows + 1]
        lengths = ends - starts
        positions = np.arange(max(1, int(lengths.max())))
        present = positions < lengths[:, None]
        places = np.minimum(starts[:, None] + positions, len(self.tokens.ids) - 1)
        ids = np.where(present, self.tokens.ids[places], self.pad).astype(np.int64)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(present.astype(np.int64))}


@dataclass(frozen=True)
class TokenBlocks:
    """Cut a corpus into blocks of one length; each token is a target once.

    Its input is the token before.

    Attributes:
        tokens: of all documents, an end token after each.
        starts: where each block begins among the tokens, [blocks].
        lengths: how many of its positions are text, [blocks]; the rest is padding that the loss ignores.
        longest: positions per block.
        lead: the token that comes before every document.
        pad: the id of padding.
        packed: whether a block may hold several documents; then `position_ids` restart with each, so that a model
            keeps attention within a document.
    """

    tokens: RaggedTokens
    starts: np.ndarray
    lengths: np.ndarray
    longest: int
    lead: int
    pad: int
    packed: bool

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        import torch

        rows = rows % len(self)
        starts = self.starts[rows][:, None]
        places = starts + np.arange(self.longest)
        present = np.arange(self.longest) < self.lengths[rows][:, None]
        last = len(self.tokens.ids) - 1
        answers = np.where(present, self.tokens.ids[np.minimum(places, last)], IGNORED).astype(np.int64)
        before = np.where(self._begins(places), self.lead, self.tokens.ids[np.clip(places - 1, 0, last)])
        inputs = np.where(present, before, self.pad).astype(np.int64)
        taken = {"input_ids": torch.from_numpy(inputs), TARGET: torch.from_numpy(answers)}
        if self.packed:
            document = np.searchsorted(self.tokens.offsets, places, side="right") - 1
            begins = np.maximum(self.tokens.offsets[np.minimum(document, len(self.tokens) - 1)], starts)
            taken["position_ids"] = torch.from_numpy(places - begins)
        return taken

    def _begins(self, places: np.ndarray) -> np.ndarray:
        """Return whether documents begin at these places among the tokens."""
        document = np.searchsorted(self.tokens.offsets, places, side="right") - 1
        found: np.ndarray = self.tokens.offsets[document] == places
        return found
