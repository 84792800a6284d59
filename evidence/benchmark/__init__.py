"""The paper's tables on the demo world, and what lies beyond the paper.

`python -m evidence.benchmark` makes every row that is missing in docs/evidence/*.csv and
draws tables and plots from them; it can be stopped and started again at any moment.
"""
