"""Values of widgets with which the shipped workflows run in seconds, by class of node."""

QUICK = {
    "EmptyLatentImage": {"width": 64, "height": 64},
    "KSampler": {"steps": 3},
    "PPAP_GuidedKSampler": {"steps": 3},
    "PPAP_ScaleSweep": {"steps": 3},
    "PPAP_TrainExperts": {
        **{"num_images": 16, "width": 64, "height": 64, "sampling_steps": 2},
        **{"num_experts": 2, "steps": 2, "batch_size": 4, "overwrite": True},
    },
}
