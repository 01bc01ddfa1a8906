"""`danlu chat`: talk with a language model, turn by turn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.core.seeds import Seed
from danlu.models.bundle_form import open_checked
from danlu.models.sampling_options import check_sampling

if TYPE_CHECKING:
    from danlu.models.chat_session import ChatSession


@checked
def chat(
    bundle: StrPath,
    *,
    system: str | None = None,
    max_new_tokens: int = 512,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: Sequence[str] = (),
    seed: int = 0,
) -> "ChatSession":
    """Begin a conversation with a language model.

    The same words and arguments give the same answers.

    Args:
        bundle: a bundle or a run.
        system: the system's message, which begins the conversation.
        max_new_tokens: maximum number of tokens of an answer.
        temperature: divides the logits; 0 is greedy decoding.
        top_k, top_p, min_p: restrict sampling, as in `danlu.generate`.
        repetition_penalty: above 1, tokens that occurred already become less likely.
        stop: strings that end an answer.
        seed: of sampling; each turn has its own draws.

    Returns:
        the conversation: `answer(text)` gives the next answer, `messages` all that was said, `clear()` begins anew.

    Raises:
        ArgumentError: an option is out of range, or the tokenizer has no chat template.
        ArtifactError: the bundle is damaged, or its model is not a language model.

    Example:
        >>> import danlu
        >>> small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> recipe = {
        ...     "data": {"sequence_length": 64, "vocabulary": 300},
        ...     "model": {"name": "hf:llama", "config": small},
        ...     "training": {"max_steps": 5, "batch_size": 4},
        ... }
        >>> rows = {"prompt": [f"{n} and {n}?" for n in range(40)], "response": [f"{2 * n}." for n in range(40)]}
        >>> talk = danlu.chat(danlu.train(recipe, data=rows, name="doubles"), system="Add.", max_new_tokens=4)
        >>> talk.answer("1 and 1?").ended
        'length'
        >>> [message["role"] for message in talk.messages]
        ['system', 'user', 'assistant']
    """
    sampling = check_sampling(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    opened = open_checked(bundle)
    from danlu.models.chat_session import ChatSession
    from danlu.models.predictor import Predictor

    return ChatSession(Predictor.load(opened), sampling(), Seed(seed), stop, system)
