"""Conversations and preferences between answers: how they are tokenized and put into batches.

Whatever form a file has them in, a conversation is JSON text of messages (`role`, `content`) from `interpret` on.
"""
