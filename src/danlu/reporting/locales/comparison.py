"""The words of the page that compares runs, in English and in Chinese."""

COMPARISON: dict[str, tuple[str, str]] = {
    "compare.title": ("danlu compare - {runs}", "danlu 比较 - {runs}"),
    "compare.opening": (
        "{count} runs, tested on the same {rows}. Differences are from {first}, with paired {confidence} intervals.",
        "{count} 次运行，在同样的 {rows}上测试。差值以 {first} 为准，带配对的 {confidence} 区间。",
    ),
    "compare.better": (
        "{run} is better than {first} by {metric}: {difference} ({interval}), which chance hardly explains.",
        "按 {metric}，{run} 好于 {first}：{difference}（{interval}），不像偶然。",
    ),
    "compare.worse": (
        "{run} is worse than {first} by {metric}: {difference} ({interval}), which chance hardly explains.",
        "按 {metric}，{run} 差于 {first}：{difference}（{interval}），不像偶然。",
    ),
    "compare.unclear": (
        "{run} and {first} are not told apart by {metric}: {difference} ({interval}).",
        "按 {metric} 分不出 {run} 和 {first} 的高下：{difference}（{interval}）。",
    ),
    "compare.unknown": (
        "{run} and {first}: too few test samples for an interval of their difference by {metric}.",
        "{run} 和 {first}：测试样本太少，给不出 {metric} 之差的区间。",
    ),
    "compare.mcnemar": (
        "{run} alone is right on {first_alone} rows, {against} alone on {second_alone} (McNemar's test: p = {p}).",
        "只有 {run} 答对的有 {first_alone} 行，只有 {against} 答对的有 {second_alone} 行（McNemar 检验：p = {p}）。",
    ),
    "compare.caption": ("Metrics of every run, test split", "各次运行的指标，测试集"),
    "compare.less": ("{run} less {first}", "{run} 减 {first}"),
    "compare.curves": ("Training curves", "训练曲线"),
    "compare.roc": ("ROC of {label}", "{label} 的 ROC 曲线"),
    "compare.recipes": ("What differs in the recipes", "配方的不同"),
    "compare.same": ("The recipes are the same.", "配方相同。"),
    "compare.key": ("Key", "键"),
}
