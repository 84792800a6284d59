"""How real networks read noise on real photographs, and what their gradients are worth.

`python -m evidence.photographs --photographs FOLDER --networks FOLDER` writes
docs/evidence/photographs.md, .csv and .png. `sources.py` says what has to lie in the two folders,
where to get it, and under which licence. A stopped run resumes when the same command is run again.
"""
