"""Hooks that the layers of networks have."""


def num_hooks(*networks) -> int:
    layers = [layer for network in networks for layer in network.modules()]
    return sum(
        len(hooks)
        for layer in layers
        for hooks in (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
    )
