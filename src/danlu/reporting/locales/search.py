"""Words about a search over recipes, in English and in Chinese."""

SEARCH: dict[str, tuple[str, str]] = {
    "search": ("Search", "搜索"),
    "noun.trial": ("trial|trials", "次试验"),
    "noun.key": ("key|keys", "个键"),
    "search.told": (
        "{trials} of {keys} by the sampler {sampler}, judged by {metric} ({direction}). Best is trial {best} with "
        "{value}; half of those that ended are no better than {median}.",
        "用采样器 {sampler} 对 {keys} 做了 {trials}，按 {metric} 评判（{direction}）。"
        "最好的是第 {best} 次，为 {value}；"
        "完成的试验有一半不好于 {median}。",
    ),
    "search.failed": ("{trials} failed.", "{trials}失败。"),
    "search.caution": (
        "The validation split chose among all of these, so its figures flatter the model the more, the more trials "
        "there were. No trial has seen the test split.",
        "验证集在所有这些试验中做了选择；试验越多，它的数字就越偏袒模型。没有任何一次试验见过测试集。",
    ),
    "search.edge": (
        "The best value of {name} lies at an end of what was searched; where the key allows more, a wider range may "
        "hold a better one.",
        "{name} 的最佳值在搜索范围的边缘；如果这个键还允许更大的范围，那里也许有更好的值。",
    ),
    "search.progress": ("How it went", "过程"),
    "search.best": ("The best trials", "最好的试验"),
    "search.caption": ("Trials, the best first", "试验，最好的在前"),
    "search.keys": ("Each key", "各个键"),
    "search.keys.explained": (
        "A dot is a trial; the best has a ring. The other keys differ from dot to dot, so a trend here is a hint and "
        "no proof.",
        "每个点是一次试验，最好的带圈。各点的其他键也不同，所以这里的趋势只是提示，不是证明。",
    ),
    "search.values": ("Values", "取值"),
    "search.failures": ("What failed", "失败的试验"),
    "trial": ("Trial", "试验"),
    "seconds": ("Seconds", "秒"),
    "reason": ("Reason", "原因"),
    "axis.trial": ("trial", "试验"),
    "legend.trial": ("a trial", "一次试验"),
    "legend.failed": ("failed", "失败"),
    "legend.best so far": ("best so far", "目前最好"),
    "label.search": (
        "{metric} by trial, {count} of them: the best so far goes from {first} to {last}",
        "{metric} 随试验的变化，共 {count} 次：目前最好从 {first} 到 {last}",
    ),
    "label.searched": (
        "{metric} of {count} trials by {name}; best at {best}",
        "{count} 次试验的 {metric} 随 {name} 的变化；最好在 {best}",
    ),
}
