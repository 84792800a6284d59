"""The only place in the core that imports ComfyUI (written against 0.30.0)."""
