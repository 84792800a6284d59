"""python -m demo.benchmark --budget evening"""

import argparse
from pathlib import Path

from demo.benchmark.budgets import BUDGETS
from demo.benchmark.figures import draw_figures
from demo.benchmark.pieces import Plan, Tables
from demo.benchmark.report import Report
from demo.benchmark.workers import run
from demo.benchmark.world import prepare
from demo.paths import EVIDENCE
from ppap_core.comfy_bridge.headless import boot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", choices=list(BUDGETS), default="evening")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--output", type=Path, default=EVIDENCE)
    parser.add_argument("--tables-only", action="store_true", help="from the rows there are")
    args = parser.parse_args()
    budget = BUDGETS[args.budget]
    plan = Plan(args.budget, budget, Tables(args.output))
    if not args.tables_only:
        prepare(budget)
        run(plan, args.workers)
        boot()
        draw_figures(plan, args.output)
    Report(plan, args.output, f"python -m demo.benchmark --budget {args.budget}").write()


if __name__ == "__main__":
    main()
