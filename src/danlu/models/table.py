"""The models a recipe may name. Imports no torch: networks are imported when one is built."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from danlu.core.imports import load_dotted
from danlu.data.specs import InputSpec
from danlu.errors import ArgumentError
from danlu.models.base import Model as Model
from danlu.models.tabular.options import MLP as MLP
from danlu.models.tabular.options import Additive, Boosting, FTTransformer, ResNet, TabM, Tree
from danlu.models.tabular.options import Linear as Linear
from danlu.models.text.options import Transformer
from danlu.models.vision.options import SmallResNet, Timm

if TYPE_CHECKING:
    from torch import nn


class CustomModel(Model):
    """Build your own network by `own:package.module:function`.

    The function is called with the inputs' specification (`danlu.data.specs`), the number of outputs and `options`, and
    returns a torch module whose forward takes the inputs by name. Images arrive as uint8; the module normalizes them.
    """

    kinds = ("tabular", "image", "text", "corpus", "chat", "preference")
    name: Annotated[str, Field(pattern=r"^own:[^:]+:[^:]+$")]
    options: dict[str, Any] = Field(default_factory=dict, description="passed to the function by name")

    @classmethod
    def catalog(cls, listed_as: str, like: str | None) -> list[tuple[str, str]]:
        return []

    @property
    def custom_code(self) -> str | None:
        return self.name.removeprefix("own:")

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from torch import nn

        function = load_dotted(self.name.removeprefix("own:"), "model.name")
        built = function(inputs, outputs, **self.options)
        if not isinstance(built, nn.Module):
            raise ArgumentError(
                f"model.name: {self.name} returned a {type(built).__name__}, not a torch module", code="DL412"
            )
        return built


MODELS: dict[str, type[Model]] = {
    "linear": Linear,
    "mlp": MLP,
    "resnet": ResNet,
    "ft-transformer": FTTransformer,
    "tabm": TabM,
    "additive": Additive,
    "tree": Tree,
    "boosting": Boosting,
    "small-resnet": SmallResNet,
    "timm": Timm,
    "hf": Transformer,
    "own": CustomModel,
}
