"""The methods that explain single rows of a table, as `explain` lists them."""

from typing import ClassVar

from danlu.explanation.answers import choose_answers
from danlu.explanation.counterfactuals import Search
from danlu.explanation.influence import training_influences
from danlu.explanation.lime import lime_rows
from danlu.explanation.local_shap import explain_rows
from danlu.explanation.request import LEAST_FIDELITY, ExplainRequest, Found, Warnings, gather, name_first
from danlu.explanation.trust import ShapExplainer, measure_trust
from danlu.tasks.classification import ClassTarget

FEW_BACKGROUND = 20


class Shap:
    """Compute SHAP values of single rows."""

    is_usual: ClassVar[bool] = True

    def refusal(self, request: ExplainRequest) -> str | None:
        return None

    def explain(self, request: ExplainRequest) -> Found:
        warnings: Warnings = []
        chosen = request.frame[list(request.rows)]
        found = explain_rows(
            request.answers,
            chosen,
            list(request.rows),
            request.background,
            request.seed,
            label=request.label,
            error=request.error,
            budget=request.budget,
        )
        done = gather(found, len(request.rows), "rows", warnings)
        if any(one.wanted_error is not None and one.reached_error > one.wanted_error for one in done):
            warnings.append(("error-not-reached", "some intervals are wider than asked for; raise the budget"))
        if request.background is None:
            warnings.append(
                ("no-background", "no rows to stand for absent columns: they follow the trees' training rows instead")
            )
        elif request.background.height < FEW_BACKGROUND:
            height = request.background.height
            warnings.append(("few-background", f"only {height} rows stand for absent columns; values depend on them"))
        return Found(local=tuple(done), warnings=tuple(warnings))


class Lime:
    """Fit local linear models of single rows."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        return None if request.background is not None else "needs the training rows that a bundle keeps"

    def explain(self, request: ExplainRequest) -> Found:
        assert request.background is not None
        warnings: Warnings = []
        chosen, numbers = request.frame[list(request.rows)], list(request.rows)
        background = request.background
        found = lime_rows(
            request.answers, chosen, numbers, background, request.seed, label=request.label, budget=request.budget
        )
        done = gather(found, len(numbers), "rows", warnings)
        bad = [str(one.row) for one in done if one.fidelity is not None and one.fidelity < LEAST_FIDELITY]
        if bad:
            named = name_first(bad)
            warnings.append(("low-fidelity", f"around row {named} no linear model gives the answers well"))
        return Found(local=tuple(done), warnings=tuple(warnings))


class Counterfactuals:
    """Find the nearest changes of single rows that flip what is predicted."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        if not isinstance(request.answers.target, ClassTarget):
            return "needs a model that predicts one label a row"
        if request.background is None:
            return "needs the training rows that a bundle keeps (bundle.reference: rows)"
        if request.answers.ranges is None:
            return (
                "needs the ranges of the training rows, which danlu.json beside a file exported by danlu holds where "
                "its bundle keeps them"
            )
        return None

    def explain(self, request: ExplainRequest) -> Found:
        answers = request.answers
        ranges = answers.ranges
        assert ranges is not None and request.background is not None
        numbers = {name for name in answers.columns if request.frame[name].dtype.is_numeric()}
        if request.label is not None:
            choose_answers(answers.target, answers.outputs(request.frame[:1]), request.label)
        search = Search(
            answers,
            request.background.select(answers.columns),
            {name: places for name, places in ranges.items() if name in numbers},
            request.actionable or answers.columns,
            request.label,
        )
        warnings: Warnings = []
        each = ((row, search.find(request.frame[row : row + 1], row)) for row in request.rows)
        found = dict(gather(each, len(request.rows), "rows", warnings))
        without = [str(row) for row, one in found.items() if one is None]
        if without:
            named = name_first(without)
            warnings.append(("no-counterfactual", f"no change within the training rows' ranges flips row {named}"))
        return Found(counterfactuals=tuple(one for one in found.values() if one), warnings=tuple(warnings))


class TrustInShap:
    """Measure how far SHAP values of these rows can be trusted."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        return None if request.background is not None else "needs the training rows that a bundle keeps"

    def explain(self, request: ExplainRequest) -> Found:
        assert request.background is not None
        shap = ShapExplainer(request.background, request.seed, request.error, request.budget)
        found = measure_trust(request.answers, request.frame[list(request.rows)], shap, request.label)
        warnings: Warnings = []
        if not found.beats_dummies:
            warnings.append(
                ("not-told-apart", f"on these {found.rows} rows SHAP values are not told apart from dummy values")
            )
        return Found(trust=(found,), warnings=tuple(warnings))


class TracIn:
    """Name the training rows that taught single answers."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        return request.training if isinstance(request.training, str) else None

    def explain(self, request: ExplainRequest) -> Found:
        assert not isinstance(request.training, str)
        warnings: Warnings = []
        found = training_influences(request.training, list(request.rows))
        done = gather(found, len(request.rows), "rows", warnings)
        return Found(influence=tuple(done), warnings=tuple(warnings))
