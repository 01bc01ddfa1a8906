"""What each metric and each baseline means, in both languages. The English is that of evaluation.metrics."""

from danlu.evaluation.metrics.table import METRICS

BY_SIZE, EVERY, POSITIVE = "；各类别按大小加权", "；每个样本同等计", "；两类中的第二类"
RIGHT, FOUND, BOTH = "对某类别的回答中正确的比例", "某类别中被找到的比例", "精确率与召回率的调和平均"
CHINESE: dict[str, str] = {
    "accuracy": "回答正确的比例",
    "balanced-accuracy": "各类别召回率的平均",
    "precision": RIGHT,
    "recall": FOUND,
    "f1": BOTH,
    "f0.5": "同 f1，精确率的分量是召回率的两倍",
    "f2": "同 f1，召回率的分量是精确率的两倍",
    "mcc": "回答与真实之间的马修斯相关系数，-1 到 1",
    "kappa": "Cohen κ：超出偶然的一致程度",
    "auroc": "某类别的样本排在其他样本之前的概率",
    "auroc-weighted": f"同 auroc{BY_SIZE}",
    "auroc-ovo": "同 auroc；类别两两比较（Hand 与 Till 2001）",
    "auroc-ovo-weighted": "同 auroc-ovo；每对类别按大小加权",
    "average-precision": "精确率-召回率曲线下的面积",
    "average-precision-weighted": f"同 average-precision{BY_SIZE}",
    "log-loss": "所给概率的代价，单位 nat",
    "brier": "概率与真实之间的均方距离",
    "calibration-error": "置信度与正确比例相差多少，分 15 组",
    "top-3-accuracy": "真实类别在最可能的三个之内的比例",
    "top-5-accuracy": "真实类别在最可能的五个之内的比例",
    "rmse": "均方误差的平方根，单位与目标相同",
    "mae": "平均绝对误差，单位与目标相同",
    "median-absolute-error": "一半的误差比它小",
    "r2": "所解释的方差的比例",
    "explained-variance": "同 r2，不计恒定的误差",
    "mape": "平均误差占真实值的比例；真实值接近 0 时无用",
    "quantile-loss-0.1": "0.1 分位数的 pinball 损失",
    "quantile-loss-0.5": "0.5 分位数的 pinball 损失",
    "quantile-loss-0.9": "0.9 分位数的 pinball 损失",
    "max-error": "最大的误差",
    "perplexity": "困惑度：相当于在这么多个词元中选择",
    "bits-per-byte": "写下一字节文本所需的比特数，与分词器无关",
    "token-accuracy": "猜对的下一个词元的比例",
    "subset-accuracy": "所有标签都正确的样本的比例",
    "hamming-loss": "错误标签的比例",
    "label-f1": "各标签 F1 的平均",
    "label-f1-micro": "所有标签合在一起的 F1",
    "label-precision": "各标签精确率的平均",
    "label-recall": "各标签召回率的平均",
    "label-auroc": "出现过的标签的 ROC 曲线下面积的平均",
    "mean-average-precision": "出现过的标签的平均精度的平均",
    "label-ranking-precision": "排得同样靠前的标签中真实标签的比例",
    "exact-match": "与所求完全一致的文本的比例",
    "rouge-1": "共有词的 F 值",
    "rouge-2": "共有的相邻词对的 F 值",
    "tag-accuracy": "标注正确的词所占的比例",
    "tag-f1": "出现过的各标注的 F1 的平均",
    "entity-f1": "实体的 F1：词与类型都相同才算对（同 seqeval）",
    "entity-precision": "给出的实体中正确的比例",
    "entity-recall": "找到的实体所占的比例",
    "rouge-l": "顺序相同的最长词序列的 F 值",
    "bleu": "sacrebleu 的 BLEU，0 到 100",
    "chrf": "sacrebleu 的 chrF，0 到 100",
    "preference-accuracy": "模型变得更偏向被选答案的比例",
    "reward-margin": "与最初的模型相比，被选答案比被拒答案多得的概率对数，乘以 beta",
    "preference-loss": "偏好的代价，单位 nat；没有改变的模型为 0.693",
}
AVERAGES = {"-micro": EVERY, "-weighted": BY_SIZE, "-positive": POSITIVE}


def _chinese(name: str) -> str:
    """Return a metric's meaning; an average's is composed."""
    for ending, told in AVERAGES.items():
        if name not in CHINESE and name.endswith(ending):
            return CHINESE[name.removesuffix(ending)] + told
    return CHINESE.get(name, METRICS[name].description)  # a page in two languages is better than none


METRIC_MEANINGS: dict[str, tuple[str, str]] = {
    **{f"metric.{name}": (metric.description, _chinese(name)) for name, metric in METRICS.items()},
    "baseline.majority": ("always the most frequent class", "总是最常见的类别"),
    "baseline.mean": ("always the training mean", "总是训练集的平均值"),
    "baseline.unigram": ("tokens by how frequent they are", "按词元出现的频率"),
    "baseline.bigram": ("tokens by how frequent they are after the one before", "按词元在前一个词元之后出现的频率"),
    "baseline.frequency": ("each label as often as it occurs", "每个标签按它出现的频率"),
    "baseline.word": ("the most frequent tag of each word", "每个词最常见的标注"),
    "baseline.logistic-regression": ("a linear model", "线性模型，看到的输入相同"),
    "baseline.ridge": ("a linear model", "线性模型，看到的输入相同"),
    "baseline.gradient-boosting": ("boosted trees", "梯度提升树，看到的列相同"),
}
