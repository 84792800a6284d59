"""`python -m evidence.photographs --photographs FOLDER --networks FOLDER`"""

import argparse
import logging
from pathlib import Path

from demo.paths import CACHE
from evidence.flags import add_output
from evidence.photographs.networks import NETWORKS
from evidence.photographs.report import write_report
from evidence.photographs.study import Study, run_gradients, run_noise

STEPS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, help="holds cifar10 and imagenet-sample-images")
    parser.add_argument("--networks", type=Path, help="holds the networks and TAEF2")
    parser.add_argument("--cache", type=Path, default=CACHE / "photographs", help="what is kept")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each row's experts together")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="by default all")
    parser.add_argument("--only", choices=("noise", "gradients"), help="a part of it")
    parser.add_argument("--tables-only", action="store_true", help="from what was measured")
    add_output(parser)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    study = Study(args.photographs, args.networks, args.cache, args.steps)
    if not args.tables_only:
        if args.only != "gradients":
            run_noise(study, args.network or NETWORKS)
        if args.only != "noise":
            run_gradients(study)
    write_report(study, args.output)


if __name__ == "__main__":
    main()
