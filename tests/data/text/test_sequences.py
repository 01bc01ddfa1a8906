"""Texts as tokens: cut, padded, packed, and which token answers which, by hand."""

import itertools

import numpy as np
import polars as pl
import pytest

from danlu.data.chats.batches import ConversationBlocks, PreferencePairs, cut, pack
from danlu.data.descriptors import Origin, TokenizerFile
from danlu.data.text.preprocessor import CorpusPreprocessor, TextPreprocessor, train_tokenizer
from danlu.data.text.sequences import PaddedTokens, TokenBlocks
from danlu.data.text.tokenize import RaggedTokens, TokenizeConfig, plain_ids, tokenize
from danlu.tasks.token_losses import IGNORED

END = 9


def tokens_of(*texts: list[int]) -> RaggedTokens:
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    return RaggedTokens(np.array([token for text in texts for token in text], dtype=np.int32), offsets)


def test_a_batch_of_texts_is_padded_to_its_longest() -> None:
    lists = PaddedTokens(tokens_of([1, 2, 3], [4], [5, 6]), pad=0)
    found = lists.take(np.array([1, 2]))
    assert found["input_ids"].tolist() == [[4, 0], [5, 6]]
    assert found["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert lists.take(np.array([0, 4]))["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0]]  # 4 is row 1 once more


def test_every_token_of_a_corpus_is_an_answer_once_behind_the_one_before() -> None:
    tokens = tokens_of([1, 2, 3, END], [4, END])
    blocks = TokenBlocks(tokens, np.array([0, 4]), np.array([4, 2]), 4, END, END, packed=True)
    found = blocks.take(np.array([0, 1]))
    assert found["input_ids"].tolist() == [[END, 1, 2, 3], [END, 4, END, END]]
    assert found["target"].tolist() == [[1, 2, 3, END], [4, END, IGNORED, IGNORED]]
    assert found["position_ids"].tolist()[0] == [0, 1, 2, 3]
    assert found["position_ids"].tolist()[1][:2] == [0, 1]


def test_positions_begin_again_with_each_document_and_each_block() -> None:
    tokens = tokens_of([1, 2, END], [3, 4, 5, END])
    blocks = TokenBlocks(tokens, np.array([0, 5]), np.array([5, 2]), 5, END, END, packed=True)
    found = blocks.take(np.array([0, 1]))
    assert found["position_ids"].tolist()[0] == [0, 1, 2, 0, 1]
    assert found["position_ids"].tolist()[1][:2] == [0, 1]
    assert "position_ids" not in TokenBlocks(tokens, np.array([0]), np.array([3]), 5, END, END, packed=False).take(
        np.array([0])
    )


@pytest.fixture(scope="module")
def tokenizer() -> TokenizerFile:
    return train_tokenizer(["ab"] * 20, 300, add_special_tokens=False)


@pytest.fixture(scope="module")
def framing() -> TokenizerFile:
    return train_tokenizer(["ab"] * 20, 300, add_special_tokens=True)


def lengths(tokens: RaggedTokens) -> list[int]:
    return np.diff(tokens.offsets).tolist()


def test_rules_of_tokenising(tokenizer: TokenizerFile, framing: TokenizerFile) -> None:
    texts = pl.Series(["ab" * 5, "", None])
    assert lengths(tokenize(tokenizer, texts, TokenizeConfig(None, special=False, end=None, blank=7))) == [5, 1, 1]
    found = tokenize(tokenizer, texts, TokenizeConfig(None, special=False, end=5, blank=7))
    assert lengths(found) == [6, 1, 1] and found.ids[-1] == 5 and found.ids[5] == 5
    assert tokenize(tokenizer, texts, TokenizeConfig(None, special=False, end=None, blank=7)).ids[-1] == 7
    framed = tokenize(framing, texts, TokenizeConfig(None, special=True, end=None, blank=7))
    assert lengths(framed) == [7, 2, 2]
    assert (framed.ids[0], framed.ids[6]) == (1, 2)  # start and end stand behind padding, which is 0
    cut_off = tokenize(framing, texts, TokenizeConfig(4, special=True, end=None, blank=7))
    assert lengths(cut_off) == [4, 2, 2] and cut_off.ids[3] == 2


def corpus(tokenizer: TokenizerFile, longest: int, packed: bool) -> CorpusPreprocessor:
    return CorpusPreprocessor(column="t", longest=longest, tokenizer=tokenizer, packed=packed)


def test_packed_documents_fill_blocks_and_others_have_blocks_of_their_own(tokenizer: TokenizerFile) -> None:
    frame = pl.DataFrame({"t": ["ab" * 5, "ab" * 2]})  # six and three tokens, ends included
    place = Origin("t", None)  # type: ignore[arg-type]
    packed = corpus(tokenizer, 4, True).transform(frame, place)
    assert len(packed) == 3
    taken = packed.columns[0].take(np.arange(3))
    assert [int((row != IGNORED).sum()) for row in taken["target"]] == [4, 4, 1]
    apart, owners = corpus(tokenizer, 4, False).transform_each(frame)
    assert owners.tolist() == [0, 0, 1]
    taken = apart.columns[0].take(np.arange(3))
    assert [int((row != IGNORED).sum()) for row in taken["target"]] == [4, 2, 3]
    assert taken["input_ids"][1, 0] == taken["target"][0, 3]


def test_texts_are_cut_to_the_longest(framing: TokenizerFile) -> None:
    assert (TextPreprocessor.default_length, CorpusPreprocessor.default_length) == (256, 256)
    preprocessor = TextPreprocessor(column="t", longest=3, tokenizer=framing)
    examples = preprocessor.transform(pl.DataFrame({"t": ["ab" * 5, "ab"]}), Origin("t", None))  # type: ignore[arg-type]
    assert examples.columns[0].take(np.arange(2))["input_ids"].shape == (2, 3)


def test_conversations_are_packed_longest_first_into_the_fullest_block_with_room() -> None:
    members, bounds = pack(np.array([3, 5, 2, 4, 1]), longest=6)
    blocks = [members[start:end].tolist() for start, end in itertools.pairwise(bounds)]
    # 5 opens a block (room 1), 4 another (room 2), 3 a third (room 3), 2 goes to the second, 1 to the first.
    assert blocks == [[1, 4], [3, 2], [0]]
    assert pack(np.array([6, 6]), 6)[1].tolist() == [0, 1, 2]
    assert pack(np.array([3, 3]), 6)[1].tolist() == [0, 2]
    members, bounds = pack(np.array([0]), 6)
    assert bounds.tolist() == [0, 1]


def test_what_is_not_the_assistants_is_no_answer() -> None:
    marked = tokens_of([~1, ~2, 3, 4], [~5, 6])
    assert plain_ids(marked.ids).tolist() == [1, 2, 3, 4, 5, 6]
    chats = ConversationBlocks(marked, np.array([0, 1]), np.array([0, 2]), 5, 0, packed=True)
    found = chats.take(np.array([0]))
    assert found["input_ids"].tolist() == [[1, 2, 3, 5, 0]]
    assert found["target"].tolist() == [[IGNORED, 3, 4, 6, IGNORED]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 0, 0]]
    alone = ConversationBlocks(marked, np.array([0, 1]), np.array([0, 1, 2]), 5, 0, packed=False).take(np.array([0, 1]))
    assert alone["input_ids"].tolist() == [[1, 2, 3], [5, 0, 0]]


def test_a_conversation_is_cut_to_as_many_answers_as_there_are_positions() -> None:
    tokens = tokens_of([1, 2, 3, 4, 5, 6], [7, 8])
    assert cut(tokens, 0, 3).tolist() == [1, 2, 3, 4]  # three positions read 1, 2, 3 and answer 2, 3, 4
    assert cut(tokens, 1, 3).tolist() == [7, 8]


def test_preferences_stand_side_by_side() -> None:
    pairs = PreferencePairs(tokens_of([~1, 2, 3]), tokens_of([~1, 4]), np.ones(1, dtype=bool), 8, 0)
    found = pairs.take(np.array([0]))
    assert found["input_ids"].tolist() == [[[1, 2], [1, 0]]]
    assert found["answers"].tolist() == [[[2, 3], [4, IGNORED]]]


def test_a_token_of_id_0_is_an_answer_like_any_other() -> None:
    chats = ConversationBlocks(tokens_of([~1, 0, 2]), np.array([0]), np.array([0, 1]), 3, 9, packed=True)
    assert chats.take(np.array([0]))["target"].tolist() == [[0, 2, IGNORED]]
    pairs = PreferencePairs(tokens_of([~1, 0]), tokens_of([~1, 2]), np.ones(1, dtype=bool), 8, 9)
    assert pairs.take(np.array([0]))["answers"].tolist() == [[[0], [2]]]
