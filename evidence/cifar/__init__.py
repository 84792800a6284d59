"""A small diffusion model of photographs, guided by a network that never saw them.

CIFAR-10, enlarged twice, in the latents of FLUX.2's tiny autoencoder: a Flux of ten million
parameters learns them without labels, and MobileNetV2, trained on ImageNet, asks for CIFAR's
classes. EfficientNet-Lite0, of another family, judges: by a layer fitted to CIFAR's labels, and by
distances in its features.
"""
