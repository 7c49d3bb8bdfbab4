"""torchvision's architectures, with fewer layers or channels where they come large."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from benchmarks.derivatives.case import CLASSES, Case
from benchmarks.derivatives.lazily import models, torchvision
from benchmarks.derivatives.norms import BATCH


def resnet18(**options: Any) -> nn.Module:
    model: nn.Module = models.resnet18(num_classes=CLASSES, **options)
    return model


def resnet(block: str = "BasicBlock", **options: Any) -> nn.Module:
    """Return a ResNet of four blocks."""
    kind = getattr(models.resnet, block)
    model: nn.Module = models.ResNet(kind, [1, 1, 1, 1], num_classes=CLASSES, **options)
    return model


def densenet() -> nn.Module:
    model: nn.Module = models.DenseNet(8, (2, 2, 2, 2), 16, num_classes=CLASSES)
    return model


def mobilenet_v3() -> nn.Module:
    def block(*settings: Any) -> Any:
        return models.mobilenetv3.InvertedResidualConfig(*settings, dilation=1, width_mult=1.0)

    blocks = [
        block(16, 3, 16, 16, True, "RE", 2),
        block(16, 3, 32, 24, False, "RE", 2),
        block(24, 5, 48, 24, True, "HS", 1),
    ]
    model: nn.Module = models.MobileNetV3(blocks, 64, num_classes=CLASSES)
    return model


def efficientnet() -> nn.Module:
    config = models.efficientnet.MBConvConfig
    blocks = [config(1, 3, 1, 32, 16, 1, 1.0, 1.0), config(4, 5, 2, 16, 24, 2, 1.0, 1.0)]
    model: nn.Module = models.EfficientNet(blocks, 0.2, num_classes=CLASSES)
    return model


def shufflenet() -> nn.Module:
    model: nn.Module = models.ShuffleNetV2([1, 2, 1], [24, 32, 64, 128, 128], num_classes=CLASSES)
    return model


def regnet() -> nn.Module:
    blocks = models.regnet.BlockParams(
        [1, 1, 1], [16, 32, 48], [8, 8, 8], [1.0, 1.0, 1.0], [2, 2, 2], se_ratio=0.25
    )
    model: nn.Module = models.RegNet(blocks, num_classes=CLASSES, stem_width=16)
    return model


def vgg(*, batch_norm: bool) -> nn.Module:
    features = models.vgg.make_layers([16, "M", 32, "M", 32, 32, "M"], batch_norm=batch_norm)
    return nn.Sequential(
        features, nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, CLASSES)
    )


def alexnet() -> nn.Module:
    model: nn.Module = models.AlexNet(num_classes=CLASSES)
    classifier = nn.Sequential(nn.Dropout(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), classifier
    return model


def convnext() -> nn.Module:
    setting = models.convnext.CNBlockConfig
    model: nn.Module = models.ConvNeXt(
        [setting(16, 32, 1), setting(32, 64, 1), setting(64, None, 1)], num_classes=CLASSES
    )
    return model


def swin(**options: Any) -> nn.Module:
    model: nn.Module = models.SwinTransformer(
        [2, 2], 16, [2, 2], [2, 4], [4, 4], num_classes=CLASSES, **options
    )
    return model


def swin_v2() -> nn.Module:
    parts = models.swin_transformer
    model: nn.Module = swin(block=parts.SwinTransformerBlockV2, downsample_layer=parts.PatchMergingV2)
    return model


def vit() -> nn.Module:
    model: nn.Module = models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=CLASSES)
    return model


def maxvit() -> nn.Module:
    model: nn.Module = models.MaxVit((32, 32), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=CLASSES)
    return model


def frozen_backbone() -> nn.Module:
    model = resnet(norm_layer=torchvision.ops.FrozenBatchNorm2d)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("layer4", "fc")))
    return model


def segmentation() -> nn.Module:
    """Return a segmentation network, whose output is a dictionary of maps."""
    backbone = models.segmentation.fcn.IntermediateLayerGetter(resnet(), {"layer1": "out"})
    model: nn.Module = models.segmentation.FCN(backbone, models.segmentation.fcn.FCNHead(64, CLASSES))
    return model


_IMAGES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ResNet-18, group norm": (partial(resnet18, norm_layer=partial(nn.GroupNorm, 8)), 32),
    "ResNet-18, frozen batch norm": (lambda: resnet18(norm_layer=torchvision.ops.FrozenBatchNorm2d), 32),
    "ResNet, batch norm, evaluation": (resnet, 32),
    "ResNet, all layers frozen but the last": (frozen_backbone, 32),
    "ResNeXt": (partial(resnet, "Bottleneck", groups=4, width_per_group=8), 32),
    "Wide ResNet": (partial(resnet, "Bottleneck", width_per_group=80), 32),
    "DenseNet": (densenet, 32),
    "MobileNetV2": (lambda: models.mobilenet_v2(num_classes=CLASSES, width_mult=0.25), 32),
    "MobileNetV3": (mobilenet_v3, 32),
    "MNASNet": (lambda: models.MNASNet(0.25, num_classes=CLASSES), 32),
    "EfficientNet": (efficientnet, 32),
    "ShuffleNetV2": (shufflenet, 32),
    "SqueezeNet": (lambda: models.squeezenet1_1(num_classes=CLASSES), 32),
    "RegNet": (regnet, 32),
    "VGG": (partial(vgg, batch_norm=False), 32),
    "VGG, batch norm, evaluation": (partial(vgg, batch_norm=True), 32),
    "AlexNet": (alexnet, 64),
    "GoogLeNet, evaluation": (lambda: models.GoogLeNet(CLASSES, init_weights=False), 32),
    "ConvNeXt": (convnext, 32),
    "ViT": (vit, 32),
    "Swin transformer": (swin, 32),
    "Swin transformer v2": (swin_v2, 32),
    "MaxViT": (maxvit, 32),
}

_COSTLY = {
    "AlexNet",
    "GoogLeNet, evaluation",
    "MNASNet",
    "MaxViT",
    "MobileNetV2",
    "ResNeXt",
    "ResNet-18, frozen batch norm",
    "ResNet-18, group norm",
    "Swin transformer",
    "Wide ResNet",
}

VISION = [
    *(
        Case(name, network, (3, side, side), batch=2, costly=name in _COSTLY)
        for name, (network, side) in _IMAGES.items()
    ),
    Case("ResNet-18, batch norm, training", resnet18, (3, 32, 32), training=True, refused=BATCH),
    Case(
        "GoogLeNet, training",
        lambda: models.GoogLeNet(CLASSES, init_weights=False),
        (3, 32, 32),
        training=True,
        refused=BATCH,
    ),
    Case("FCN, a dictionary of maps", segmentation, (3, 32, 32), refused="OrderedDict"),
]
