"""A real ComfyUI at hand: fetched, served, driven; workflows, releases, reliability."""
