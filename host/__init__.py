"""A real ComfyUI at hand: fetch, serve and drive it; build workflows; check releases."""
