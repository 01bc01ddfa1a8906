"""The names that public sets of conversations use: columns, roles, and switches of what is learned."""

MESSAGES, PROMPT, CHOSEN, REJECTED = "messages", "prompt", "chosen", "rejected"
PREFERENCE = (PROMPT, CHOSEN, REJECTED)
# Columns of whole conversations: OpenAI, ShareGPT, and others.
CONVERSATIONS = (MESSAGES, "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
# Columns of a question and its answer, with an optional one between them (Alpaca's `input`).
PAIRS = (
    ("prompt", None, "response"),
    ("prompt", None, "completion"),
    ("question", None, "answer"),
    ("question", None, "response"),
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
    ("query", None, "response"),
)
# Columns of a preference's question, where `prompt` is not one.
QUESTIONS = (("prompt", None), ("instruction", "input"), ("question", None), ("query", None))
SYSTEM = ("system", "system_prompt")
HISTORY, TOOLS, FUNCTIONS, DOCUMENTS, TEMPLATE_OPTIONS = (
    "history",
    "tools",
    "functions",
    "documents",
    "chat_template_kwargs",
)
LEARNED_BY_PLACE = "loss_mask"  # a column: for each message, 1 if it is learned
BESIDE = (*SYSTEM, HISTORY, TOOLS, FUNCTIONS, DOCUMENTS, TEMPLATE_OPTIONS, LEARNED_BY_PLACE)
JUDGEMENTS = ("label", "labels", "kto_tag")  # of one answer each (KTO), or of its steps
MEDIA = ("image", "images", "video", "videos", "audio", "audios")

ROLES = ("system", "developer", "user", "assistant", "tool")
# Other names of the roles, in ShareGPT's files and similar ones.
ALSO_CALLED = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "bot", "model", "chatgpt", "chatbot", "ai"), "assistant"),
    **dict.fromkeys(("observation", "function", "tool_response", "ipython"), "tool"),
}
SPEAKERS, CONTENTS = ("role", "from"), ("content", "value", "text", "parts")  # keys of a message
CALLS = ("function_call", "tool_call")  # roles of an assistant's message that is JSON of its calls

# Keys of a message that say whether it is learned: by 1 or true, or by 0 or false.
LEARNED_IF = ("weight", "train", "training", "trainable", "loss", "loss_mask", "loss_weight", "loss_scale", "learn")
SILENT_IF = ("masked", "ignore")
UNSUPPORTED = ("mask", "train_detail", "training_detail", "token_mask")

PAGE = "docs/formats.md#conversations"
KNOWN_FORMS = (
    "messages (role, content), conversations (from, value), prompt and response or completion, question and answer, "
    f"instruction and output, or chosen and rejected; {PAGE} shows each"
)
NAMES = frozenset(
    [*CONVERSATIONS, *PREFERENCE, *BESIDE, *(name for pair in PAIRS for name in pair if name is not None)]
)
