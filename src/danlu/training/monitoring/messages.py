"""Alarm messages in English: key -> template, and `KEY.kind` -> heading. Imports nothing, so reports may import it.

Translations stand in `reporting/locales`.
"""

ALARM_MESSAGES: dict[str, str] = {
    "vanishing-gradient": "the gradient's norm has been below {bound:g} for {steps} steps: training has come to a "
    "stand; a higher learning rate, normalisation layers or other activations may help",
    "vanishing-gradient.kind": "vanishing gradient",
    "exploding-gradient": "the gradient's norm is {norm:.3g}, {times:,.0f} times its median of the steps before "
    "({usual:.3g}): a lower learning rate, a longer warm-up or training.clip_norm may help; a strange sample in the "
    "data may cause it",
    "exploding-gradient.kind": "exploding gradient",
    "dead-units": "{share:.0%} of the {units:,} units of {layer} answered 0 to every sample looked at in {validations} "
    "validations, so they learn nothing any more: a lower learning rate, a normalisation before them, or gelu in place "
    "of relu may help",
    "dead-units.kind": "dead units in {layer}",
}
