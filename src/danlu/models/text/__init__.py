"""Models of texts: transformers' architectures, sentence encoders, GGUF files, and losses over long vocabularies."""
