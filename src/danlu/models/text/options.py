"""The options of models from transformers. Imports no torch: the recipe's schema is built from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from danlu.data.descriptors import DataRequirements
from danlu.data.specs import InputSpec, TextInputs, TokenInputs, require_inputs
from danlu.models.base import HasPresets, SizePresets, pretrained_lr
from danlu.recipe.paths import HF_FOLDER
from danlu.recipe.sections.training import Finetune, Fraction

if TYPE_CHECKING:
    from torch import nn

# Popular architectures.
EXAMPLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("text", ("bert", "roberta", "electra")),
    ("corpus", ("llama", "gpt2", "qwen2")),
)


class Transformer(HasPresets):
    """Build a transformers model: a new architecture (`hf:llama`) or a local folder (`hf:./MiniLM`).

    A new architecture takes its settings from `size` and `config`. A language model may also be a GGUF file,
    `hf:./model.gguf`, or a folder that holds one.
    """

    kinds = ("text", "words", "corpus", "chat", "preference")
    # For new models only; the settings stand in `presets.SIZE_PRESETS`.
    presets: ClassVar[SizePresets] = {"small": {}, "base": {}, "large": {}}
    extra = "text"
    export_format = "transformers"
    name: Annotated[str, HF_FOLDER, Field(pattern=r"^hf:.+")]
    config: dict[str, Any] | None = Field(default=None, description="the architecture's own settings")
    dropout: Fraction | None = Field(
        default=None, description="every dropout of the architecture that `config` does not set"
    )
    pooling: Literal["mean", "cls"] | None = Field(
        default=None,
        description="text classification and regression: a linear layer over the mean of all tokens, or over the "
        "first token; if left out, the pooling of a sentence encoder's folder, mean with finetune.mode: head, else the "
        "architecture's own classifier",
    )
    allow_remote_code: bool = Field(default=False, description="run Python code from the folder; read it first")
    attention: Literal["auto", "sdpa", "flash", "eager"] = Field(
        default="auto",
        description="implementation: torch's fused kernels (sdpa; auto uses it if the architecture supports it), the "
        "package flash-attn, or plain matrix products",
    )
    resize_embeddings: bool = Field(
        default=False,
        description="add rows to pretrained embeddings for tokens of the tokenizer that have none; they are "
        "trained in every mode but head",
    )
    finetune: Finetune = Finetune()

    @classmethod
    def catalog(cls, listed_as: str, like: str | None) -> list[tuple[str, str]]:
        return [(f"hf:{name}", kind) for kind, names in EXAMPLES for name in names]

    @property
    def custom_code(self) -> str | None:
        return str(self.folder) if self.allow_remote_code else None

    @property
    def folder(self) -> Path | None:
        """Folder (or GGUF file) of pretrained weights; None for a new architecture."""
        rest = self.name.removeprefix("hf:")
        return Path(rest) if "/" in rest else None

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.text.transformers import NetworkSpec, build_transformer

        tokens = require_inputs(inputs, TokenInputs, self.name)
        found = self._with_gguf_converted()
        spec = NetworkSpec(
            name=found.name,
            folder=found.folder,
            config=found.config,
            size=found.size,
            dropout=found.dropout,
            attention=found.attention,
            allow_remote_code=found.allow_remote_code,
            rows=found._rows(),
        )
        pooling = found.resolve_pooling() if isinstance(tokens, TextInputs) else None
        return build_transformer(spec, tokens, outputs, pooling)

    def order_head(self, network: "nn.Module", labels: Sequence[str] | None) -> None:
        folder = self._with_gguf_converted().folder
        if folder is not None:
            from danlu.models.text.pretrained_head import order_head

            order_head(network, folder, labels)

    def resolve_pooling(self) -> Literal["mean", "cls"] | None:
        """Return the pooling of texts; None uses the architecture's own classifier."""
        from danlu.models.text.pretrained_folder import folder_pooling

        own = folder_pooling(self.folder) if self.folder else None
        return self.pooling or own or ("mean" if self.finetune.mode == "head" else None)

    def default_lr(self, optimizer_lr: float, pretrained_factor: float) -> float:
        if self.folder is None:
            return super().default_lr(optimizer_lr, pretrained_factor)
        return pretrained_lr(self.finetune, optimizer_lr, pretrained_factor) * self.defaults.lr_factor

    def data_requirements(self) -> DataRequirements:
        from danlu.models.text.pretrained_folder import folder_requirements

        folder = self._with_gguf_converted().folder
        if folder is None:
            return DataRequirements()
        return folder_requirements(folder, self.allow_remote_code, self.resize_embeddings)

    def requirements_by_files(self) -> DataRequirements | None:
        from danlu.models.text.pretrained_folder import requirements_by_files

        return None if self.folder is None else requirements_by_files(self.folder)

    def _rows(self) -> int | None:
        """Return the embeddings' least number of rows; None leaves them alone."""
        if self.folder is None or not self.resize_embeddings:
            return None
        from danlu.models.text.pretrained_folder import requires_remote_code, rows_for_tokens

        return rows_for_tokens(self.folder, requires_remote_code(self.folder, self.allow_remote_code))

    def _with_gguf_converted(self) -> Self:
        """Return these options with a GGUF file replaced by the folder it was converted to."""
        if self.folder is None:
            return self
        from danlu.models.text.gguf import convert_gguf, find_gguf_file

        file = find_gguf_file(self.folder)
        return self if file is None else self.model_copy(update={"name": f"hf:{convert_gguf(file)}"})

    def portable(self) -> Self:
        if self.folder is None:
            return self.model_copy(update={"attention": "auto"})
        return self._with_gguf_converted()._self_contained()

    def _self_contained(self) -> Self:
        assert self.folder is not None
        from danlu.models.text.pretrained_folder import folder_config, requires_remote_code

        changed: dict[str, Any] = {
            "size": None,
            "dropout": None,
            "pooling": self.resolve_pooling(),
            "finetune": Finetune(),
        }
        changed["attention"] = "auto"
        if requires_remote_code(self.folder, self.allow_remote_code):  # it is needed whenever the network is built
            return self.model_copy(update={**changed, "name": f"hf:{self.folder.resolve()}"})
        name, config = folder_config(self.folder)
        if self.resize_embeddings:
            config["vocab_size"] = max(config["vocab_size"], self._rows() or 0)
        changed |= {"name": f"hf:{name}", "config": config, "allow_remote_code": False, "resize_embeddings": False}
        return self.model_copy(update=changed)
