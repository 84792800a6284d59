"""A diffusion model that nobody here made, guided by networks that nobody here made.

`python -m evidence.faces --networks FOLDER` writes docs/evidence/faces.md, .csv and .png.
`sources.py` says what has to lie in that folder.
"""
