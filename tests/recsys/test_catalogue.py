import polars as pl
import pytest

from recurra.core.errors import RecurraError
from recurra.recsys.catalogue import Catalogue, allowed_items, read_ids


@pytest.fixture
def catalogue(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text(
        "Item_Id,title,kind,rank\npot,A pot,iron,1\njug,A jug,clay,2\npot,Again,clay,3\n"
        "mug,A mug,clay,4\ncup,A cup,,5\n"
    )
    return Catalogue(path)


def test_columns_of_the_file_are_joined_behind_a_list_in_its_order(catalogue):
    lists = pl.DataFrame({"rank": [1, 2, 3], "item": ["jug", "tea", "pot"]})
    joined = catalogue.join(lists)
    assert joined.columns == ["rank", "item", "title", "kind", "item_rank"]
    assert joined["title"].to_list() == ["A jug", None, "A pot"]
    assert joined["rank"].to_list() == [1, 2, 3]


def test_ids_that_are_numbers_are_joined_as_text(tmp_path):
    (tmp_path / "titles.csv").write_text("movieId,title\n12,Twelve\n")
    joined = Catalogue(tmp_path / "titles.csv").join(pl.DataFrame({"item": [12, 7]}))
    assert joined.rows() == [(12, "Twelve"), (7, None)]


def test_whole_floats_of_parquet_are_joined_as_integers(tmp_path):
    table = pl.DataFrame({"item": [12.0, None], "title": ["Twelve", "?"]})
    table.write_parquet(tmp_path / "titles.parquet")
    joined = Catalogue(tmp_path / "titles.parquet").join(pl.DataFrame({"item": [12, 7]}))
    assert joined.rows() == [(12, "Twelve"), (7, None)]


def test_categories_are_numbered_and_items_without_one_are_not(catalogue, log):
    found = catalogue.categories(log, "kind")
    pot, tea, cup, mug, jug = log.number(["pot", "tea", "cup", "mug", "jug"])
    assert found[mug] == found[jug] >= 0
    assert found[pot] >= 0
    assert found[pot] != found[mug]
    assert found[[0, tea, cup]].tolist() == [-1, -1, -1]


def test_files_that_do_not_fit_are_one_line(catalogue, log, tmp_path):
    with pytest.raises(RecurraError, match="no column 'category'; it has title, kind, rank"):
        catalogue.categories(log, "category")
    (tmp_path / "bare.csv").write_text("name,title\na,b\n")
    with pytest.raises(RecurraError, match="no column of items; it has name, title"):
        Catalogue(tmp_path / "bare.csv")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(RecurraError, match="names no item"):
        read_ids(tmp_path / "empty.txt", "item")


def test_only_and_exclude_are_counted_where_the_log_has_not_the_item(log):
    allowed, unknown = allowed_items(log, ["pot", "jug", "boat"], ["jug", "ship"])
    assert unknown == 2
    assert allowed.nonzero()[0].tolist() == log.number(["pot"]).tolist()
    assert allowed_items(log, None, ["pot"])[0].sum() == 5  # the fifth is no item
