"""Distillation: experts for a guider, taught without labels by the guider itself.

`python -m training` and the node *Train PPAP Experts* run this code; it knows neither the command
line nor ComfyUI. What samples pictures, and what turns a noisy state into an image, are functions
that it is given. To be read in this order: settings, generate, training_set, distill, batch,
learner, student, evaluate.
"""
