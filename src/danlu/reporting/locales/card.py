"""The words of MODEL_CARD.md, in English and in Chinese."""

CARD: dict[str, tuple[str, str]] = {
    "card.title": ("Model card: {name}", "模型卡：{name}"),
    "card.made": (
        "Written by danlu from the files of the run `{run}`. What stands between the two marks is yours: it is kept "
        "when the card is written again.",
        "由 danlu 根据运行 `{run}` 的文件写成。两个标记之间的内容归您所有：再次写卡时会保留。",
    ),
    "card.use": ("Intended use", "用途"),
    "card.fill": (
        "**To be filled in by whoever gives this model away.** danlu cannot know it: who is to use the model, for "
        "what, for what it must not be used, whom a wrong answer harms, and who answers for it.",
        "**请由发布者填写。** danlu 无从得知：谁使用、用于何处、不得用于何处、答错了伤害谁、由谁负责。",
    ),
    "card.model": ("Model", "模型"),
    "card.architecture": ("Architecture", "结构"),
    "card.name": ("Name", "名称"),
    "card.answers": ("Answers", "回答"),
    "card.takes": ("Takes", "输入"),
    "card.split": ("{split}, with {confidence} intervals", "{split}，带 {confidence} 区间"),
    "card.interval": ("Interval", "区间"),
    "card.limits": ("Limits", "局限"),
    "card.limit.data": (
        "The figures hold for data like the test split. Of data from elsewhere or later they say nothing.",
        "这些数字只适用于与测试集同类的数据。对于别处或以后的数据，它们什么也没说。",
    ),
    "card.limit.use": (
        "Nothing here has judged fairness between people, safety, or the use that is made of the answers.",
        "这里没有评判过对人的公平、安全，也没有评判过答案的用法。",
    ),
    "card.findings": ("What the audit of the data found", "数据检查的发现"),
    "card.slices.caption": (
        "The worst {shown} of {count} parts of the test split",
        "测试集 {count} 个部分中最差的 {shown} 个",
    ),
}
