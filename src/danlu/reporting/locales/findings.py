"""What a run wrote down of its data and its training, in both languages. The English is where it was found.

In: the templates of `data.audit.sentences` and `training.sentences`. Out: `finding.KEY` and `alarm.KEY` -> both.
"""

from danlu.data.audit.messages import FINDINGS
from danlu.training.monitoring.messages import ALARM_MESSAGES

MEASURES = {"classification": "平衡准确率", "multi-label": "对其中一个标签的平衡准确率", "regression": "秩相关"}
KNOWN = {"used": "在知道答案之前会知道它吗？", "unused": "模型没有用它"}
OTHER_DATA = "这些数字所说的数据与模型学习的不是一回事"
COLLECTED = "看看这些行是怎样收集的；比较哪些行由 data.split.by 决定"
COMPARED = "与训练集中的某一个几乎相同"

FINDINGS_IN_CHINESE: dict[str, str] = {
    "between": "、",
    "more": "等（还有 {count} 个）",
    "broken-images": "{looked_at:,} 张图像中有 {broken:,} 张读不出来；第一张：{first}",
    "broken-images.subject": "损坏的图像",
    "repeated-rows": "{of:,} 行{split}数据中有 {rows:,} 行也在训练集里；数字因此同样程度地偏袒模型",
    "repeated-rows.subject": "重复",
    "repeated-within": "{of:,} 行训练数据中有 {rows:,} 行与前面的某行重复",
    "repeated-within.subject": "重复",
    "contradictions": "{of:,} 行中有 {rows:,} 行与另一行输入相同而 {target!r} 不同；没有模型能全部答对",
    "contradictions.subject": "自相矛盾",
    "contradictions.cure": "请看一看；也许缺了一个能区分它们的列",
    "near-images": f"比较过的 {{compared:,}} 张{{split}}图像中有 {{rows:,}} 张{COMPARED}：{{shown}}",
    "near-images.subject": "近似重复",
    "near-texts": f"比较过的 {{compared:,}} 段{{split}}文本中有 {{rows:,}} 段{COMPARED}：{{shown}}",
    "near-texts.subject": "近似重复",
    "drifting-columns": f"有 {{count}} 列的分布与训练集不同：{{columns}}；{OTHER_DATA}",
    "drifting-columns.columns": "{column}（{split}，{distance:.2f}）",
    "drifting-columns.subject": "分布漂移",
    "drifting-columns.cure": COLLECTED,
    "told-apart": "一个分类器能把测试行与训练行分开（AUROC {auroc:.3f} ± {deviation:.3f}，随机为 0.5）；" + OTHER_DATA,
    "told-apart.subject": "分布漂移",
    "told-apart.cure": COLLECTED,
    "absent-classes": "{split}集里没有 {shown}；没有的类别就量不出来",
    "skewed-classes": "训练集里 {large} 有 {most:,} 个样本，{small} 有 {fewest:,} 个；准确率看不出少见的类别答得如何",
    "doubtful-labels": "{of:,} 行训练数据中有 {count:,} 行的标签在一个简单模型看来很不可能：{rows}",
    "doubtful-labels.rows": "第 {number} 行（{label}，还是 {likely}？）",
    "doubtful-labels.cure": "请看一看；错的标签比缺的标签代价更大",
    **{
        f"telling-column.{task}.{use}": f"单凭它就能说出 {{target!r}}（{measure} {{strength:.1%}}）；{known}"
        for task, measure in MEASURES.items()
        for use, known in KNOWN.items()
    },
    "torn-groups": "{share:.0%} 的测试行与某个训练行的 {column!r} 相同；如果模型将遇到新的，这些数字就偏袒模型",
    "dates-at-random": "各行有日期，而划分把它们混在一起；如果模型要回答以后的数据，就该那样测试",
    "mostly-missing": "在 {missing:.0%} 的行里缺失",
    "constant": "在每一行都相同，所以什么也说明不了；已略去",
    "nearly-constant": "在 {share:.1%} 的行里相同",
    "spellings": "有些值只差大小写和空白：{shown}",
    "many-values": "有 {values:,} 种值，每种只有几行",
    "numbers-as-words": "{columns} 里的数字写成了文字；按数字读取",
    "numbers-as-words.subject": "写成文字的数字",
    "infinite": "在 {infinite:,} 行里是无穷大，按缺失处理",
    "skewed": "偏斜很大（{skew:.0f}）；少数几个值压过了其余所有的值",
}
ALARMS_IN_CHINESE: dict[str, str] = {
    "vanishing-gradient": "梯度的范数已有 {steps} 步低于 {bound:g}：训练停滞了；"
    "可以试试更高的学习率、归一化层或别的激活函数",
    "vanishing-gradient.kind": "梯度消失",
    "exploding-gradient": "梯度的范数是 {norm:.3g}，为此前各步中位数（{usual:.3g}）的 {times:,.0f} 倍："
    "可以试试更低的学习率、更长的预热或 training.clip_norm；也可能是数据里有奇怪的样本",
    "exploding-gradient.kind": "梯度爆炸",
    "dead-units": "{layer} 的 {units:,} 个单元中有 {share:.0%} 在 {validations} 次验证里对看过的每个样本都回答 0，"
    "因此不再学习：可以试试更低的学习率、在它们前面加归一化，或用 gelu 代替 relu",
    "dead-units.kind": "{layer} 中死去的单元",
}

WRITTEN_DOWN: dict[str, tuple[str, str]] = {
    **{f"finding.{key}": (said, FINDINGS_IN_CHINESE[key]) for key, said in FINDINGS.items()},
    **{f"alarm.{key}": (said, ALARMS_IN_CHINESE[key]) for key, said in ALARM_MESSAGES.items()},
}
