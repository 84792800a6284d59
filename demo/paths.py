"""Where the demo world's files lie: shipped models, caches and what the demo writes."""

from pathlib import Path

from ppap_core.reading import Reading

DEMO = Path(__file__).parent
MODELS, CACHE, OUTPUT = DEMO / "models", DEMO / "cache", DEMO / "output"

GUIDER = MODELS / "ppap_guiders" / "demo-shapes-resnet"
EXPERTS = MODELS / "ppap_experts" / "demo-shapes-resnet.safetensors"
PIXEL_MODEL = MODELS / "ppap_pixel_models" / "demo-scenes.safetensors"
JUDGE = MODELS / "judge.safetensors"
DEPTH_GUIDER = MODELS / "ppap_guiders" / "demo-scenes-depth"
SEGMENTATION_GUIDER = MODELS / "ppap_guiders" / "demo-scenes-segmentation"
DEPTH_EXPERTS = MODELS / "ppap_experts" / "demo-scenes-depth.safetensors"
SEGMENTATION_EXPERTS = MODELS / "ppap_experts" / "demo-scenes-segmentation.safetensors"
WORDS_GUIDER = MODELS / "ppap_guiders" / "demo-scenes-words"
WORDS_EXPERTS = MODELS / "ppap_experts" / "demo-scenes-words.safetensors"
SCORE_HEAD = MODELS / "ppap_score_heads" / "demo-scenes-brightness.safetensors"
NORMALS_GUIDER = MODELS / "ppap_guiders" / "demo-scenes-normals"
NORMALS_EXPERTS = MODELS / "ppap_experts" / "demo-scenes-normals.safetensors"
BOXES_GUIDER = MODELS / "ppap_guiders" / "demo-scenes-boxes"
BOXES_EXPERTS = MODELS / "ppap_experts" / "demo-scenes-boxes.safetensors"
NORMALS_JUDGE = MODELS / "normals_judge.safetensors"
POSE_GUIDER = MODELS / "ppap_guiders" / "demo-scenes-pose"
POSE_EXPERTS = MODELS / "ppap_experts" / "demo-scenes-pose.safetensors"
POSE_JUDGE = MODELS / "pose_judge.safetensors"
DENSE_JUDGE = MODELS / "dense_judge.safetensors"
LATENT_MODEL = MODELS / "diffusion_models" / "demo-scenes-flux.safetensors"
AUTOENCODER = MODELS / "vae" / "demo-scenes-flux.safetensors"
LATENT_EXPERTS = {  # what the guider reads: its experts' file (the first is not shipped)
    Reading("x_t", "linear_rgb"): CACHE / "demo-shapes-flux-rgb.safetensors",
    Reading("x_t", "vae"): MODELS / "ppap_experts" / "demo-shapes-flux-vae.safetensors",
    Reading("x0_hat", "vae"): MODELS / "ppap_experts" / "demo-shapes-flux-x0.safetensors",
}
EVIDENCE = DEMO.parent / "docs" / "evidence"
WORKFLOWS = DEMO.parent / "workflows"

TRAIN_SCENES = CACHE / "scenes_train.safetensors"
HELDOUT_SCENES = CACHE / "scenes_heldout.safetensors"
GENERATED = CACHE / "generated"
LARGE_TRAIN_SCENES = CACHE / "scenes64_train.safetensors"
LATENTS = CACHE / "latents.safetensors"
LATENT_GENERATED = CACHE / "latent_generated"
