"""Make `log.csv`: lessons that people of an invented evening school took, and when.

    uv run python examples/make_log.py examples/log.csv

Everyone comes on Mondays, Wednesdays and Fridays and takes another course on each of them, lesson
after lesson; now and then an evening is missed, and a course that is done gives way to a new one.
So what comes next is the lesson after the one of three evenings ago: the lessons that someone took
say which three are likely, and only their order which of them it is.

The script prints how well someone can do who knows this rule, which is the most that anyone can.
"""

import csv
import datetime
import math
import random
import sys
from collections import defaultdict
from dataclasses import dataclass

COURSES = ["knots", "bread", "chess", "ink", "bees", "kites", "looms", "clay", "maps", "songs"]
COURSES += ["stars", "tides", "roots", "wheels", "bells", "glass", "wood", "tea", "frost", "ferns"]
LESSONS = 6
EVENINGS = (0, 2, 4)  # days of a week after its Monday
MISSED = 0.05
PEOPLE = 700
BEGIN = datetime.datetime(2026, 3, 2, 18, 0, tzinfo=datetime.UTC)  # a Monday


@dataclass
class Course:
    """What someone takes on one of the evenings, and how many of its lessons are done."""

    name: str
    done: int = 0


def attend(rng: random.Random, count: int) -> tuple[list[tuple[int, str]], list[float]]:
    """What one person took: `count` times an evening, from 0, and a lesson.

    Also the chances of everything that the last lesson could have been, the likeliest first, for
    someone who knows all the lessons before it.
    """
    shelf = rng.sample(COURSES, len(COURSES))
    courses = [Course(shelf.pop()) for _ in EVENINGS]
    taken: list[tuple[int, str]] = []
    chances: list[float] = []
    evening = 0
    while len(taken) < count:
        if rng.random() >= MISSED:
            if len(taken) == count - 1:
                chances = expected(courses, shelf, taken[-1][0] + 1)
            course = courses[evening % len(courses)]
            course.done += 1
            taken.append((evening, f"{course.name}-{course.done}"))
            if course.done == LESSONS:
                courses[evening % len(courses)] = Course(shelf.pop())
        evening += 1
    return taken, chances


def expected(courses: list[Course], shelf: list[str], evening: int) -> list[float]:
    """Chances of the lessons that may come on an evening or, if it is missed, on one after it."""
    new = [*shelf, *(course.name for course in courses if not course.done)]  # any may be begun
    chances: dict[str, float] = defaultdict(float)
    for missed in range(len(courses)):
        course = courses[(evening + missed) % len(courses)]
        share = (1 - MISSED) * MISSED**missed / (1 - MISSED ** len(courses))
        names = [course.name] if course.done else new
        for name in names:
            chances[f"{name}-{course.done + 1}"] += share / len(names)
    return sorted(chances.values(), reverse=True)


def best_possible(chances: list[float]) -> tuple[float, float]:
    """NDCG@10 and hit rate@10 that a list in the order of the chances has on average."""
    first = chances[:10]
    return sum(c / math.log2(place + 2) for place, c in enumerate(first)), sum(first)


def make_log(seed: int = 2026) -> tuple[list[tuple[str, str, str]], tuple[float, float]]:
    """The rows of the file by time, and the best NDCG@10 and hit rate@10 for the last lessons."""
    rng = random.Random(seed)
    rows, best = [], []
    for person in range(PEOPLE):
        week = rng.randrange(20)
        taken, chances = attend(rng, rng.randint(9, 18))
        best.append(best_possible(chances))
        for evening, lesson in taken:
            weeks, place = divmod(evening, len(EVENINGS))
            day = datetime.timedelta(weeks=week + weeks, days=EVENINGS[place])
            time = BEGIN + day + datetime.timedelta(minutes=rng.randrange(180))
            rows.append((time, f"p{person:03}", lesson))
    table = [(user, lesson, time.strftime("%Y-%m-%dT%H:%M")) for time, user, lesson in sorted(rows)]
    ndcg, hits = (sum(values) / len(best) for values in zip(*best, strict=True))
    return table, (ndcg, hits)


def main() -> None:
    """Write the file that is named on the command line."""
    table, (ndcg, hits) = make_log()
    with open(sys.argv[1], "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user", "item", "time"])
        writer.writerows(table)
    print(f"{len(table)} rows; the best possible NDCG@10 is {ndcg:.3f}, hit rate@10 {hits:.3f}")


if __name__ == "__main__":
    main()
