"""A language model as one GGUF file, llama.cpp's form: weights of a few bits, tokenizer and chat template."""
