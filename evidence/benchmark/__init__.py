"""The paper's tables, and more, measured on the demo world.

`python -m evidence.benchmark` measures the rows that are missing in docs/evidence/*.csv, then
writes tables and plots of all rows. It can be stopped and started again at any time.
"""
