"""LoRA, DoRA and 4-bit base weights: what is trained, what is kept, and that merging changes no answer."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import danlu as package
from danlu.api.train import resume
from danlu.errors import ArgumentError, ArtifactError, RecipeError
from danlu.models.adapters import NF4Linear, add_adapters, merge_adapters
from danlu.models.task_model import TaskModel
from danlu.models.vision.options import Timm
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.training import Finetune
from tests.support.processes import together
from tests.support.small_models import batch, build

MODES = ("lora", "dora", "qlora")


def nudge(model: nn.Module) -> None:
    """Give every trained weight another value, as training would."""
    made = torch.Generator().manual_seed(3)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.05 * torch.randn(weight.shape, generator=made)


class Small(TaskModel):
    """A layer below a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head_parts = ("head",)
        self.body = nn.Linear(32, 32, bias=False)
        self.head = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.body(x))
        return found


def adapted_small(**options: object) -> Small:
    model = Small()
    add_adapters(model, Finetune(mode="lora", **options))  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize(
    ("options", "rank", "scale"),
    [
        ({}, 16, 2.0),
        ({"rank": 4}, 4, 2.0),  # alpha is twice the rank when left out
        ({"rank": 4, "alpha": 4}, 4, 1.0),
        ({"alpha": 8}, 16, 0.5),
        ({"rank": 8, "alpha": 24}, 8, 3.0),
    ],
)
def test_alpha_over_rank(options: dict[str, int], rank: int, scale: float) -> None:
    model = adapted_small(**options)
    first, second = (getattr(model.body, name)["default"] for name in ("lora_A", "lora_B"))
    assert tuple(first.weight.shape) == (rank, 32) and tuple(second.weight.shape) == (32, rank)
    with torch.no_grad():
        second.weight.fill_(0.1)
    own = model.body.base_layer.weight.detach().clone()
    added = scale * second.weight.detach() @ first.weight.detach()
    merge_adapters(model)
    torch.testing.assert_close(model.body.weight.data, own + added)


def test_it_begins_as_nothing_and_the_head_is_trained_beside_it() -> None:
    plain, model = Small(), adapted_small()
    torch.testing.assert_close(model(torch.ones(1, 32)), plain(torch.ones(1, 32)))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {"body.lora_A.default.weight", "body.lora_B.default.weight", "head.weight", "head.bias"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["text", "corpus", "vit"])
def test_merged_weights_answer_as_the_adapters_did(kind: str, mode: Any) -> None:
    model = vit() if kind == "vit" else build(kind)
    inputs = batch("image" if kind == "vit" else kind).inputs
    plain = list(model.state_dict())
    model.eval()
    before = model(**inputs)
    add_adapters(model, Finetune(mode=mode, rank=4))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or "classifier" in name or "head." in name for name in trained)
    if mode != "qlora":  # new adapters change nothing
        torch.testing.assert_close(model(**inputs), before, rtol=1e-5, atol=1e-5)
    nudge(model)
    adapted = model(**inputs)
    assert float((adapted - before).detach().abs().max()) > 1e-3
    merge_adapters(model)
    assert list(model.state_dict()) == plain
    assert not any(isinstance(module, NF4Linear) for module in model.modules())
    torch.testing.assert_close(model(**inputs), adapted, rtol=1e-5, atol=1e-5)


def vit() -> nn.Module:
    from danlu.data.specs import ImageInputs

    torch.manual_seed(1)
    format_ = ImageInputs(channels=3, size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Timm(name="timm:test_vit").build(format_, 3)


def test_convolutions_get_adapters_too() -> None:
    model = build("image").eval()
    inputs = batch("image").inputs
    before = model(**inputs)
    add_adapters(model, Finetune(mode="lora", rank=2))
    assert any("conv" in name for name, weight in model.named_parameters() if weight.requires_grad)
    nudge(model)
    adapted = model(**inputs)
    assert float((adapted - before).detach().abs().max()) > 1e-4
    merge_adapters(model)
    torch.testing.assert_close(model(**inputs), adapted, rtol=1e-5, atol=1e-5)


def test_four_bits_are_kept_in_an_eighth_of_the_room_and_near_the_weights() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(256, 128)
    kept = NF4Linear(layer)
    codes = [getattr(kept.weight, name) for name in kept.weight.__tensor_flatten__()[0]]
    assert sum(code.nbytes for code in codes) < layer.weight.nbytes / 7
    inputs = torch.randn(8, 256, requires_grad=True)
    off = kept(inputs) - layer(inputs)
    assert float((off.std() / layer(inputs).std()).detach()) < 0.12
    wanted = torch.autograd.grad(kept.dequantize()(inputs).square().sum(), inputs)[0]
    torch.testing.assert_close(torch.autograd.grad(kept(inputs).square().sum(), inputs)[0], wanted)


def test_targets_are_named_and_an_unknown_one_is_refused_with_the_nearest() -> None:
    model = build("text")
    add_adapters(model, Finetune(mode="lora", rank=2, targets=("query", "/layer\\.[01]\\..*output\\.dense$/")))
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    assert "network.bert.encoder.layer.2.attention.self.query" in adapted
    assert "network.bert.encoder.layer.0.attention.output.dense" in adapted
    assert len(adapted) == 3 + 4
    with pytest.raises(ArgumentError, match="no part 'qury'; the nearest is \"query\""):
        add_adapters(build("text"), Finetune(mode="lora", targets=("qury",)))
    with pytest.raises(ArgumentError, match="shares its weights with another layer"):
        add_adapters(build("corpus", tied=True), Finetune(mode="lora", targets=("lm_head",)))


def test_options_of_adapters_go_with_adapters_and_adapters_with_pretrained_weights() -> None:
    with pytest.raises(RecipeError, match="rank applies only to lora, dora and qlora; mode is full"):
        check_recipe({"data": {"source": "a"}, "model": {"name": "hf:./x", "finetune": {"rank": 4}}})
    with pytest.raises(RecipeError, match="lora adapts pretrained weights, and hf:bert has none"):
        check_recipe({"data": {"source": "a"}, "model": {"name": "hf:bert", "finetune": {"mode": "lora"}}})
    values = {"data": {"source": "a"}, "model": {"name": "hf:./x", "finetune": {"mode": "qlora"}}}
    with pytest.raises(RecipeError, match="qlora keeps them in 4 bits"):
        check_recipe({**values, "training": {"precision": "bf16-master"}})


def recipe(folder: Path, text_file: Path, mode: str, **training: Any) -> dict[str, Any]:
    return {
        "name": "adapted",
        "data": {"source": str(text_file), "text": "text", "target": "era", "sequence_length": 24},
        "model": {"name": f"hf:{folder}", "finetune": {"mode": mode, "rank": 4, "dropout": 0.1}},
        "training": {"max_steps": 12, "batch_size": 8, "checkpoint": {"every_steps": 5}, **training},
    }


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("mode", MODES)
def test_a_run_trains_the_adapters_and_its_bundle_is_a_whole_models(
    small_encoder: Path, text_file: Path, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = recipe(small_encoder, text_file, mode, average={"ema": {"decay": 0.8}})
    run = package.train(values, output=tmp_path, name="run")
    said = capsys.readouterr().err
    assert " of them trained) on" in said
    last = run.checkpoints()[-1]
    stored = load_file(last / "weights.safetensors")
    assert stored
    assert all("lora_" in name or "classifier" in name for name in stored)
    bundle = load_file(run.model / "weights.safetensors")
    config = json.loads((run.model / "config.json").read_text())
    assert config["finetune"]["mode"] == "full"
    full = package.train(
        {**values, "model": {"name": f"hf:{small_encoder}"}, "training": {"max_steps": 1}}, output=tmp_path, name="full"
    )
    other = load_file(full.model / "weights.safetensors")
    assert {name: value.shape for name, value in bundle.items()} == {n: v.shape for n, v in other.items()}
    source = load_file(small_encoder / "model.safetensors")
    matrix = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(bundle[f"network.bert.{matrix}"], source[matrix])
    embedding = "embeddings.word_embeddings.weight"
    assert torch.equal(bundle[f"network.bert.{embedding}"], source[embedding])
    assert package.load(run.path).predict(["peace and war"]).height == 1


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("mode", ["lora", "qlora"])
def test_a_stopped_run_goes_on_bit_by_bit(small_encoder: Path, text_file: Path, tmp_path: Path, mode: str) -> None:
    values = recipe(small_encoder, text_file, mode)
    whole = package.train(values, output=tmp_path, name="whole")
    stopped = package.train(values, output=tmp_path, name="stopped")
    for file in stopped.model.iterdir():
        file.unlink()
    stopped.model.rmdir()
    for folder in stopped.checkpoints()[-1:]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    resume(stopped.path)
    name = "weights.safetensors"
    assert (stopped.model / name).read_bytes() == (whole.model / name).read_bytes()
    assert (stopped.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


@pytest.mark.training
def test_other_pretrained_weights_than_the_run_began_with_are_refused(
    small_encoder: Path, text_file: Path, tmp_path: Path
) -> None:
    import shutil

    folder = Path(shutil.copytree(small_encoder, tmp_path / "encoder"))
    run = package.train(recipe(folder, text_file, "lora"), output=tmp_path, name="run")
    shutil.rmtree(run.model)
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][3] += 1
    from safetensors.torch import save_file

    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match="frozen pretrained weights have changed"):
        resume(run.path)


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize(
    "options",
    [
        {"memory": {"checkpointing": "full"}},
        {"memory": {"checkpointing": "selective"}},
        {"memory": {"optimizer_in_backward": True}, "clip_norm": None},
        {"accumulate": 2},
    ],
)
def test_ways_to_save_memory_change_no_adapter(
    small_encoder: Path, text_file: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    values = recipe(small_encoder, text_file, "qlora", max_steps=4)
    values["model"]["finetune"]["dropout"] = 0.0
    values["model"]["dropout"] = 0.0
    plain = {**values, "training": {**values["training"], "clip_norm": options.get("clip_norm", 1.0)}}
    saving = {**values, "training": {**values["training"], **options}}
    found = [
        load_file(package.train(one, output=tmp_path, name=name).model / "weights.safetensors")
        for one, name in ((plain, "plain"), (saving, "saving"))
    ]
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)


def test_a_language_model_with_adapters_still_leaves_its_logits_to_its_head() -> None:
    from danlu.models.text.hf_wrapper import enable_chunked_loss

    model = build("corpus", dropout=0.0)
    add_adapters(model, Finetune(mode="lora", rank=4))
    nudge(model)
    inputs = batch("corpus").inputs
    whole = model(**inputs)
    assert enable_chunked_loss(model, 16, 128) == 16
    late = model(**inputs)
    torch.testing.assert_close(late.hidden @ late.weight.T, whole)


def train_adapters(values: dict[str, Any], output: str) -> str:
    """In one of several processes."""
    return str(package.train(values, output=output, name="both").path)


@pytest.mark.slow
def test_copies_of_a_model_train_the_adapters_of_one(small_encoder: Path, text_file: Path, tmp_path: Path) -> None:
    optimizer = {"name": "sgd", "lr": 0.1}
    values = recipe(small_encoder, text_file, "lora", max_steps=4, optimizer=optimizer)
    values["model"] |= {"dropout": 0.0, "finetune": {"mode": "lora", "rank": 4}}
    alone = load_file(package.train(values, output=tmp_path, name="alone").model / "weights.safetensors")
    output = str(tmp_path / "runs")
    (path, _) = together(
        2, "tests.models.test_adapters:train_adapters", tmp_path / "words", values=values, output=output
    )
    both = load_file(Path(path) / "model" / "weights.safetensors")
    for name, value in alone.items():
        torch.testing.assert_close(both[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "layout", "message"),
    [
        ("lora", {"shard": 2}, "lora works with whole replicas"),
        ("dora", {"tensor": 2}, "dora works with whole replicas"),
        ("qlora", {"data": 2}, "cannot be exchanged between processes"),
    ],
)
def test_what_processes_cannot_do_with_adapters_is_refused(mode: Any, layout: dict[str, int], message: str) -> None:
    from danlu.core.distributed.env import DistEnv
    from danlu.core.distributed.process_groups import ProcessGroups
    from danlu.recipe.sections.training import Parallel, Training
    from danlu.training.distributed.compatibility import check_supported
    from danlu.training.distributed.layout import choose_layout
    from danlu.training.distributed.parallel_context import ParallelContext

    asked = Parallel.model_validate(layout)
    found = ParallelContext(ProcessGroups(DistEnv(world_size=2)), choose_layout(asked, 2), None, asked)
    with pytest.raises(ArgumentError, match=message):
        check_supported(Training(), found, Finetune(mode=mode))
