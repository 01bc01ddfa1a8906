"""Models of one's own, without a bundle: an ONNX file becomes OpenVINO's, a folder of safetensors becomes a graph.

Weights alone say nothing of the network that they belong to; a folder's config.json has to name one that transformers
or timm builds. There are no real rows, so engines are compared on drawn inputs.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.files import read_json, write_bytes
from danlu.core.imports import patch_torchvision, require_extra
from danlu.data.specs import CorpusInputs
from danlu.data.text.preprocessor import load_tokenizer
from danlu.errors import ArgumentError, ArtifactError
from danlu.exporters.document import FORMAT, described_files, write_documents
from danlu.exporters.forms import FORMS, OPENVINO_NAME, PROGRAM, TOLERANCE
from danlu.exporters.gguf.types import weight_type
from danlu.exporters.gguf.write import FILE, Language, require_close, write_read
from danlu.exporters.onnx.network import module_graph, require_opset
from danlu.exporters.openvino import convert_to_openvino, save_openvino
from danlu.exporters.ports import BATCH, LENGTH, Port
from danlu.exporters.proof import Deviations, Run, conclude
from danlu.exporters.tracing import quiet, save_program, trace
from danlu.inspection.drawn_inputs import draw_inputs
from danlu.models.engines.onnxruntime_engine import ONNX_FILE, open_session, run_session
from danlu.models.engines.openvino_engine import compile_model, run_request

SIZES = ({BATCH: 3, LENGTH: 7}, {BATCH: 1, LENGTH: 12})  # of drawn inputs
OTHER_SIZES = (3, 1)  # of free dimensions with other names
# Texts with what tokenizers cut differently: digits, signs, blanks, endings, several scripts.
TRIED = ("Hello world", " It's 2026: 12,345.67!", "\n\n  two\tblanks  ", "naïve café 你好 Привет", "don't WE'LL x1y2")
CAUSAL = ("ForCausalLM", "LMHeadModel")
HEADS = (*CAUSAL, "ForSequenceClassification", "ForTokenClassification")


def is_own_file(path: Path) -> bool:
    """Return whether a path is a model without a bundle."""
    if path.suffix in (".onnx", ".safetensors") and not path.is_dir():
        return True
    is_bundle = (path / MANIFEST).is_file() or (path / "model" / MANIFEST).is_file()
    return path.is_dir() and not is_bundle and any(path.glob("*.safetensors"))


def write_own_file(
    path: Path, folder: Path, to: str | None, opset: int | None, outtype: str | None, tolerance: float | None
) -> dict[str, Any]:
    """Write a model of one's own in another form, and return the document.

    Args:
        path: as `is_own_file` takes it.
        folder: exists and is empty.
        to: the form.
        opset: version of ONNX's operators.
        outtype: of GGUF, the type of the weights.
        tolerance: the largest deviation that is allowed; None for the usual one.

    Raises:
        ArgumentError: it has no such form, or nothing says what network it is.
        ArtifactError: the file is damaged, or the form answers otherwise.
        MissingExtra: packages are not installed.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: does not exist; is {path.parent} the right folder?", code="DL301")
    if path.suffix == ".onnx" and path.is_file() and to != "openvino":
        why = {
            None: "an ONNX file: say the form with",
            "onnx": "an ONNX file is one already; it can become",
            "torch-export": "an ONNX file holds operators of ONNX, which torch does not read; it can become",
        }
        raise ArgumentError(f"{path}: {why.get(to, 'an ONNX file can only become')} --to openvino", code="DL409")
    if to == "gguf" and path.is_dir():
        document = _convert_language(path, folder, outtype, tolerance)
        write_documents(document, folder)
        return document
    if to is None or to not in FORMS:
        said = "say the form with" if to is None else f"a model without a bundle does not become {to}; choose"
        raise ArgumentError(f"{path}: {said} --to {', '.join(FORMS)}, or gguf for language models", code="DL401")
    allowed = TOLERANCE if tolerance is None else tolerance
    extra = FORMS[to].extra
    if extra is not None:
        require_extra(extra, f"--to {to}")
    if path.is_file() and path.suffix == ".onnx":
        if opset is not None:
            raise ArgumentError(f"{path}: has its own version of ONNX's operators; leave out --opset", code="DL401")
        document = _convert_onnx(path, folder, to, allowed)
    elif path.is_file():
        raise ArgumentError(
            f"{path}: weights alone do not say which network they belong to; give the folder with its config.json, as "
            "transformers and timm write it",
            code="DL409",
        )
    else:
        document = _convert_folder(path, folder, to, require_opset(opset), allowed)
    write_documents(document, folder)
    return document


def _convert_onnx(path: Path, folder: Path, to: str, tolerance: float) -> dict[str, Any]:
    session = open_session(path)
    ports = tuple(_port(value, path) for value in session.get_inputs())
    convert_to_openvino(path, folder / OPENVINO_NAME)
    request = compile_model(folder / OPENVINO_NAME).create_infer_request()
    check = _compare(ports, lambda given: run_session(session, given), lambda given: run_request(request, given),
                     f"openvino {version('openvino')}", tolerance)  # fmt: skip
    outputs = [Port(value.name, _dtype(value.type), _shape(value.shape)) for value in session.get_outputs()]
    return _document(path, folder, to, ports, tuple(outputs), check)


def _port(value: Any, path: Path) -> Port:
    dtype = _dtype(value.type)
    if dtype == "string":
        raise ArgumentError(f"{path}: the input {value.name!r} holds words, which OpenVINO does not take", code="DL409")
    return Port(value.name, dtype, _shape(value.shape))


def _dtype(named: str) -> str:
    """Return numpy's name of ONNX Runtime's `tensor(float)`."""
    name = named.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _shape(shape: list[Any]) -> tuple[int | str, ...]:
    return tuple(size if isinstance(size, int) else str(size or f"size {at}") for at, size in enumerate(shape))


def _convert_folder(path: Path, folder: Path, to: str, opset: int, tolerance: float) -> dict[str, Any]:
    network, ports, longest = _build(path)
    run_torch = _torch_run(network, ports)
    samples = tuple(torch.from_numpy(values) for values in _draw(ports, 0, SIZES[0]).values())
    output = Port("logits", "float32", (BATCH, *([LENGTH] if _is_long(network) else []), "outputs"))
    if to == "torch-export":
        program = trace(network, ports, samples, longest)
        save_program(program, folder / PROGRAM)
        with quiet():
            run = _program_run(torch.export.load(folder / PROGRAM).module(), ports)
    else:
        graph = module_graph(network, ports, samples, opset, output.name, longest).SerializeToString()
        if to == "onnx":
            write_bytes(folder / ONNX_FILE, graph)
            session = open_session(folder / ONNX_FILE)
            run = lambda given: run_session(session, given)  # noqa: E731
        else:
            save_openvino(graph, folder / OPENVINO_NAME)
            request = compile_model(folder / OPENVINO_NAME).create_infer_request()
            run = lambda given: run_request(request, given)  # noqa: E731
    engine = FORMS[to].engine
    check = _compare(ports, run_torch, run, f"{engine} {version(engine)}", tolerance)
    return _document(path, folder, to, ports, (output,), check)


class _Logits(nn.Module):
    """Give the logits of a transformers model."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, **inputs: Tensor) -> Tensor:
        found: Tensor = (
            self.network(**inputs, use_cache=False, return_dict=True).logits
            if _is_causal(self.network)
            else self.network(**inputs, return_dict=True).logits
        )
        return found


def _is_causal(network: Any) -> bool:
    return type(network).__name__.endswith(CAUSAL)


def _convert_language(path: Path, folder: Path, outtype: str | None, tolerance: float | None) -> dict[str, Any]:
    """Write a folder's language model with its tokenizer as GGUF."""
    kind = weight_type(outtype)
    network, ports, longest = _build(path)
    if not _is_causal(getattr(network, "network", None)):
        raise ArgumentError(f"{path}: --to gguf is for language models", code="DL409")
    tokens = load_tokenizer(path)
    inputs = CorpusInputs(vocabulary=tokens.vocabulary, longest=longest, end=tokens.end, packed=False)
    model = Language(network.network, tokens, bool(tokens.begins), inputs, path.name)
    run, left = write_read(model, folder / FILE, kind, list(TRIED))
    engine = f"transformers {version('transformers')}"
    check = _compare(ports, _torch_run(network, ports), run, engine, float("inf"))
    check |= {"tolerance": kind.tolerance if tolerance is None else tolerance, "tolerance_of": "mean_deviation"}
    require_close(check, kind)
    template = ["chat-template"] if tokens.chat_template is not None else []
    output = Port("logits", "float32", (BATCH, LENGTH, "outputs"))
    document = _document(path, folder, "gguf", ports, (output,), check)
    outside = [{"what": step.what, "value": step.value} for step in left]
    return {**document, "inside": ["tokenizer", *template], "outside": outside}


def _is_long(network: Any) -> bool:
    name = type(getattr(network, "network", network)).__name__
    return name.endswith((*CAUSAL, "ForTokenClassification"))


def _build(path: Path) -> tuple[nn.Module, tuple[Port, ...], int]:
    """Build the network of a folder by the library that its config.json is of.

    Raises:
        ArgumentError: nothing says which network it is.
    """
    if not (path / "config.json").is_file():
        raise ArgumentError(
            f"{path}: has weights and no config.json, so nothing says which network they belong to", code="DL409"
        )
    config: Any = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise ArtifactError(f"{path / 'config.json'}: describes no network; it holds no names", code="DL303")
    patch_torchvision()
    architectures = [str(name) for name in config.get("architectures") or []]
    head = next((head for head in HEADS for name in architectures if name.endswith(head)), None)
    if head is not None:
        return _build_transformer(path, head)
    if isinstance(config.get("architecture"), str) and "pretrained_cfg" in config:
        return _build_timm(path, config)
    named = ", ".join(architectures) or "none"
    raise ArgumentError(
        f"{path / 'config.json'}: names no network with logits (architectures: {named}); those of transformers that "
        f"end in {', '.join(HEADS)}, and timm's, can be written",
        code="DL409",
    )


def _build_transformer(path: Path, head: str) -> tuple[nn.Module, tuple[Port, ...], int]:
    require_extra("text", f"{path} (transformers)", only=("transformers",))
    import transformers

    kind = CAUSAL[0] if head in CAUSAL else head
    family: Any = getattr(transformers, f"AutoModel{kind}")
    try:
        network = family.from_pretrained(path, local_files_only=True, trust_remote_code=False, dtype=torch.float32)
    except Exception as error:  # a damaged file or a strange config ends in any class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{path}: transformers cannot open it: {reason}", code="DL303") from error
    names = ("input_ids",) if head in CAUSAL else ("input_ids", "attention_mask")
    longest = int(getattr(network.config, "max_position_embeddings", None) or 512)
    ports = tuple(Port(name, "int64", (BATCH, LENGTH)) for name in names)
    return _Logits(network).eval(), ports, longest


class _Pixels(nn.Module):
    """Give a timm model its pixels by name."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.network(image)
        return found


def _build_timm(path: Path, config: dict[str, Any]) -> tuple[nn.Module, tuple[Port, ...], int]:
    require_extra("image", f"{path} (timm)", only=("timm",))
    import timm

    try:
        network = timm.create_model(f"local-dir:{path.resolve()}", pretrained=True)
    except Exception as error:  # a damaged file or a strange config ends in any class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{path}: timm cannot open it: {reason}", code="DL303") from error
    size = tuple(int(each) for each in config["pretrained_cfg"].get("input_size", (3, 224, 224)))
    return _Pixels(network).eval(), (Port("image", "float32", (BATCH, *size)),), 1


def _torch_run(network: nn.Module, ports: tuple[Port, ...]) -> Run:
    def run(given: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            return [network(**{port.name: torch.from_numpy(given[port.name]) for port in ports}).numpy()]

    return run


def _program_run(module: Any, ports: tuple[Port, ...]) -> Run:
    def run(given: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            return [module(*(torch.from_numpy(given[port.name]) for port in ports)).numpy()]

    return run


def _draw(ports: tuple[Port, ...], number: int, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    described = {port.name: (port.dtype, port.shape) for port in ports}
    return draw_inputs(described, lambda name, _: sizes.get(name, OTHER_SIZES[number % 2]), number)


def _compare(ports: tuple[Port, ...], before: Run, after: Run, engine: str, tolerance: float) -> dict[str, Any]:
    found = Deviations()
    for number, sizes in enumerate(SIZES):
        given = _draw(ports, number, sizes)
        found.rows += len(next(iter(given.values())))
        try:
            expected, answered = before(given), after(given)
        except Exception as error:  # of compiled modules: each engine has its own
            raise ArgumentError(
                f"the model cannot be tried on drawn inputs: {str(error).splitlines()[0]}; --to needs a model that any "
                "numbers, and whole numbers of 0 and 1, can be given to",
                code="DL409",
            ) from error
        for one, other in zip(expected, answered, strict=True):
            found.add(one, other)
    return {**conclude(found, engine, tolerance), "inputs": "drawn"}


def _document(
    path: Path, folder: Path, to: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...], check: dict[str, Any]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "to": to,
        "model": path.stem,
        "task": "",
        "files": described_files(folder),
        "inputs": [port.described() for port in inputs],
        "outputs": [port.described() for port in outputs],
        "inside": [],
        "outside": [],
        "check": check,
    }
