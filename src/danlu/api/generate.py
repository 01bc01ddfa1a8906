"""`danlu generate`: generate text from prompts or conversations with a language model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.core.seeds import Seed
from danlu.data.sources.chat_rows import Message
from danlu.data.sources.prompts import read_prompts
from danlu.models.bundle_form import open_checked
from danlu.models.sampling_options import check_sampling

if TYPE_CHECKING:
    from danlu.models.generation import Generation


@checked
def generate(
    bundle: StrPath,
    prompt: str | Sequence[str] | None = None,
    *,
    chat: str | Sequence[Message] | Mapping[str, Any] | None = None,
    source: str | Path | None = None,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: Sequence[str] = (),
    num_return: int = 1,
    seed: int = 0,
    stream: Callable[[str], None] | None = None,
) -> "list[Generation]":
    """Generate texts with a language model. The same arguments give the same texts.

    Args:
        bundle: a bundle or a run.
        prompt: one or more texts to continue.
        chat: a user message, or the messages of a conversation; the model generates the assistant's answer. An object
            with `messages` may have `tools`, `documents` and `chat_template_kwargs` for the chat template.
        source: a JSONL file (or another table) with a column `messages` or `prompt`; one answer per row.
        max_new_tokens: maximum number of generated tokens.
        temperature: divides the logits; 0 is greedy decoding.
        top_k, top_p, min_p: restrict sampling to the `top_k` most likely tokens, to the nucleus of probability
            `top_p`, to tokens with at least `min_p` times the probability of the most likely one.
        repetition_penalty: above 1, tokens that occurred already become less likely.
        stop: strings that end a text.
        num_return: number of texts per prompt, returned one after the other.
        seed: of sampling; each text has its own stream, so it does not depend on the other prompts.
        stream: called with each piece of the text as it is generated; only for a single text.

    Returns:
        one item per text, in order.

    Raises:
        ArgumentError: there is no prompt, it is too long, or an option is out of range.
        ArtifactError: the bundle is damaged, or its model is not a language model.
        DataError: the source holds no prompts.

    Example:
        >>> import danlu
        >>> small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        >>> recipe = {
        ...     "data": {"task": "language-modelling", "sequence_length": 32, "vocabulary": 300},
        ...     "model": {"name": "hf:llama", "config": small},
        ...     "training": {"max_steps": 5, "batch_size": 4},
        ... }
        >>> lines = [f"{n} and {n + 1} make {2 * n + 1}" for n in range(200)]
        >>> run = danlu.train(recipe, data={"text": lines}, name="sums")
        >>> [text.tokens for text in danlu.generate(run, "3 and 4 make", max_new_tokens=5, seed=1)]
        [5]
    """
    sampling = check_sampling(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        num_return=num_return,
    )
    prompts = read_prompts(prompt, chat, source)
    opened_bundle = open_checked(bundle)
    from danlu.models.generation import generate as generate_texts
    from danlu.models.predictor import Predictor

    predictor = Predictor.load(opened_bundle)
    return generate_texts(predictor, prompts, sampling(), Seed(seed), tuple(stop), num_return, stream)
