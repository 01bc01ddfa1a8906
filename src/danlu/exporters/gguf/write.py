"""Write a bundle's language model as `model.gguf`, read the file as danlu reads such files, compare tokens and logits.

In: a predictor of the bundle. Out: a folder with the file, and its document.
"""

import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from danlu.artifacts.bundle import Bundle
from danlu.core.imports import require_extra
from danlu.data.descriptors import TokenizerFile
from danlu.data.specs import InputSpec
from danlu.data.text.preprocessor import CorpusPreprocessor, TokenizingPreprocessor, load_tokenizer
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.exporters.answer_module import Answers
from danlu.exporters.document import describe_export
from danlu.exporters.form_inputs import Arrays
from danlu.exporters.gguf.network import Architecture, add_settings, architecture_of, frequencies, named_tensors
from danlu.exporters.gguf.sentencepiece import LEADING
from danlu.exporters.gguf.tokens import add_tokenizer, begins_texts
from danlu.exporters.gguf.types import WeightType, packed, type_of, unpacked, weight_type
from danlu.exporters.ports import network_ports
from danlu.exporters.proof import Run, proof_rows, prove
from danlu.exporters.tokenizer_files import log_parsing
from danlu.models.answer_folding import Placement, Step
from danlu.models.predictor import Predictor
from danlu.models.text.gguf import unpack_gguf
from danlu.models.text.gguf_rope import DIVISORS
from danlu.models.text.options import Transformer

FILE = "model.gguf"


@dataclass(frozen=True)
class Language:
    """Hold what a file is written from.

    Attributes:
        network: of transformers.
        tokenizer: its own.
        leads: whether plain texts follow the tokenizer's `lead`.
        inputs: of the network.
        name: of the model.
    """

    network: Any
    tokenizer: TokenizerFile
    leads: bool
    inputs: InputSpec
    name: str


def write_gguf(
    predictor: Predictor, bundle: Bundle, folder: Path, outtype: str | None, tolerance: float | None
) -> dict[str, Any]:
    """Write a language model as GGUF, prove it on texts, return its document.

    Args:
        predictor: of the bundle, in torch.
        bundle: holds the texts.
        folder: exists and is empty.
        outtype: the type of the weights, as llama.cpp's converter names it.
        tolerance: the largest mean deviation of logits; None for that of the type.

    Raises:
        ArgumentError: the model, its tokenizer or the type has no such form.
        ArtifactError: the file answers otherwise.
        MissingExtra: packages are not installed.
    """
    kind = weight_type(outtype)
    if not predictor.kind.generates_text:
        raise ArgumentError(
            f"--to gguf is for language models; {predictor.options.name} answers {predictor.manifest.task}",
            code="DL409",
        )
    preprocessor: Any = predictor.preprocessor
    assert isinstance(preprocessor, TokenizingPreprocessor)
    model: Any = predictor.model
    tokenizer = preprocessor.tokenizer
    leads = isinstance(preprocessor, CorpusPreprocessor)  # conversations begin as the template writes them
    log_parsing(tokenizer, "llama.cpp")
    rows = proof_rows(predictor, bundle)
    texts = [str(text) for text in rows[preprocessor.column].drop_nulls()]
    model = Language(model.network, tokenizer, leads, preprocessor.inputs, predictor.manifest.name)
    read, left = write_read(model, folder / FILE, kind, texts)
    allowed = kind.tolerance if tolerance is None else tolerance
    engine = f"transformers {version('transformers')}"
    answers = Answers(predictor.target)
    # The weights are as the type keeps them, so what is left is what the type costs: of its mean, since the largest of
    # millions of logits says little.
    check = prove(predictor, rows, read, answers, None, engine, float("inf"))
    check |= {"tolerance": allowed, "tolerance_of": "mean_deviation"}
    require_close(check, kind)
    template = ("chat-template",) if tokenizer.chat_template is not None else ()
    placement = Placement(("tokenizer", *template), (*left, *answers.placement((), ()).outside))
    document = describe_export(predictor, "gguf", folder, placement, check)
    document["inputs"] = [port.described() for port in network_ports(preprocessor.inputs)]
    document["weights"] = {"type": kind.name, "of_words": kind.of_words}
    return document


def write_read(model: "Language", path: Path, kind: WeightType, texts: list[str]) -> tuple[Run, tuple[Step, ...]]:
    """Write a language model's file, read it back, compare weights and tokenizer.

    Args:
        model: what is written.
        path: of the file.
        kind: the type of the weights.
        texts: that both tokenizers encode.

    Returns:
        what answers tokens by the network as it was read, and what of the tokenizer the file cannot say.

    Raises:
        ArgumentError: llama.cpp has no such network or tokenizer.
        ArtifactError: the file is read otherwise.
    """
    for extra in ("text", "gguf"):
        require_extra(extra, "--to gguf")
    architecture = architecture_of(model.network)
    left = _write_file(model, architecture, path, kind)
    with tempfile.TemporaryDirectory() as kept:
        read = _read_back(path, Path(kept), model)
        if any(step.what == LEADING for step in left):
            texts = [text.lstrip(" ") for text in texts]
        _compare_tokenizers(model, load_tokenizer(Path(kept)), texts)
    _compare_weights(model.network, read.network, architecture, kind)

    def run(inputs: Arrays) -> list[np.ndarray]:
        with torch.inference_mode():
            return [read(input_ids=torch.from_numpy(inputs["input_ids"])).numpy()]

    return run, left


def _write_file(model: "Language", architecture: Architecture, path: Path, kind: WeightType) -> tuple[Step, ...]:
    """Write the file, and return what of the tokenizer it cannot say."""
    import gguf

    network = model.network
    writer = gguf.GGUFWriter(path, architecture.name)
    try:
        writer.add_name(model.name)
        writer.add_file_type(kind.file_type)
        if kind.is_quantized:
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        add_settings(writer, network, architecture)
        rows = network.get_input_embeddings().weight.shape[0]
        left = add_tokenizer(writer, model.tokenizer, rows, model.leads)
        for tensor, values in named_tensors(network, architecture):
            chosen = type_of(tensor, values, kind)
            writer.add_tensor(tensor, packed(values, chosen), raw_dtype=gguf.GGMLQuantizationType[chosen])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return left


def _read_back(file: Path, folder: Path, model: "Language") -> Any:
    """Return the network of a written file, as danlu trains on from it.

    Raises:
        ArtifactError: it cannot be read.
    """
    try:
        unpack_gguf(file, folder)
        options = Transformer(name=f"hf:{folder.resolve()}")
        read: Any = options.build(model.inputs, model.tokenizer.vocabulary)
    except (DataError, RuntimeError) as error:
        raise ArtifactError(f"{FILE}: cannot be read back: {error}; nothing was written", code="DL315") from error
    return read.float().eval()


def require_close(check: dict[str, Any], kind: WeightType) -> None:
    """Raise ArtifactError where logits moved by more than is allowed, in the mean.

    Args:
        check: figures of the comparison, with `tolerance`.
        kind: the type of the weights.
    """
    mean = check["mean_deviation"]
    if mean is None or mean > check["tolerance"]:
        raise ArtifactError(
            f"{FILE}: {kind.name} moves logits by {'no number' if mean is None else f'{mean:.2g}'} in the mean on "
            f"{check['rows']} rows (allowed {check['tolerance']:g}); nothing was written; --outtype f16 keeps more, "
            "--tolerance sets what is allowed",
            code="DL315",
        )


def _compare_weights(network: Any, read: Any, architecture: Architecture, kind: WeightType) -> None:
    """Raise ArtifactError unless tensors come back as their types keep them, and positions turn alike."""
    turned, back = frequencies(network), frequencies(read)
    if turned.shape != back.shape or not np.allclose(turned, back, rtol=1e-4):
        raise ArtifactError(f"{FILE}: its positions come back scaled otherwise; nothing was written", code="DL315")
    again = dict(named_tensors(read, architecture))
    for name, values in named_tensors(network, architecture):
        if name == DIVISORS:
            continue  # its positions were compared
        chosen = type_of(name, values, kind)
        if name not in again or not np.array_equal(again[name], unpacked(packed(values, chosen), chosen)):
            raise ArtifactError(f"{FILE}: {name} comes back otherwise; nothing was written", code="DL315")


def _compare_tokenizers(model: "Language", read: TokenizerFile, texts: list[str]) -> None:
    """Raise ArtifactError unless both encode texts alike, and begin and end them so."""
    own = model.tokenizer
    ours, theirs = (
        [found.ids for found in one.open().encode_batch(texts, add_special_tokens=False)] for one in (own, read)
    )
    differing = sum(one != other for one, other in zip(ours, theirs, strict=True))
    if differing:
        raise ArtifactError(
            f"{FILE}: its tokenizer encodes {differing} of {len(texts)} texts otherwise; nothing was written",
            code="DL315",
        )
    for what, before, after in (
        ("begins texts", begins_texts(own, model.leads), read.begins),
        ("ends texts", own.end, read.end),
        ("has a chat template", own.chat_template is not None, read.chat_template is not None),
    ):
        if before != after:
            raise ArtifactError(
                f"{FILE}: its tokenizer {what} otherwise ({after}, not {before}); nothing was written", code="DL315"
            )
