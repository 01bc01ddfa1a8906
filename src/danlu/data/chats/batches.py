"""Tokenized conversations as batches: several per block, or one per row; and preferences as pairs."""

from dataclasses import dataclass

import numpy as np

from danlu.data.loader import TARGET, Tensors
from danlu.data.text.tokenize import RaggedTokens, plain_ids
from danlu.tasks.token_losses import IGNORED


@dataclass(frozen=True)
class ConversationBlocks:
    """Pack whole conversations into blocks; targets are the assistant's tokens, IGNORED elsewhere.

    Padding is recognised by its position and not by its id, which may be that of the end-of-turn token.

    Attributes:
        tokens: of all conversations, marked as `encode` does; each is cut to `longest` answers.
        members: the conversations of one block after the other.
        bounds: start of each block's members, and the end of the last, [blocks + 1].
        longest: positions per block.
        pad: the id of padding.
        packed: whether blocks have one length and `position_ids` restart with each conversation, so that a model
            keeps attention within it; else a batch is as long as its longest.
    """

    tokens: RaggedTokens
    members: np.ndarray
    bounds: np.ndarray
    longest: int
    pad: int
    packed: bool

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        import torch

        blocks = [self._conversations(row) for row in rows % len(self)]
        length = self.longest if self.packed else max(1, *(sum(len(one) - 1 for one in block) for block in blocks))
        inputs = np.full((len(rows), length), self.pad, dtype=np.int64)
        answers = np.full((len(rows), length), IGNORED, dtype=np.int64)
        positions = np.zeros((len(rows), length), dtype=np.int64)
        for row, block in enumerate(blocks):
            begin = 0
            for marked in block:
                end = begin + len(marked) - 1
                inputs[row, begin:end] = plain_ids(marked[:-1])
                answers[row, begin:end] = np.where(marked[1:] >= 0, marked[1:], IGNORED)
                positions[row, begin:end] = np.arange(end - begin)
                begin = end
        taken = {"input_ids": torch.from_numpy(inputs), TARGET: torch.from_numpy(answers)}
        return {**taken, "position_ids": torch.from_numpy(positions)} if self.packed else taken

    def _conversations(self, row: int) -> list[np.ndarray]:
        """Return the marked tokens of a block's conversations, one more than positions each."""
        members = self.members[self.bounds[row] : self.bounds[row + 1]]
        return [cut(self.tokens, member, self.longest) for member in members]


@dataclass(frozen=True)
class PreferencePairs:
    """Pair a prompt and its chosen answer with the prompt and its rejected answer.

    `input_ids` and `answers: [batch, 2, length] int64`, answers IGNORED where the token is not part of the answer.

    Attributes:
        chosen, rejected: marked tokens; those of the answer are not complements.
        whole: whether both answers begin within the maximum; else nothing is learned of a pair, [pairs].
        longest: maximum positions.
        pad: the id of padding.
    """

    chosen: RaggedTokens
    rejected: RaggedTokens
    whole: np.ndarray
    longest: int
    pad: int

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        import torch

        rows = rows % len(self)
        pairs = [[cut(tokens, row, self.longest) for tokens in (self.chosen, self.rejected)] for row in rows]
        length = max(len(marked) - 1 for pair in pairs for marked in pair)
        inputs = np.full((len(rows), 2, length), self.pad, dtype=np.int64)
        answers = np.full((len(rows), 2, length), IGNORED, dtype=np.int64)
        for row, pair in enumerate(pairs):
            for side, marked in enumerate(pair):
                inputs[row, side, : len(marked) - 1] = plain_ids(marked[:-1])
                learned = (marked[1:] >= 0) & self.whole[rows[row]]
                answers[row, side, : len(marked) - 1] = np.where(learned, marked[1:], IGNORED)
        return {"input_ids": torch.from_numpy(inputs), "answers": torch.from_numpy(answers)}


def cut(tokens: RaggedTokens, row: int, longest: int) -> np.ndarray:
    """Return the tokens of a conversation that `longest` positions read and predict."""
    begin, end = int(tokens.offsets[row]), int(tokens.offsets[row + 1])
    return np.asarray(tokens.ids[begin : min(end, begin + longest + 1)])


def pack(lengths: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Pack pieces into few blocks: longest first, into the fullest block with room.

    Best-fit decreasing.

    Args:
        lengths: of the pieces, each at most `longest`, [pieces].

    Returns:
        the pieces of one block after the other, [pieces], and where each block's begin, [blocks + 1].
    """
    with_room: list[list[int]] = [[] for _ in range(longest + 1)]  # blocks by their remaining room
    blocks: list[list[int]] = []
    for piece in np.argsort(-lengths, kind="stable"):
        length = int(lengths[piece])
        room = next((room for room in range(length, longest + 1) if with_room[room]), None)
        if room is None:
            block, room = len(blocks), longest
            blocks.append([])
        else:
            block = with_room[room].pop()
        blocks[block].append(int(piece))
        with_room[room - length].append(block)
    members = np.array([piece for block in blocks for piece in block], dtype=np.int64)
    return members, np.concatenate([[0], np.cumsum([len(block) for block in blocks])]).astype(np.int64)
