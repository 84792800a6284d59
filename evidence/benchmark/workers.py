"""Do the pieces of a plan, in several processes of one thread each."""

import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

import torch
from tqdm import tqdm

from evidence.benchmark.budgets import Budget
from evidence.benchmark.pieces import Piece, Row
from evidence.benchmark.plan import Plan
from evidence.benchmark.world import World
from ppap_core.comfy_bridge.headless import boot

_world: World | None = None  # of a worker


def _start(budget: Budget) -> None:
    global _world
    torch.set_num_threads(1)
    boot()
    _world = World(budget)


def _work(piece: Piece) -> dict | None:
    return piece.run(_world)


def run(plan: Plan, num_workers: int) -> None:
    """Work until the plan is empty.

    After every piece the plan is iterated again: the rows that are reported depend on those that
    chose a scale.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the workers' libraries as they load
    context, under_way = multiprocessing.get_context("spawn"), {}
    with ProcessPoolExecutor(num_workers, context, _start, (plan.budget,)) as pool:
        bar = tqdm(desc=plan.name, unit="piece")
        while True:
            for piece in plan:
                if len(under_way) == num_workers:
                    break
                if piece not in under_way.values():
                    under_way[pool.submit(_work, piece)] = piece
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                piece = under_way.pop(future)
                found = future.result()
                if isinstance(piece, Row):
                    plan.tables.add(piece.table, piece.key, found)
                bar.set_postfix_str(str(piece))
                bar.update()
