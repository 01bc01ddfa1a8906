"""Names that other libraries give to what danlu has under another: the line to write in their place. No torch."""

import re

# torchvision's, albumentations' and Keras's augmentations: without signs, in lower case.
AUGMENTATIONS = {
    "flip": ("horizontalflip", "randomhorizontalflip", "hflip", "fliplr"),
    "flip: {horizontal: 0.0, vertical: 0.5}": ("verticalflip", "randomverticalflip", "vflip", "flipud"),
    "flip: {horizontal: 0.5, vertical: 0.5}": ("randomflip",),
    "rotate: 15": ("randomrotation", "randomrotate", "rotation", "saferotate"),
    "color: {brightness: 0.2, contrast: 0.2, saturation: 0.2}": ("colorjitter", "colourjitter", "jitter"),
    "color: {brightness: 0.2}": ("randombrightness", "brightness"),
    "color: {contrast: 0.2}": ("randomcontrast", "contrast"),
    "color: {brightness: 0.2, contrast: 0.2}": ("randombrightnesscontrast",),
    "random-crop: {scale: [0.5, 1.0]}": ("randomresizedcrop", "randomsizedcrop", "crop", "randomzoom"),
    "translate: 0.1": ("randomtranslation", "randomtranslate", "shift"),
    "scale: {factor: [0.8, 1.25]}": ("randomscale", "zoom"),
    "shear: 10": ("randomshear",),
    "blur": ("gaussianblur", "randomblur", "motionblur"),
    "erase": ("randomerasing", "cutout", "coarsedropout", "randomcutout"),
    "randaugment": ("autoaugment", "augmix"),
    "trivialaugment": ("trivialaugmentwide",),
}
# torchvision's and Keras's networks whose name in timm is another.
NETWORKS = {
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3large": "mobilenetv3_large_100",
    "mobilenetv3small": "mobilenetv3_small_100",
    "vitb16": "vit_base_patch16_224",
    "vitl16": "vit_large_patch16_224",
    "inceptionv3": "inception_v3",
    "xception": "legacy_xception",
}
FAMILIES = r"(resnet|resnext|wide_resnet|efficientnet|efficientnetv2|vit|deit|swin|convnext|densenet|vgg|regnet)"


def augmentation_line(name: str) -> str | None:
    """Return the line for an augmentation of another library; None if none is like it."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return next((line for line, names in AUGMENTATIONS.items() if plain in names), None)


def timm_name(name: str) -> str | None:
    """Return timm's name of an image network of torchvision or Keras; None for others."""
    plain = name.lower().replace("-", "_")
    if known := NETWORKS.get(plain.replace("_", "")):
        return known
    if re.fullmatch(rf"{FAMILIES}_?[a-z_]*\d\w*|{FAMILIES}_\w+", plain) is None:
        return None
    return re.sub(r"^(efficientnet)(b\d)$", r"\1_\2", re.sub(r"^(resnet|vgg|densenet)_(\d)", r"\1\2", plain))
