"""Break one line of a central rule at a time and run the one test file that should see it.

    .venv/bin/python scripts/mutate.py --seed 7 --count 40          draw rules by seed, one mutation each
    .venv/bin/python scripts/mutate.py --only early_stopping        all mutations of the rules named so

In: RULES, from a rule (`module:function`, `module:Class.method`, `module:CONSTANT`) to its test file. Out: a line for
each mutation, killed or survived. The sources are copied first, so that the checkout stays as it is. A test file that
fails without any mutation is an error. Numbers below 1e-5 are left alone: they only keep divisions defined.
"""

import argparse
import ast
import copy
import importlib
import importlib.util
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[1]
PATIENCE_S = 240  # a test that takes longer has hung, which is noticed too
EPSILON = 1e-5
LARGE = ("numpy", "polars", "pydantic", "torch", "scipy.stats", "sklearn.linear_model", "pytest")

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
}
OPPOSITES = {
    "min": "max",
    "max": "min",
    "argmin": "argmax",
    "argmax": "argmin",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "mean": "sum",
    "round": "int",
}


@dataclass(frozen=True)
class Mutation:
    """Describe one change of one expression.

    Attributes:
        rule: as RULES names it.
        file: of the source, below `src`.
        line: where it begins.
        start, end: the bytes of the file that are replaced.
        before, after: what stands there, and what is put in its place.
    """

    rule: str
    file: Path
    line: int
    start: int
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {_short(self.before)}  ->  {_short(self.after)}"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 70 else words[:67] + "..."


def mutations_of(rule: str) -> list[Mutation]:
    """Return all mutations of a rule, in the order of the source."""
    module, _, path = rule.partition(":")
    file = Path(*module.split(".")).with_suffix(".py")
    if not (ROOT / "src" / file).is_file():
        file = Path(*module.split("."), "__init__.py")
    content = (ROOT / "src" / file).read_bytes()
    starts = [0]
    for line in content.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: list[Mutation] = []
    for node, changed in _changes(_named(ast.parse(content), path, rule)):
        assert isinstance(node, ast.expr | ast.stmt) and node.end_lineno is not None and node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        after = ast.unparse(changed)
        if isinstance(node, ast.expr) and not isinstance(node, ast.Constant):
            after = f"({after})"
        found.append(Mutation(rule, file, node.lineno, start, end, content[start:end].decode(), after))
    return found


def _named(tree: ast.AST, path: str, rule: str) -> ast.AST:
    """Find the function, class or constant that a dotted path names."""
    for name in path.split("."):
        for node in ast.iter_child_nodes(tree):
            names = [getattr(node, "name", None)]
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            if name in names:
                tree = node
                break
        else:
            raise SystemExit(f"{rule}: there is no {name!r}")
    return tree


def _changes(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield nodes below a tree with a replacement each; skip annotations, f-strings and errors."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert):
                continue
            yield from ((node, changed) for changed in _mutants(node))
            yield from _changes(node)


def _mutants(node: ast.AST) -> Iterator[ast.AST]:
    """Yield replacements of one node."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARED[type(operator)][_is_tolerant(node) :]:
                yield ast.Compare(node.left, [*node.ops[:place], other(), *node.ops[place + 1 :]], node.comparators)
    elif isinstance(node, ast.Constant):
        yield from _other_constants(node.value)
    elif isinstance(node, ast.Call):
        yield from _opposite_calls(node)
    elif isinstance(node, ast.stmt):
        yield from _other_statements(node)
    else:
        yield from _other_operations(node)


def _other_constants(value: object) -> Iterator[ast.AST]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, float) and (value == 0 or abs(value) >= EPSILON):
        yield ast.Constant(value * 10 or 1.0)


def _opposite_calls(node: ast.Call) -> Iterator[ast.AST]:
    function = copy.copy(node.func)
    if isinstance(function, ast.Name) and function.id in OPPOSITES:
        function.id = OPPOSITES[function.id]
    elif isinstance(function, ast.Attribute) and function.attr in OPPOSITES:
        function.attr = OPPOSITES[function.attr]
    else:
        return
    yield ast.Call(function, node.args, node.keywords)


def _other_statements(node: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    elif isinstance(node, ast.AugAssign) and type(node.op) in CALCULATED:
        yield ast.AugAssign(node.target, CALCULATED[type(node.op)](), node.value)


def _other_operations(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and type(node.op) in CALCULATED:
        if not (_is_text(node.left) or _is_text(node.right)):
            yield ast.BinOp(node.left, CALCULATED[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)


def _is_tolerant(node: ast.Compare) -> bool:
    """Return whether a comparison has a tolerance, beside which `>=` and `>` are the same."""
    numbers = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return any(isinstance(number, float) and 0 < abs(number) < EPSILON for number in numbers)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr | ast.List | ast.Dict | ast.Tuple) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def drawn(seed: int, count: int) -> list[Mutation]:
    """Draw rules without repetition, as long as there are any, and one mutation of each."""
    generator = random.Random(seed)  # noqa: S311 - draws tests, no secrets
    found: list[Mutation] = []
    while len(found) < count:
        for rule in generator.sample(sorted(RULES), len(RULES)):
            there = [mutation for mutation in mutations_of(rule) if mutation not in found]
            if there and len(found) < count:
                found.append(generator.choice(there))
    return found


class Copies:
    """Hold copies of the sources, one for each test that runs at a time."""

    def __init__(self, folder: Path, count: int) -> None:
        self.free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copied = folder / str(number)
            shutil.copytree(ROOT / "src", copied, ignore=shutil.ignore_patterns("__pycache__"))
            self.free.put(copied)

    def survives(self, mutation: Mutation) -> bool:
        """Return whether the rule's test file passes all the same."""
        copied = self.free.get()
        file = copied / mutation.file
        whole = file.read_bytes()
        # Python tells a changed file by its size and second of change, which a mutation may leave as they are.
        compiled = Path(importlib.util.cache_from_source(str(file)))
        try:
            file.write_bytes(whole[: mutation.start] + mutation.after.encode() + whole[mutation.end :])
            compiled.unlink(missing_ok=True)
            return passes(copied, [RULES[mutation.rule]])
        finally:
            file.write_bytes(whole)
            compiled.unlink(missing_ok=True)
            self.free.put(copied)

    def complaint(self, tests: list[str]) -> str:
        """Return what pytest says where test files fail without any mutation, else nothing."""
        copied = self.free.get()
        try:
            output = copied.with_suffix(".txt")
            return "" if passes(copied, tests, output) else output.read_text()
        finally:
            self.free.put(copied)


def passes(copied: Path, tests: list[str], output: Path = Path(os.devnull)) -> bool:
    """Run tests against a copy of the sources, in a fork that has imported the large libraries."""
    process = multiprocessing.get_context("fork").Process(target=_test, args=(copied, tests, output))
    process.start()
    process.join(PATIENCE_S)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode == 0


def _test(copied: Path, tests: list[str], output: Path) -> None:
    import pytest

    opened = os.open(output, os.O_WRONLY | os.O_CREAT)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(opened, stream.fileno())
    os.chdir(ROOT)
    sys.path[:0] = [str(copied), str(ROOT)]
    os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--only", help="all mutations of the rules whose names hold this word")
    parser.add_argument("--jobs", type=int, default=1, help="tests that run side by side")
    parser.add_argument("--list", action="store_true", help="say what would be tried")
    options = parser.parse_args()
    if options.only:
        chosen = [mutation for rule in RULES if options.only in rule for mutation in mutations_of(rule)]
    else:
        chosen = drawn(options.seed, options.count)
    if options.list:
        for mutation in chosen:
            print(f"{mutation}   {RULES[mutation.rule]}")
        return
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        copies = Copies(Path(folder), options.jobs)
        for library in LARGE:
            importlib.import_module(library)
        tests = sorted({RULES[mutation.rule] for mutation in chosen})
        complaint = copies.complaint(tests)
        if complaint:
            raise SystemExit(f"{complaint}\nthese tests fail without any mutation")
        survived = 0
        for mutation, survives in zip(chosen, pool.map(copies.survives, chosen), strict=True):
            survived += survives
            print(f"{'SURVIVED' if survives else 'killed  '}  {mutation}   {RULES[mutation.rule]}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} killed" + ("" if options.only else f", seed {options.seed}"))


RULES = {
    "danlu.artifacts.checkpoints:CheckpointManager._prune": "tests/artifacts/test_checkpoint_choice.py",
    "danlu.artifacts.checkpoints:CheckpointManager.save": "tests/artifacts/test_checkpoint_choice.py",
    "danlu.artifacts.checkpoints:open_checkpoint": "tests/artifacts/test_checkpoint_choice.py",
    "danlu.artifacts.checkpoints:valid_checkpoints": "tests/artifacts/test_checkpoint_choice.py",
    "danlu.artifacts.checkpoints:unique_state_dict": "tests/artifacts/test_checkpoint_choice.py",
    "danlu.artifacts.run:RunDirectory.rollback": "tests/artifacts/test_checkpoint_choice.py",
    "danlu.core.seeds:Seed.derive": "tests/core/test_seeds.py",
    "danlu.data.audit.drift:_kolmogorov_smirnov": "tests/data/audit/test_leakage_rules.py",
    "danlu.data.audit.drift:_chi_squared": "tests/data/audit/test_leakage_rules.py",
    "danlu.data.audit.drift:drifting_columns": "tests/data/audit/test_leakage_rules.py",
    "danlu.data.audit.leakage:_bins": "tests/data/audit/test_leakage_rules.py",
    "danlu.data.audit.leakage:_balanced_accuracy": "tests/data/audit/test_leakage_rules.py",
    "danlu.data.audit.leakage:LEAKAGE_LEVEL": "tests/data/audit/test_leakage_rules.py",
    "danlu.data.audit.leakage:group_leakage": "tests/data/audit/test_leakage_rules.py",
    "danlu.data.balance.loss_weights:class_weights": "tests/data/balance/test_weights_and_counts.py",
    "danlu.data.balance.loss_weights:LogitAdjustment.loss_weighting": "tests/data/balance/test_weights_and_counts.py",
    "danlu.data.balance.resampling:_draw_per_class": "tests/data/balance/test_weights_and_counts.py",
    "danlu.data.balance.resampling:Undersample.order": "tests/data/balance/test_weights_and_counts.py",
    "danlu.data.balance.resampling:WeightedSampling.order": "tests/data/balance/test_weights_and_counts.py",
    "danlu.data.balance.resampling:target_counts": "tests/data/balance/test_weights_and_counts.py",
    "danlu.tasks.calibrations:Isotonic.apply": "tests/evaluation/test_calibration.py",
    "danlu.tasks.calibrations:Temperature.apply": "tests/evaluation/test_calibration.py",
    "danlu.data.chats.batches:ConversationBlocks.take": "tests/data/text/test_sequences.py",
    "danlu.data.chats.batches:PreferencePairs.take": "tests/data/text/test_sequences.py",
    "danlu.data.chats.batches:cut": "tests/data/text/test_sequences.py",
    "danlu.data.chats.batches:pack": "tests/data/text/test_sequences.py",
    "danlu.data.loader:TrainLoader._rows": "tests/data/test_loader.py",
    "danlu.data.loader:batch_bounds": "tests/data/test_loader.py",
    "danlu.data.loader:number_repeats": "tests/data/test_loader.py",
    "danlu.data.folds:_validating": "tests/data/test_split_sizes.py",
    "danlu.data.folds:fold_dataset": "tests/data/test_split_sizes.py",
    "danlu.data.splits:_neediest": "tests/data/test_iterative_stratification.py",
    "danlu.data.splits:iterative_stratification": "tests/data/test_iterative_stratification.py",
    "danlu.data.text.sequences:TokenBlocks.take": "tests/data/text/test_sequences.py",
    "danlu.data.text.sequences:PaddedTokens.take": "tests/data/text/test_sequences.py",
    "danlu.data.splits:Group.fold": "tests/data/test_split_sizes.py",
    "danlu.data.splits:Stratified.fold": "tests/data/test_split_sizes.py",
    "danlu.data.splits:Time.assign": "tests/data/test_split_sizes.py",
    "danlu.data.splits:Time.fold": "tests/data/test_split_sizes.py",
    "danlu.data.splits:_shuffled": "tests/data/test_split_sizes.py",
    "danlu.tasks.regression:tenths": "tests/data/test_split_sizes.py",
    "danlu.data.tabular.categories:CategoryState.codes": "tests/data/tabular/test_category_encoding.py",
    "danlu.data.tabular.categories:CategoryState.fit": "tests/data/tabular/test_category_encoding.py",
    "danlu.data.tabular.categories:_cross_fitted": "tests/data/tabular/test_category_encoding.py",
    "danlu.data.tabular.impute:KNNFiller.fill": "tests/data/tabular/test_imputation.py",
    "danlu.data.tabular.numbers:NumberState.fit": "tests/data/tabular/test_imputation.py",
    "danlu.data.tabular.outliers:outlier_limits": "tests/data/tabular/test_imputation.py",
    "danlu.data.tabular.outliers:is_outlier": "tests/data/tabular/test_imputation.py",
    "danlu.data.tabular.scaling:Quantile.fit": "tests/data/tabular/test_scaling_by_hand.py",
    "danlu.data.tabular.scaling:Robust.fit": "tests/data/tabular/test_scaling_by_hand.py",
    "danlu.data.tabular.scaling:Scaling.apply": "tests/data/tabular/test_scaling_by_hand.py",
    "danlu.data.tabular.scaling:Symmetric.fit": "tests/data/tabular/test_scaling_by_hand.py",
    "danlu.data.tabular.scaling:_linear": "tests/data/tabular/test_scaling_by_hand.py",
    "danlu.data.tabular.scaling:yeo_johnson": "tests/data/tabular/test_scaling_by_hand.py",
    "danlu.data.text.preprocessor:CorpusPreprocessor.transform_each": "tests/data/text/test_sequences.py",
    "danlu.data.text.tokenize:_encode": "tests/data/text/test_sequences.py",
    "danlu.evaluation.conformal:conformal_quantile": "tests/evaluation/test_conformal.py",
    "danlu.evaluation.conformal:required_rows": "tests/evaluation/test_conformal.py",
    "danlu.tasks.classification:ClassTask.nonconformity": "tests/evaluation/test_conformal.py",
    "danlu.tasks.regression:NumericTask.nonconformity": "tests/evaluation/test_conformal.py",
    "danlu.evaluation.calibration:_select_method": "tests/evaluation/test_calibration.py",
    "danlu.evaluation.calibration:_isotonic_knots": "tests/evaluation/test_calibration.py",
    "danlu.metrics.classification:f_beta": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.metrics.classification:cohen_kappa": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.metrics.classification:matthews_corrcoef": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.evaluation.thresholds:_counts_at": "tests/evaluation/test_thresholds.py",
    "danlu.evaluation.curves:risk_coverage": "tests/evaluation/test_thresholds.py",
    "danlu.evaluation.thresholds:choose_threshold": "tests/evaluation/test_thresholds.py",
    "danlu.evaluation.thresholds:mean_cost": "tests/evaluation/test_thresholds.py",
    "danlu.evaluation.thresholds:counts_by_threshold": "tests/evaluation/test_thresholds.py",
    "danlu.evaluation.intervals:POISSON_FROM_UNITS": "tests/evaluation/test_bootstrap.py",
    "danlu.evaluation.intervals:_Sampler.weights": "tests/evaluation/test_bootstrap.py",
    "danlu.evaluation.intervals:_poisson_table": "tests/evaluation/test_bootstrap.py",
    "danlu.evaluation.intervals:_num_resamples": "tests/evaluation/test_bootstrap.py",
    "danlu.evaluation.intervals:bias_corrected_interval": "tests/evaluation/test_bootstrap.py",
    "danlu.evaluation.intervals:paired_differences": "tests/evaluation/test_bootstrap.py",
    "danlu.evaluation.intervals:mcnemar_test": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.metrics.regression:_median_error": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.metrics.regression:_pinball": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.metrics.regression:_r2": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.evaluation.cross_validation:_summarize_folds": "tests/evaluation/test_cross_validation.py",
    "danlu.evaluation.cross_validation:evaluate_folds": "tests/evaluation/test_cross_validation.py",
    "danlu.metrics.classification:_calibration_gaps": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.metrics.classification:in_top_k": "tests/evaluation/metrics/test_metrics_by_hand.py",
    "danlu.models.adapters:add_adapters": "tests/models/test_adapter_options.py",
    "danlu.tasks.classification:classification_loss": "tests/models/test_losses.py",
    "danlu.tasks.multi_label:multilabel_loss": "tests/models/test_losses.py",
    "danlu.tasks.ensembles:ensemble_loss": "tests/models/test_losses.py",
    "danlu.tasks.tagging:tagging_predict": "tests/models/test_losses.py",
    "danlu.tasks.token_losses:token_predict": "tests/models/test_losses.py",
    "danlu.models.engines.torch_engine:TorchEngine.tolerance": "tests/models/test_golden_samples.py",
    "danlu.models.predictor:Predictor.replay": "tests/models/test_golden_samples.py",
    "danlu.tasks.preference:preference_loss": "tests/models/text/test_preference_loss.py",
    "danlu.models.sampling:logits_processors": "tests/models/test_sampling.py",
    "danlu.training.averaging:EMA.lerp_weight": "tests/training/test_average_weights.py",
    "danlu.training.averaging:SWA.lerp_weight": "tests/training/test_average_weights.py",
    "danlu.training.regularization:clip_grad_norm": "tests/training/test_clipping.py",
    "danlu.training.param_groups:layer_depths": "tests/training/test_decay_groups.py",
    "danlu.training.param_groups:layer_lr_scales": "tests/training/test_decay_groups.py",
    "danlu.training.param_groups:parameter_groups": "tests/training/test_decay_groups.py",
    "danlu.training.param_groups:parameter_roles": "tests/training/test_decay_groups.py",
    "danlu.training.recorder:RunRecorder.is_checkpoint_due": "tests/training/test_recorder.py",
    "danlu.training.recorder:RunRecorder.record_step": "tests/training/test_recorder.py",
    "danlu.training.loop:_validate": "tests/training/test_loop.py",
    "danlu.training.loop:train": "tests/training/test_loop.py",
    "danlu.training.memory.microbatch:is_out_of_memory": "tests/training/memory/test_microbatch.py",
    "danlu.training.memory.microbatch:split_batch": "tests/training/memory/test_microbatch.py",
    "danlu.training.regularization:add_penalties": "tests/training/test_regularization.py",
    "danlu.training.regularization:max_norm_weights": "tests/training/test_regularization.py",
    "danlu.training.regularization:renorm_units": "tests/training/test_regularization.py",
    "danlu.training.schedules:ReduceLROnPlateau.update": "tests/training/test_plateau.py",
    "danlu.training.schedules:ReduceLROnPlateau._is_better": "tests/training/test_plateau.py",
    "danlu.training.lr_finder:_smooth": "tests/training/test_lr_finder_rules.py",
    "danlu.training.lr_finder:_steepest_lr": "tests/training/test_lr_finder_rules.py",
    "danlu.training.lr_finder:_sweep": "tests/training/test_lr_finder_rules.py",
    "danlu.training.running_average:RunningAverage.update": "tests/training/test_average_weights.py",
    "danlu.training.schedules:scaled_lr": "tests/training/test_lr_scaling.py",
    "danlu.training.schedules:Cosine.after_warmup": "tests/training/test_schedule_corners.py",
    "danlu.training.schedules:MultiStep.after_warmup": "tests/training/test_schedule_corners.py",
    "danlu.training.schedules:OneCycle._interpolate": "tests/training/test_schedule_corners.py",
    "danlu.training.schedules:Step.after_warmup": "tests/training/test_schedule_corners.py",
    "danlu.training.schedules:WarmupStableDecay.after_warmup": "tests/training/test_schedule_corners.py",
    "danlu.training.schedules:WarmupSchedule.factor": "tests/training/test_schedule_corners.py",
    "danlu.training.step:TrainStep._accumulate_gradients": "tests/training/test_step.py",
    "danlu.training.step:TrainStep._compute_gradients": "tests/training/test_step.py",
    "danlu.training.step:TrainStep._optimizer_step": "tests/training/test_step.py",
    "danlu.training.step:TrainStep.__call__": "tests/training/test_step.py",
    "danlu.training.loop:plan_steps": "tests/training/test_step_plan.py",
    "danlu.training.early_stopping:EarlyStopper.should_stop": "tests/training/test_early_stopping.py",
    "danlu.training.early_stopping:EarlyStopper.update": "tests/training/test_early_stopping.py",
    "danlu.training.early_stopping:EarlyStopper._is_better": "tests/training/test_early_stopping.py",
    "danlu.experiment.model_summary:overparameterized_warning": "tests/experiment/test_capacity.py",
    "danlu.launch.row_shards:RowShards.split": "tests/launch/test_row_shards.py",
    "danlu.launch.row_shards:RowShards.local_rows": "tests/launch/test_row_shards.py",
    "danlu.data.splits:evenly_spaced_rows": "tests/experiment/test_data_context.py",
    "danlu.models.base:ADAPTER_FACTOR": "tests/experiment/test_defaults.py",
    "danlu.models.vision.options:Timm.default_lr": "tests/experiment/test_defaults.py",
    "danlu.artifacts.ownership:require_folder_name": "tests/artifacts/test_run_names.py",
    "danlu.data.kinds.corpus:CorpusKind.default_split": "tests/experiment/test_defaults.py",
    "danlu.data.kinds.tabular:TabularKind.default_batch_size": "tests/experiment/test_defaults.py",
    "danlu.experiment.defaults:_resolve_image_size": "tests/experiment/test_defaults.py",
    "danlu.experiment.defaults:_resolve_missing_values": "tests/experiment/test_defaults.py",
    "danlu.experiment.defaults:_resolve_split": "tests/experiment/test_defaults.py",
    "danlu.experiment.defaults:_resolve_training": "tests/experiment/test_defaults.py",
    "danlu.experiment.auto_settings:find_largest_batch_size": "tests/experiment/test_auto_settings.py",
}

if __name__ == "__main__":
    main()
