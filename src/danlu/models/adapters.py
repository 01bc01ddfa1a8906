"""Adapters: small trainable matrices beside frozen weights, from peft. Added to a model in place, merged at the end.

LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685), DoRA (Liu et al. 2024, https://arxiv.org/abs/2402.09353), and
LoRA beside 4-bit weights (QLoRA, Dettmers et al. 2023, https://arxiv.org/abs/2305.14314). The names of adapted weights
contain `base_layer` until the adapters are merged.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.imports import patch_torchvision, require_extra
from danlu.errors import ArgumentError
from danlu.models.task_model import is_in_head, original_name, select_names
from danlu.recipe.sections.training import Finetune

# Between Hu et al. 2021's 4 to 8 and Dettmers et al. 2023's 64; enough for classifiers of a few classes.
DEFAULT_RANK = 16
NF4_BLOCK_SIZE = 64  # weights per scale in 4 bits (Dettmers et al. 2023)
NF4_SCALER_BLOCK_SIZE = 256  # scales that are quantized together


class NF4Linear(nn.Linear):
    """Keep a frozen matrix in NF4, about 4.1 bits per weight; compute in fp32."""

    def __init__(self, layer: nn.Linear) -> None:
        from torchao.quantization import to_nf4

        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        scales = max(
            size for size in (NF4_SCALER_BLOCK_SIZE, 64, 16, 4, 1) if layer.weight.numel() // NF4_BLOCK_SIZE % size == 0
        )
        self.weight = nn.Parameter(to_nf4(layer.weight.data, NF4_BLOCK_SIZE, scales), requires_grad=False)
        self.bias = layer.bias

    def forward(self, values: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        from torchao.quantization.quantize_.workflows.nf4.nf4_tensor import linear_nf4

        products: Tensor = linear_nf4(values, self.weight)  # saves the 4-bit weight for backward, not the fp32 matrix
        return products if self.bias is None else products + self.bias.to(products.dtype)

    def dequantize(self) -> nn.Linear:
        """Return the same layer with its matrix in fp32."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        kept: Any = self.weight
        layer.weight = nn.Parameter(kept.get_original_weight(), requires_grad=False)
        layer.bias = self.bias
        return layer


def add_adapters(model: nn.Module, options: Finetune) -> None:
    """Freeze a model except for its head, and add adapters to its layers.

    Args:
        model: with its initial weights; `is_in_head` tells its head.
        options: `mode` lora, dora or qlora. New matrices are drawn from torch's current seed.

    Raises:
        ArgumentError: a target is unknown, or is a layer that cannot be adapted.
        MissingExtra: peft, or for qlora torchao, is not installed.
    """
    require_extra("text", f"model.finetune.mode: {options.mode}")
    patch_torchvision()
    from peft import LoraConfig, inject_adapter_in_model

    targets = _targets(model, options)
    heads = [name for name, _ in model.named_parameters() if is_in_head(model, name)]
    if options.mode == "qlora":
        _quantize(model, targets)
    rank = options.rank or DEFAULT_RANK
    config = LoraConfig(
        r=rank,
        lora_alpha=options.alpha or 2 * rank,
        lora_dropout=options.dropout,
        target_modules=[*targets],
        use_dora=options.mode == "dora",
    )
    _inject(inject_adapter_in_model, config, model, options)
    own = dict(model.named_parameters())
    for name in heads:
        own[name].requires_grad_(True)


def _inject(inject: Any, config: Any, model: nn.Module, options: Finetune) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # peft corrects it itself for GPT-2's layers
        try:
            inject(config, model)
        except (ValueError, NotImplementedError) as error:
            first = str(error).strip().splitlines()[0]
            raise ArgumentError(
                f"model.finetune.mode: {options.mode} does not fit this model: {first}", code="DL511"
            ) from error


def _targets(model: nn.Module, options: Finetune) -> list[str]:
    """Return the names of the layers that get an adapter.

    Raises:
        ArgumentError: no layer matches, or one shares its weights with another layer.
    """
    layers = {name: module for name, module in model.named_modules() if _is_adaptable(module, options.mode)}
    if options.targets is None:
        found = [name for name in layers if not is_in_head(model, name) and not _is_lm_head(model, name)]
    else:
        found = select_names(layers, options.targets, "model.finetune.targets")
    shared = _shared_weights(model)
    for name in found:
        if id(getattr(layers[name], "weight", None)) in shared:
            raise ArgumentError(
                f"model.finetune.targets: {original_name(name)} shares its weights with another layer, which an "
                "adapter would change too; leave it out",
                code="DL511",
            )
    if not found:
        raise ArgumentError(
            f"model.finetune.mode: the model has no layer that {options.mode} can adapt; set full", code="DL511"
        )
    return found


def _is_adaptable(module: nn.Module, mode: str) -> bool:
    if mode == "qlora":
        return type(module) is nn.Linear and module.weight.numel() % NF4_BLOCK_SIZE == 0
    if isinstance(module, nn.Conv2d):
        return module.groups == 1
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _is_lm_head(model: nn.Module, name: str) -> bool:
    """Return whether this is a language model's last layer, which LoRA leaves out."""
    network: Any = getattr(model, "network", model)
    outputs = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    return outputs is not None and outputs is model.get_submodule(name)


def _shared_weights(model: nn.Module) -> set[int]:
    seen: set[int] = set()
    twice: set[int] = set()
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            (twice if id(weight) in seen else seen).add(id(weight))
    return twice


def _quantize(model: nn.Module, targets: list[str]) -> None:
    """Quantize the matrices of these layers to 4 bits."""
    require_extra("low-bit", "model.finetune.mode: qlora")
    for name in targets:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        _set_module(model, name, NF4Linear(layer))


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Merge trained adapters into the weights in fp32 and restore the model's original modules."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted: list[tuple[str, Any]] = [pair for pair in model.named_modules() if isinstance(pair[1], BaseTunerLayer)]
    for name, layer in adapted:
        base = layer.get_base_layer()
        if isinstance(base, NF4Linear):
            layer.base_layer = base.dequantize()
        layer.float()
        layer.eval()
        layer.merge()
        _set_module(model, name, layer.get_base_layer())


def _set_module(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
