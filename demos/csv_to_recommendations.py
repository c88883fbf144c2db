"""From a CSV to recommendations: what counting finds in a log, and what a network finds.

    uv run python demos/csv_to_recommendations.py

The log, `examples/log.csv` if no other is named, is of people who take three courses in turns.
Rules that count find the three lessons that may come next; BERT4Rec, trained here for about a
minute, finds out whose turn it is. Prints NDCG of each and lists for some people, and draws the
former (for the example beside what someone who knows its rule reaches).
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from recurra.core.cli import print_table
from recurra.core.errors import RecurraError, import_extra
from recurra.recsys.baselines import BASELINES
from recurra.recsys.data import LogColumns, leave_one_out, read_log
from recurra.recsys.judging import judge
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.ranking import recommend_items
from recurra.recsys.recipes import load_recipe
from recurra.recsys.report import Row, judge_baselines
from recurra.recsys.train import train

EXAMPLE = Path(__file__).parents[1] / "examples" / "log.csv"
BEST = 0.956  # of the example, as examples/make_log.py prints it


def main() -> None:
    """Read, fit, train, judge; print the table and the lists, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path, nargs="?", default=EXAMPLE)
    parser.add_argument("--epochs", type=int, default=40, help="times that each history is seen")
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".png"))
    args = parser.parse_args()
    try:
        import_extra("matplotlib.figure", extra="plot", package="recurra-recsys")
        log, _ = read_log(args.log, LogColumns())
        split = leave_one_out(log)
    except RecurraError as error:
        parser.error(str(error))
    rows = judge_baselines(split)
    start = time.process_time()
    config = replace(load_recipe("bert4rec"), epochs=args.epochs, validations=4)
    with tempfile.TemporaryDirectory() as folder:
        model, _ = train(split, config, Path(folder) / "run")
    rows.append(Row(judge(NetworkScorer(model), split), time.process_time() - start))
    scores = [(row.judgement.name, f"{row.ndcg:.3f}", row.cpu_seconds) for row in rows]
    print_table(scores, ["", "NDCG@10", "CPU seconds"])
    rule = max(rows[:-1], key=lambda row: row.ndcg).judgement.name
    some = [split.test.histories.history(user) for user in range(len(split.test.targets[:4]))]
    scorers = BASELINES[rule](split.train), NetworkScorer(model)
    lists = [[items for items, _ in recommend_items(scorer, some, 3)] for scorer in scorers]
    parts = zip([h[-3:] for h in some], split.test.targets[:4, None], *lists, strict=True)
    named = [[", ".join(map(str, log.items.gather(items - 1))) for items in row] for row in parts]
    print_table(named, ["took", "then", f"{rule} recommends", "bert4rec recommends"])
    draw(rows, args.picture, BEST if args.log == EXAMPLE else None)
    print(f"wrote {args.picture}")


def draw(rows: list[Row], path: Path, best: float | None) -> None:
    """Draw a bar a row, the best above, and a dotted line at the most that can be reached."""
    figures = import_extra("matplotlib.figure", extra="plot", package="recurra-recsys")
    figure = figures.Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    order = sorted(rows, key=lambda row: row.ndcg)
    colors = ["#9aa5b1" if row.judgement.name in BASELINES else "#2a6fb0" for row in order]
    axes.barh([row.judgement.name for row in order], [row.ndcg for row in order], color=colors)
    axes.set(xlabel="NDCG@10 of the last event of each user", xlim=(0, 1))
    if best is not None:
        axes.axvline(best, color="black", linestyle=":")
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    main()
