"""Tables and plots for people, from the rows in the CSV files."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import mean

from demo.clean_models import untrained_guider
from demo.judges import NUM_FEATURES
from demo.measures import MEASURES
from evidence.benchmark import methods
from evidence.benchmark.budgets import Budget
from evidence.benchmark.files import GUIDERS
from evidence.benchmark.methods import Method, Teaching
from evidence.benchmark.pieces import MAPS
from evidence.benchmark.plan import DECILES, Plan
from evidence.benchmark.prepare import UNSHIPPED_GUIDERS
from evidence.benchmark.rows import MEASURED, Key
from evidence.benchmark.world import SAMPLERS
from evidence.quality import with_interval
from evidence.tables import markdown
from ppap_core.comfy_bridge import headless
from ppap_core.distillation.student import Student, count_trainable
from ppap_core.guiders import load_guider

NAMES = {"fid": "FID", "kid": "KID"}
LARGE_ENOUGH = NUM_FEATURES + 1  # as many pictures give a Frechet distance of full rank


@cache
def _backbone(guider: str):
    """Its weights are not looked at: those of guiders that are not shipped need not be there."""
    if guider in UNSHIPPED_GUIDERS:
        return untrained_guider(UNSHIPPED_GUIDERS[guider][0])
    return load_guider(GUIDERS[guider]).backbone


def parameters(guider: str, teaching: Teaching, budget: Budget) -> tuple[int, float]:
    """Trained parameters of all experts together, and their share of the guider's."""
    backbone = _backbone(guider)
    adapter = teaching.settings(guider, budget, 0).adapter
    trained = teaching.num_experts * count_trainable(Student(backbone, adapter))
    return trained, trained / sum(p.numel() for p in backbone.parameters())


class Report:
    """`plan`: knows the budget, its rows and the chosen scales. `command`: what made the rows."""

    def __init__(self, plan: Plan, folder: Path, command: str):
        self.plan, self.folder, self.command = plan, folder, command

    def write(self) -> None:
        for table in MEASURED:
            if self.plan.tables.find(table, budget=self.plan.name):
                parts = self._sections(table)
                text = "\n\n".join([*parts, f"Made by `{self.command}`, {self.versions()}."])
                (self.folder / f"{table}.md").write_text(text + "\n", "utf-8")

    @staticmethod
    def versions() -> str:
        """The ComfyUI and the packages that this process uses."""
        comfyui = headless.comfyui_version(headless.booted_comfyui() or headless.find_comfyui())
        packages = ("torch", "timm", "transformers", "peft", "torchmetrics", "torch-fidelity")
        return ", ".join([f"ComfyUI {comfyui}", *(f"{p} {version(p)}" for p in packages)])

    def found(self, table: str, guider: str, method: str, **wanted) -> dict[Key, dict]:
        wanted = {"noise": "report", "budget": self.plan.name} | wanted
        return self.plan.tables.find(table, guider=guider, method=method, **wanted)

    def _sections(self, table: str) -> list[str]:
        """The parts of a table's file: titles, tables and pictures."""
        if table in MAPS:
            rows = self._rows(table, table, methods.MAP_METHODS)
            return [f"# {table.capitalize()} guidance", markdown(rows)]
        if table == "latent":
            rows = self._rows(table, "resnet", methods.LATENT_METHODS, "Euler-25")
            return ["# Class guidance of a latent model, through its decoder", markdown(rows)]
        ways = {"class": self._class, "ablations": self._ablations, "noisy": self._noisy}
        return ways[table]()

    def _class(self) -> list[str]:
        parts = ["# Class guidance"]
        for sampler in SAMPLERS:
            for guider in self.plan.budget.guiders:
                rows = self._rows("class", guider, methods.class_methods(guider), sampler)
                if rows:
                    parts += [f"## {guider}, {sampler}", markdown(rows)]
        if self.plan.budget.tuning:
            self._curves()
            parts.append("![accuracy and quality over scales](class.png)")
        return parts

    def _rows(
        self, table: str, guider: str, chosen: Sequence[Method], sampler: str = "DDIM-25"
    ) -> list[dict[str, str]]:
        lines = []
        for method in chosen:
            scale = self.plan.best_scale(table, guider, method)
            found = self.found(table, guider, method.name, sampler=sampler, scale=scale)
            if found:
                lines.append(self._line(table, guider, method, found))
        return lines

    def _line(self, table: str, guider: str, method: Method, found: dict[Key, dict]) -> dict:
        key, seeds = next(iter(found)), list(found.values())
        values = [row["value"] for row in seeds]
        shown = {"guidance": method.name, **self._taught(guider, method)}
        shown["scale"] = f"{key.scale:g}" if key.scale else ""
        if table not in MAPS:
            shown["accuracy"] = with_interval(values, key.n)
        else:
            shown[MEASURES[table]] = f"{mean(values):.3f}"
        for name in MEASURED[table][1:]:
            if name == "fid" and key.n < LARGE_ENOUGH:
                continue
            value = mean(row[name] for row in seeds)
            text = f"{value:.0%}" if name == "self" else f"{value:.2f}"
            shown[NAMES.get(name, name)] = f"{value:.1f}" if name == "kid" else text
        return shown | {"seeds x pictures": f"{len(seeds)} x {key.n}"}

    def _taught(self, guider: str, method: Method) -> dict[str, str]:
        if not method.teaching:
            return {"labels": "yes" if method.cfg else "", "trained parameters": ""}
        count, share = parameters(guider, method.teaching, self.plan.budget)
        labels = "yes" if method.teaching.is_supervised else "no"
        return {"labels": labels, "trained parameters": f"{count / 1e6:.2f} M ({share:.0%})"}

    def _ablations(self) -> list[str]:
        guider, rows = self.plan.budget.guiders[0], []
        for method in methods.ablations():
            found = self.found("ablations", guider, method.name)
            if not found:
                continue
            _, share = parameters(guider, method.teaching, self.plan.budget)
            row = {"PPAP-5 with other": method.name, "parameters": f"{share:.0%}"}
            for key, values in sorted(found.items(), key=lambda pair: pair[0].scale):
                row[f"accuracy at {key.scale:g}"] = with_interval([values["value"]], key.n)
                row[f"KID at {key.scale:g}"] = f"{values['kid']:.1f}"
            rows.append(row)
        return ["# What each choice is worth: PPAP-5 with other choices", markdown(rows)]

    def _noisy(self) -> list[str]:
        parts = ["# How often a guider is right about noisy scenes, by timestep"]
        for guider in self.plan.budget.guiders:
            rows = []
            for method in methods.CLASS_METHODS:
                found = self.found("noisy", guider, method.name)
                if found:
                    right: dict[float, list[float]] = {timestep: [] for timestep in DECILES}
                    for key, values in found.items():
                        right[key.scale].append(values["value"])
                    shares = {str(t): mean(shares) for t, shares in right.items() if shares}
                    row = {"guider": method.name} | {t: f"{v:.0%}" for t, v in shares.items()}
                    rows.append(row | {"mean": f"{mean(shares.values()):.1%}"})
            if rows:
                parts += [f"## {guider}", markdown(rows)]
        return parts

    def _curves(self) -> None:
        """Accuracy against KID as the scale grows, from the rows that choose it."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        guiders = [guider for guider in self.plan.budget.guiders if guider not in methods.SIZES]
        figure, axes = pyplot.subplots(
            1, len(guiders), figsize=(6.5 * len(guiders), 5), sharey=True, squeeze=False
        )
        colours = pyplot.get_cmap("tab20").colors
        for axis, guider in zip(axes[0], guiders, strict=True):
            for index, method in enumerate(methods.CLASS_METHODS):
                found = self.found("class", guider, method.name, noise="tuning")
                points = sorted((key.scale, row["kid"], row["value"]) for key, row in found.items())
                if points:
                    _, kid, value = zip(*points, strict=True)
                    rounds, place = divmod(index, len(colours))
                    look = {"color": colours[place], "linestyle": ("-", "--")[rounds]}
                    axis.plot(kid, value, marker="o", markersize=4, label=method.name, **look)
            axis.set(title=guider, xlabel="KID in the judge's features, times 1000")
            axis.grid(alpha=0.3)
        axes[0][0].set_ylabel("accuracy by the judge")
        lines = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()}
        beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        axes[0][-1].legend(handles=lines.values(), fontsize=7, handlelength=4, **beside)
        figure.tight_layout()
        figure.savefig(self.folder / "class.png", dpi=110, bbox_inches="tight")
        pyplot.close(figure)
