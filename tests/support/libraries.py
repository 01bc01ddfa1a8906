"""Import the libraries of images and texts as danlu does, for forks of a process that has done so."""

from danlu.core.imports import patch_torchvision, silence_libraries

with silence_libraries():
    patch_torchvision()
    import timm  # noqa: F401
    import transformers.models.bert.modeling_bert
    import transformers.models.llama.modeling_llama  # noqa: F401
