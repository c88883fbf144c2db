import gzip

import polars as pl
import pytest

from recurra.core.errors import RecurraError
from recurra.recsys.data import LogColumns, read_log, tables


def write(folder, text, name="log.csv"):
    path = folder / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    return path


@pytest.mark.parametrize(
    ("name", "header", "separator"),
    [
        ("log.csv", "userId,movieId,timestamp", ","),
        ("log.tsv", "User ID\tItem\tdate", "\t"),
        ("ml.inter", "user_id:token\titem_id:token\ttimestamp:float", "\t"),
        ("log.txt", "customer_id;SKU;time", ";"),
        ("log.csv", "uid|asin|unixReviewTime", "|"),
    ],
)
def test_columns_and_separators_are_found(tmp_path, name, header, separator):
    rows = [header, *(separator.join(row) for row in (("u", "a", "2"), ("u", "b", "1")))]
    log, report = read_log(write(tmp_path, "\n".join(rows) + "\n", name))
    assert log.items.gather(log.sequence - 1).to_list() == ["b", "a"]
    assert list(report.columns) == ["user", "item", "time"]
    assert (report.rows, report.left_out) == (2, {})


def test_parquet_and_gzip_are_read(tmp_path):
    frame = pl.DataFrame({"user": [1, 1], "item": ["a", "b"], "time": [2, 1]})
    frame.write_parquet(tmp_path / "log.parquet")
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    logs = [read_log(tmp_path / name)[0] for name in ("log.parquet", "log.csv.gz")]
    assert logs[0].items.to_list() == logs[1].items.to_list() == ["a", "b"]
    assert logs[0].sequence.tolist() == logs[1].sequence.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["1970-01-01T00:00:10", "1970-01-01T00:00:05.5"], [5.5, 10.0]),
        (["1970-01-02", "1970-01-01"], [0.0, 86400.0]),
        (["20", "1e1"], [10.0, 20.0]),
        (["1970-01-01 00:00:10Z", "1970-01-01 00:00:05Z"], [5.0, 10.0]),
    ],
)
def test_times_are_numbers_or_iso_dates(tmp_path, times, seconds):
    path = write(tmp_path, "user,item,time\n" + "".join(f"u,a{t},{t}\n" for t in times))
    log, _ = read_log(path)
    assert log.times.tolist() == seconds
    assert log.sequence.tolist() == [2, 1]


def test_named_columns_win_and_a_weight_leaves_rows_out(tmp_path):
    path = write(
        tmp_path,
        "who,user,item,rating\nx,1,a,5\nx,2,b,3\ny,3,a,4\nz,1,c,none\n"
        "z,1,c,\nz,1,c,NaN\nz,1,c,inf\n",
    )
    log, report = read_log(path, LogColumns(user="who", weight_min=4))
    assert log.users.to_list() == ["x", "y"]
    assert report.columns == {"user": "who", "item": "item", "weight": "rating"}
    assert report.left_out == {
        "rating below 4": 1,
        "unreadable rating": 2,
        "no rating": 1,
        "rating is 'NaN'": 1,
    }
    assert report.examples == {"unreadable rating": "none"}


def test_a_missing_weight_of_parquet_is_not_above_the_least(tmp_path):
    frame = pl.DataFrame(
        {"user": [1, 1, 1], "item": [1, 2, 3], "rating": [5.0, None, float("nan")]}
    )
    frame.write_parquet(tmp_path / "log.parquet")
    log, report = read_log(tmp_path / "log.parquet", LogColumns(weight_min=2))
    assert log.items.to_list() == [1]
    assert report.left_out == {"no rating": 2}


@pytest.mark.parametrize("word", ["NaN", "nan", "null", "None", "NA", "N/A", "<NA>", " NULL "])
def test_words_that_pandas_takes_for_a_missing_value_name_nobody(tmp_path, word):
    text = f"user,item,time\nu,a,1\n{word},a,2\nu,{word},3\nu,b,{word}\nu,,4\nnano,Nancy,5\n"
    log, report = read_log(write(tmp_path, text))
    assert (log.users.to_list(), log.items.to_list()) == (["u", "nano"], ["a", "Nancy"])
    said = f"is {word.strip()!r}"
    counts = {f"user {said}": 1, f"item {said}": 1, f"time {said}": 1, "no item": 1}
    assert report.left_out == counts
    assert f"1 of 6 rows left out: item {said}" in report.lines()


def test_text_of_parquet_is_what_it_says(tmp_path):
    pl.DataFrame({"user": ["u", "u"], "item": ["NA", None]}).write_parquet(tmp_path / "a.parquet")
    log, report = read_log(tmp_path / "a.parquet")
    assert (log.items.to_list(), report.left_out) == (["NA"], {"no item": 1})


@pytest.mark.parametrize("kind", [pl.Float64, pl.Float32])
def test_whole_floats_are_integers_as_before_pandas_had_a_gap(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 2)
    users, items = [1.0, 1.0, None, 2.0, 2.0], [3.0, 7.0, 7.0, float("nan"), 3.0]
    frame = pl.DataFrame({"user": users, "item": items}, schema={"user": kind, "item": kind})
    frame.write_parquet(tmp_path / "log.parquet")
    log, report = read_log(tmp_path / "log.parquet")
    assert (log.users.dtype, log.items.dtype) == (pl.Int64, pl.Int64)
    assert (log.users.to_list(), log.items.to_list()) == ([1, 2], [3, 7])
    assert log.number(["3", 7]).tolist() == [1, 2]
    assert report.left_out == {"no user": 1, "no item": 1}


@pytest.mark.parametrize("other", [7.5, float("inf"), 1e300])
def test_floats_that_are_not_all_whole_stay(tmp_path, other, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 1)
    frame = pl.DataFrame({"user": [1, 1], "item": [3.0, other]})
    frame.write_parquet(tmp_path / "log.parquet")
    assert read_log(tmp_path / "log.parquet")[0].items.to_list() == [3.0, other]


def test_bad_rows_are_left_out_and_counted_by_reason(tmp_path):
    text = "user,item,time\nu,a,1\n,a,2\nu,,3\nu,b,soon\nu,a,1\nu,a,4\nu,b,nan\n"
    log, report = read_log(write(tmp_path, text))
    assert len(log) == 2
    assert report.left_out == {
        "no user": 1,
        "no item": 1,
        "unreadable time": 1,
        "time is 'nan'": 1,
        "repeated row": 1,
    }
    (said,) = [line for line in report.lines() if "unreadable" in line]
    assert said == (
        "1 of 7 rows left out: unreadable time, such as 'soon' (numbers that rise, or dates such as"
        " 2026-11-28 and 2026-11-28T18:05:30+01:00, are read)"
    )


def test_repeats_stay_in_a_log_without_times(tmp_path):
    log, report = read_log(write(tmp_path, "user,item\nu,a\nu,a\n"))
    assert (len(log), report.left_out) == (2, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; give a table with a header"),
        ("user,item\n", "no usable row: it is a header alone; give a log with rows"),
        ("user,item,time\nu,a,soon\n", "no usable row: 1 unreadable time, such as 'soon' (numbers"),
        ("user,item\n,a\n", "no usable row: 1 no user; name other columns (--user"),
        (
            "user,item\nu,a\nu,b,c\n",
            "line 3 has 3 values and the header 2; put values that hold ','",
        ),
        ('user;item\n"u;\nv";a\nu;b;c;d\n', "line 4 has 4 values and the header 2"),
        ('user,item\nu,"a\nu,b\n', "look for a double quote that is not closed"),
        ("user,item\nu,a\nu,\udce9\n", "line 3 is not UTF-8; save the file as UTF-8"),
        ("user\0,item\nu,a\n", "is no UTF-8 text; save it as UTF-8, or as .parquet"),
        ("a,b\n1,2\n", "has no column of users; it has a, b: give --user NAME"),
        ("user,b\n1,2\n", "give --item NAME"),
        ("u8,tea,1600000000\nu9,tea,1600000001\n", "put a line of names above them: user,item"),
    ],
)
def test_a_log_that_cannot_be_used_is_one_line_with_the_remedy(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(RecurraError) as caught:
        read_log(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_wrong_names_and_other_formats_are_errors(tmp_path):
    path = write(tmp_path, "user,item\nu,a\n")
    with pytest.raises(RecurraError, match="no such file"):
        read_log(tmp_path / "none.csv")
    with pytest.raises(RecurraError, match="is a folder"):
        read_log(tmp_path)
    with pytest.raises(RecurraError, match="has no column 'when'"):
        read_log(path, LogColumns(time="when"))
    with pytest.raises(RecurraError, match="give --weight NAME"):
        read_log(path, LogColumns(weight_min=1))
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(RecurraError, match="cannot be read as a table"):
        read_log(tmp_path / "bad.parquet")


@pytest.mark.parametrize(
    ("times", "said", "seconds"),
    [
        (["1500000000", "1400000000"], "seconds", [1.4e9, 1.5e9]),
        (["1500000000000", "1400000000000"], "milliseconds", [1.4e9, 1.5e9]),
        (["1500000000000000"], "microseconds", [1.5e9]),
        (["2", "1"], "numbers that rise", [1.0, 2.0]),
        (
            ["1970-01-02 02:00+02:00", "1970-01-01T00:01Z", "1970-01-03"],
            "dates",
            [60, 86400, 172800],
        ),
        (["1970-01-02", "5"], "dates", [86400.0]),  # the first that can be read decides
        (["never", "5", "1970-01-02"], "numbers that rise", [5.0]),
    ],
)
def test_the_unit_of_times_is_guessed_and_said(tmp_path, times, said, seconds):
    path = write(tmp_path, "user,item,time\n" + "".join(f"u,a{t},{t}\n" for t in times))
    log, report = read_log(path)
    assert report.times == said
    assert log.times.tolist() == seconds
    assert (
        report.lines()[0]
        == f"user from 'user', item from 'item', time from 'time'; times are {said}"
    )


def test_ids_of_a_text_are_text_as_they_stand(tmp_path):
    log, _ = read_log(write(tmp_path, "user,item\n007,1.0\n7,1\n"))
    assert log.users.to_list() == ["007", "7"]
    assert log.items.to_list() == ["1.0", "1"]


def test_a_k_core_is_cut_out_of_a_log_in_memory(tmp_path):
    rows = ["u,a", "u,b", "v,a", "v,b", "w,a", "w,c"]
    log, report = read_log(
        write(tmp_path, "user,item\n" + "\n".join(rows) + "\n"), LogColumns(k_core=2)
    )
    assert log.users.to_list() == ["u", "v"]
    assert report.left_out == {"not in the 2-core": 2}
    with pytest.raises(RecurraError, match="k_core is 0"):
        read_log(tmp_path / "log.csv", LogColumns(k_core=0))
