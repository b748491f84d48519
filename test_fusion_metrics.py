"""Score folders of fused images: a table on the terminal, and CSV, JSON, Markdown, LaTeX and plots on request.

python test_fusion_metrics.py --root_path data/test --dataset IVF --fused ours=results/IVF --baselines average,gff
python test_fusion_metrics.py --source_a ir --source_b vis --fused a=results/a b=results/b --metrics all --csv s.csv
python test_fusion_metrics.py --explain VIFF
"""

import argparse
import os
import sys
from pathlib import Path

from adasffuse.classical.baselines import BASELINES
from adasffuse.images.pairs import scene_folders
from adasffuse.metrics import CONVENTIONS, DEFAULT_METRICS, ScoreTable, explain
from adasffuse.metrics.folder import Settings, score_folders


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sources = parser.add_argument_group("sources, either two folders or a data set of a task")
    sources.add_argument("--source_a", type=Path, metavar="DIR")
    sources.add_argument("--source_b", type=Path, metavar="DIR")
    sources.add_argument("--root_path", type=Path, metavar="DIR", help="folder of data sets")
    sources.add_argument("--dataset", metavar="NAME", help="e.g. IVF, IVF_MSRS or MIF/CT-MRI")
    what = parser.add_argument_group("what to score")
    what.add_argument("--fused", nargs="+", default=[], metavar="[NAME=]DIR", help="one folder per method")
    what.add_argument("--baselines", default="", metavar="LIST", help=f"computed on the fly: {','.join(BASELINES)}")
    what.add_argument("--reference", type=Path, metavar="DIR", help="true images; adds PSNR_GT and SSIM_GT")
    how = parser.add_argument_group("how to score")
    how.add_argument("--metrics", default=",".join(DEFAULT_METRICS), help="comma-separated, or 'all' (%(default)s)")
    how.add_argument("--convention", default="adasffuse", choices=CONVENTIONS, help="(%(default)s)")
    how.add_argument("--per_channel", action="store_true", help="mean over R, G, B of coloured results, as VIFB does")
    how.add_argument("--workers", type=int, metavar="N", help="processes (all cores)")
    how.add_argument("--cache", type=Path, default=_default_cache(), metavar="DIR", help="(%(default)s)")
    how.add_argument("--no_cache", dest="cache", action="store_const", const=None, help="compute everything anew")
    how.add_argument("--explain", metavar="METRIC", help="print what a metric means in each convention, and exit")
    output = parser.add_argument_group("output")
    for name in ("csv", "json", "markdown", "latex"):
        output.add_argument(f"--{name}", type=Path, metavar="FILE")
    output.add_argument("--plots", type=Path, metavar="DIR", help="a box plot per metric and the ranks as PNG")
    args = parser.parse_args(argv)
    if not args.explain and bool(args.source_a and args.source_b) == bool(args.root_path and args.dataset):
        parser.error("give either --source_a and --source_b, or --root_path and --dataset")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.explain:
            print(explain(args.explain))
            return 0
        table = score(args)
        print(table.text())
        for name in ("csv", "json", "markdown", "latex"):
            if path := getattr(args, name):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(getattr(table, name)(), encoding="utf-8")
        if args.plots:
            from adasffuse.metrics.plots import save_plots

            save_plots(table, args.plots)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def score(args: argparse.Namespace) -> ScoreTable:
    """The table that the arguments ask for."""
    source_a, source_b = args.source_a, args.source_b
    if args.dataset:
        folders = scene_folders(args.root_path, args.dataset)
        if len(folders) > 1:
            names = ", ".join(folder.name for folder in folders)
            raise ValueError(f"{args.dataset} holds several sets; choose one of them as --dataset: {names}")
        source_a, source_b = folders[0].folders
    settings = Settings(metric_names(args), args.convention, args.per_channel, args.cache)
    baselines = [name for name in args.baselines.split(",") if name]
    return score_folders(source_a, source_b, methods(args.fused), baselines, args.reference, settings, args.workers)


def metric_names(args: argparse.Namespace) -> tuple[str, ...]:
    """Metrics asked for; 'all' leaves out what needs a reference without one, a reference adds them."""
    table = CONVENTIONS[args.convention].metrics
    against_truth = [name for name, definition in table.items() if "reference" in definition.inputs]
    if args.metrics == "all":
        return tuple(name for name in table if args.reference or name not in against_truth)
    names = [name for name in args.metrics.split(",") if name]
    if names == list(DEFAULT_METRICS):  # what of the default the convention has
        names = [name for name in names if name in table]
    return tuple(dict.fromkeys([*names, *(against_truth if args.reference else [])]))


def methods(fused: list[str]) -> dict[str, Path]:
    """Method name to folder; without NAME= the folder's own name.

    Raises:
        ValueError: two folders have one name.
    """
    found: dict[str, Path] = {}
    for text in fused:
        name, _, folder = text.rpartition("=")
        name = name or Path(folder).resolve().name
        if name in found:
            raise ValueError(f"two folders are called {name!r}: {found[name]} and {folder}; name them NAME=DIR")
        found[name] = Path(folder)
    return found


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "adasffuse" / "metrics"


if __name__ == "__main__":
    sys.exit(main())
