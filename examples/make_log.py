"""Make `log.csv`: lessons that people of an invented school took, and when.

    uv run python examples/make_log.py examples/log.csv

Each course has six lessons, which are taken in order. A person is in the middle of up to three
courses at a time, goes on with any of them, and begins another one when one is done. So what comes
next is known but for the choice among three: the lesson after the last one of each open course.
"""

import csv
import datetime
import random
import sys

COURSES = ["knots", "bread", "chess", "ink", "bees", "kites", "looms", "clay", "maps", "songs"]
COURSES += ["stars", "tides", "roots", "wheels", "bells", "glass", "wood", "tea", "frost", "ferns"]
LESSONS = 6
PEOPLE = 300
BEGIN = datetime.datetime(2026, 3, 2, 8, 0, tzinfo=datetime.UTC)


def history(rng: random.Random) -> list[str]:
    """The lessons of one person, in order."""
    shelf = rng.sample(COURSES, len(COURSES))
    taken = {shelf.pop(): 0 for _ in range(3)}
    lessons = []
    for _ in range(rng.randint(6, 22)):
        course = rng.choice(list(taken))
        taken[course] += 1
        lessons.append(f"{course}-{taken[course]}")
        if taken[course] == LESSONS:
            del taken[course]
            taken[shelf.pop()] = 0
    return lessons


def main() -> None:
    """Write the file that is named on the command line."""
    rng = random.Random(2026)
    rows = []
    for person in range(PEOPLE):
        time = BEGIN + datetime.timedelta(minutes=rng.randrange(60 * 24 * 90))
        for lesson in history(rng):
            rows.append((time, f"p{person:03}", lesson))
            time += datetime.timedelta(minutes=rng.randrange(30, 60 * 24 * 4))
    with open(sys.argv[1], "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user", "item", "time"])
        for time, person, lesson in sorted(rows):
            writer.writerow([person, lesson, time.strftime("%Y-%m-%dT%H:%M")])


if __name__ == "__main__":
    main()
