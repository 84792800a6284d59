"""`python -m evidence.benchmark --budget evening`"""

import argparse

from evidence.benchmark.budgets import BUDGETS
from evidence.benchmark.figures import draw_figures
from evidence.benchmark.plan import Plan
from evidence.benchmark.prepare import prepare
from evidence.benchmark.report import Report
from evidence.benchmark.rows import Tables
from evidence.benchmark.workers import run
from evidence.flags import add_output
from ppap_core.comfy_bridge.headless import boot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", choices=list(BUDGETS), default="evening")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    add_output(parser)
    parser.add_argument("--tables-only", action="store_true", help="from the rows that exist")
    args = parser.parse_args()
    budget = BUDGETS[args.budget]
    plan = Plan(args.budget, budget, Tables(args.output))
    if not args.tables_only:
        prepare(budget)
        run(plan, args.workers)
        boot()
        draw_figures(plan, args.output)
    Report(plan, args.output, f"python -m evidence.benchmark --budget {args.budget}").write()


if __name__ == "__main__":
    main()
