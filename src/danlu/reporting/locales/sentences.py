"""The sentences of the report, in English and in Chinese: what was predicted, how well, and what that is worth."""

MEASURED_OTHERWISE = (
    "The two are not measured alike: training loss is of the weights as they were during each step, and with dropout, "
    "augmentation, weights of classes and label smoothing where the recipe has them.",
    "两者的量法并不相同：训练损失是每一步当时的权重的，并且带有配方里的 dropout、数据增强、类别权重和标签平滑。",
)
FEWER_LEAVES = (
    "What helps: more data, fewer model.leaves, less model.depth, more model.leaf_rows or model.l2",
    "可以试试：更多数据、更小的 model.leaves 和 model.depth、更大的 model.leaf_rows 或 model.l2",
)
LESS_BY_HEART = (
    "What helps: more data, data.augment, more model.dropout, a higher training.optimizer.weight_decay, "
    "training.label_smoothing, training.average: ema, or a smaller model",
    "可以试试：更多数据、data.augment、更大的 model.dropout、更高的 training.optimizer.weight_decay、"
    "training.label_smoothing、training.average: ema，或更小的模型",
)

SENTENCES: dict[str, tuple[str, str]] = {
    "between": (", ", "、"),
    "after a sentence": (" ", ""),
    "between clauses": ("; ", "；"),
    "quoted": ("“{what}”", "“{what}”"),
    "range": ("{low} to {high}", "{low} 到 {high}"),
    "interval": ("{confidence} interval {low} to {high}", "{confidence} 区间 {low} 到 {high}"),
    "noun.row": ("row|rows", "行"),
    "noun.image": ("image|images", "张图像"),
    "noun.text": ("text|texts", "段文本"),
    "noun.document": ("document|documents", "篇文档"),
    "noun.conversation": ("conversation|conversations", "段对话"),
    "noun.pair": ("pair|pairs", "对答案"),
    "noun.sample": ("sample|samples", "个样本"),
    "noun.column": ("column|columns", "列"),
    "noun.class": ("class|classes", "个类别"),
    "noun.label": ("label|labels", "个标签"),
    "noun.tag": ("tag of words|tags of words", "个词的标注"),
    "noun.sentence": ("sentence|sentences", "个句子"),
    "noun.wrong answer": ("wrong answer|wrong answers", "个错误回答"),
    "noun.time": ("time|times", "次"),
    "split.train": ("train", "训练"),
    "split.validation": ("validation", "验证"),
    "split.test": ("test", "测试"),
    "predicted.preference": (
        "The model learned which of two answers to a prompt is preferred.",
        "模型学习同一提示的两个答案中哪个更受偏好。",
    ),
    "predicted.chat": (
        "The model predicts the next token of what the assistant says.",
        "模型预测助手所说的话的下一个词元。",
    ),
    "predicted.text": ("The model predicts the next token of a text.", "模型预测文本的下一个词元。"),
    "predicted.target": (
        "The model predicts “{name}” ({what}) from {given}.",
        "模型根据 {given} 预测“{name}”（{what}）。",
    ),
    "a number": ("a number", "一个数"),
    "images": ("images", "图像"),
    "texts": ("texts", "文本"),
    "parts": (
        "Of {rows} it learned from {train}; {validation} chose which weights were kept; {test} were held back for the "
        "test.",
        "共 {rows}：{train} 用于学习，{validation} 用于选择保留哪些权重，{test} 留作测试。",
    ),
    "parts.refit": (
        "Of {rows} it learned from {train}; {test} were held back for the test. How long it learned was found by "
        "cross-validation.",
        "共 {rows}：{train} 用于学习，{test} 留作测试。训练多久由交叉验证决定。",
    ),
    "not evaluated": (
        "The model has not been evaluated yet: `danlu evaluate` does it.",
        "模型还没有评估：请运行 `danlu evaluate`。",
    ),
    "no baseline": (
        "There is no baseline to compare it with, so this figure alone does not say whether it is good.",
        "没有基线可比，所以单凭这个数字说不出它好不好。",
    ),
    "undefined": ("Its {metric} is undefined on the test split.", "它的 {metric} 在测试集上没有定义。"),
    "achieved": ("On the test split its {metric} is {value}{interval}", "在测试集上它的 {metric} 是 {value}{interval}"),
    "in brackets": (" ({what})", "（{what}）"),
    "full stop": (".", "。"),
    "answered rightly": (": {right} of {samples} answered rightly.", "：{samples}中答对 {right}。"),
    "standing.ahead of": ("ahead of", "优于"),
    "standing.level with": ("level with", "持平于"),
    "standing.behind": ("behind", "不如"),
    "verdict.level": ("{meaning}: both have {metric} {value}.", "{meaning}：两者的 {metric} 都是 {value}。"),
    "verdict": (
        "{meaning}: {metric} {model} against {other}, {gap}{sure}{chance}.",
        "{meaning}：{metric} {model} 对 {other}，{gap}{sure}{chance}。",
    ),
    "verdict.sure": (
        "; the paired difference has {interval}",
        "；配对之差的 {interval}",
    ),
    "may be chance": ("; so small a difference may be chance", "；这样小的差别可能只是偶然"),
    "gap.below": ("{share} below the baseline's", "比基线低 {share}"),
    "gap.above": ("{share} above the baseline's", "比基线高 {share}"),
    "gap.better": ("better by {gap}", "好 {gap}"),
    "gap.worse": ("worse by {gap}", "差 {gap}"),
    "gap.samples": (
        ", which is {count} of {samples} test samples",
        "，即 {samples} 个测试样本中的 {count} 个",
    ),
    "advice.chance": (
        "The model is {standing} {baseline} by so little that it may be chance: the simpler model does about as well.",
        "模型只略{standing} {baseline}，可能只是偶然：更简单的模型差不多一样好。",
    ),
    "advice.trivial": (
        "The model is {standing} {baseline}, which never looks at the input: it has learned nothing that is of use on "
        "the test split.",
        "模型{standing} {baseline}，而后者从不看输入：在测试集上，它没有学到任何有用的东西。",
    ),
    "advice.simpler": (
        "The model is {standing} {baseline} on the test split: the simpler model should be preferred unless there is "
        "another reason for this one.",
        "在测试集上模型{standing} {baseline}：除非另有理由，应当选用更简单的模型。",
    ),
    "worth.yes": (
        "It earns its cost: it is ahead of every baseline by more than chance explains.",
        "它物有所值：它胜过每个基线，而且差距不能用偶然解释。",
    ),
    "worth.no": (
        "It does not clearly earn its cost: {baselines} may do as well or better.",
        "它未必物有所值：{baselines} 可能一样好或者更好。",
    ),
    "caution.size": ("The test split has {samples}.", "测试集有 {samples}。"),
    "caution.one": (
        "One more or one fewer answered rightly moves accuracy by {share}.",
        "多答对或少答对一个，准确率就变动 {share}。",
    ),
    "caution.few": (
        "With so few, another split of the same data may give quite other figures.",
        "这样少的样本，把同样的数据换一种分法，数字可能很不一样。",
    ),
    "confusions.none": (
        "No sample of the test split was taken for another class.",
        "测试集中没有样本被认作别的类别。",
    ),
    "confusions": ("Most often confused: {pairs}.", "最常混淆的：{pairs}。"),
    "confusion": ("“{truth}” taken for “{answer}” ({times})", "“{truth}”被认作“{answer}”（{times}）"),
    "kept": (
        "The weights of step {step} were kept, where validation {metric} was best ({value}).",
        "保留的是第 {step} 步的权重，那时验证集的 {metric} 最好（{value}）。",
    ),
    "kept.none": ("Nothing was validated during training.", "训练期间没有做过验证。"),
    "learned.step": ("At step {number}", "第 {number} 步"),
    "learned.round": ("At round {number}", "第 {number} 轮"),
    "learned.gap": (
        "{when}, where validation loss was least, it was {validation}, and training loss {training}: a gap of {gap}.",
        "{when}验证损失最小，为 {validation}，训练损失为 {training}：相差 {gap}。",
    ),
    "learned.no gap": (
        "{when}, where validation loss was least, it was {validation}, and training loss {training}, so there "
        "was no gap.",
        "{when}验证损失最小，为 {validation}，训练损失为 {training}，所以没有差距。",
    ),
    "learned.measured": MEASURED_OTHERWISE,
    "sign.overfitting": (
        "Validation loss rose from there to {last} while training loss went on falling to {fell}: the model began to "
        f"learn its training samples by heart (overfitting). {LESS_BY_HEART[0]}; training.early_stopping saves the "
        "steps that were of no use.",
        "此后验证损失升到 {last}，而训练损失继续降到 {fell}：模型开始死记训练样本（过拟合）。"
        f"{LESS_BY_HEART[1]}；training.early_stopping 可以省下无用的步数。",
    ),
    "sign.underfitting": (
        "Both losses are near that of an answer that never looks at the input: the model has learned hardly anything "
        "(underfitting). What helps: a higher training.optimizer.lr, more epochs, a larger model, less dropout and "
        "weight decay, or inputs that tell more.",
        "两个损失都接近从不看输入的答案：模型几乎什么也没学到（欠拟合）。可以试试：更高的 training.optimizer.lr、"
        "更多轮数、更大的模型、更小的 dropout 和权重衰减，或者更有信息的输入。",
    ),
    "sign.unfinished": (
        "Validation loss was still falling when training ended: the model had not learned all it can. More "
        "training.epochs, or a higher training.optimizer.lr, would probably improve it.",
        "训练结束时验证损失还在下降：模型还没学到头。增加 training.epochs 或提高 training.optimizer.lr 多半会更好。",
    ),
    "sign.wide gap": (
        "Training loss lies far below validation loss, though the latter did not rise: the model knows its training "
        f"samples much better than others. {LESS_BY_HEART[0]}.",
        f"训练损失远低于验证损失，虽然后者没有上升：模型对训练样本比对其他样本熟悉得多。{LESS_BY_HEART[1]}。",
    ),
    "grown.overfitting": (
        "Validation loss rose from there to {last} while training loss went on falling to {fell}: later rounds learned "
        f"training samples by heart (overfitting), and are not kept. {FEWER_LEAVES[0]}.",
        "此后验证损失升到 {last}，而训练损失继续降到 {fell}：后面的轮次死记了训练样本（过拟合），没有保留。"
        f"{FEWER_LEAVES[1]}。",
    ),
    "grown.underfitting": (
        "Both losses are near that of an answer that never looks at the input: the model has learned hardly anything "
        "(underfitting). What helps: inputs that tell more, more rounds, or fewer model.leaf_rows.",
        "两个损失都接近从不看输入的答案：模型几乎什么也没学到（欠拟合）。可以试试：更有信息的输入、更多轮次，"
        "或更小的 model.leaf_rows。",
    ),
    "grown.unfinished": (
        "Validation loss was still falling when growing ended: more rounds, or a higher model.learning_rate, would "
        "probably improve it.",
        "生长结束时验证损失还在下降：增加轮次或提高 model.learning_rate 多半会更好。",
    ),
    "grown.wide gap": (
        "Training loss lies far below validation loss, though the latter did not rise: the model knows its training "
        f"samples much better than others. {FEWER_LEAVES[0]}.",
        f"训练损失远低于验证损失，虽然后者没有上升：模型对训练样本比对其他样本熟悉得多。{FEWER_LEAVES[1]}。",
    ),
    "sign.fine": (
        "The curves show neither learning by heart nor an end that came too early.",
        "曲线既不显示死记硬背，也不显示结束得太早。",
    ),
    "throughput": (
        "Training took {duration} without validation, at {rate} samples a second{tokens}{memory}{share}.",
        "训练（不含验证）用时 {duration}，每秒 {rate} 个样本{tokens}{memory}{share}。",
    ),
    "throughput.tokens": (" ({rate} tokens)", "（{rate} 个词元）"),
    "throughput.memory": ("; {size} GB of memory at its peak", "；内存峰值 {size} GB"),
    "throughput.share": (
        "; {share} of what the card could compute",
        "；达到显卡算力的 {share}",
    ),
    "spread": ("{low} to {high}, median {middle}", "{low} 到 {high}，中位数 {middle}"),
    "spread.characters": ("{spread} characters", "{spread} 个字符"),
    "slices.none": (
        "By {metric}, none of the {count} parts of the test split that were looked at is answered clearly worse than "
        "the rest.",
        "按 {metric}，在看过的 {count} 个部分中，没有哪个明显答得比其余的差。",
    ),
    "slices.worse": (
        "By {metric}, {worse} of the {count} parts of the test split that were looked at are answered worse than the "
        "rest, the worst of them: {slice} ({value} against {rest}).",
        "按 {metric}，看过的 {count} 个部分中有 {worse} 个答得比其余的差，其中最差的是：{slice}（{value} 对 {rest}）。",
    ),
    "slice.missing": ("{column} is missing", "{column} 缺失"),
    "slice.range": ("{of} {low} to {high}", "{of} {low} 到 {high}"),
    "slice.length": ("length of {column} {low} to {high}", "{column} 的长度 {low} 到 {high}"),
    "slice.brightness": ("brightness of {column} {low} to {high}", "{column} 的亮度 {low} 到 {high}"),
    "looks.once": (
        "The test split was judged once, which is as it should be.",
        "测试集只评判过一次，理应如此。",
    ),
    "looks.several": (
        "The test split was judged {count} times. Whoever chooses by what it says makes its figures flatter the model.",
        "测试集已评判过 {count} 次。谁若按它的结果做选择，它的数字就会偏袒模型。",
    ),
}
