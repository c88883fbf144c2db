"""A text that is read in pieces is the table that polars reads from the whole."""

import gzip

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.core.errors import RecurraError
from recurra.recsys.data import read_table, text_pieces
from recurra.recsys.data.tables import table_pieces

VALUES = st.text(st.sampled_from('ab,"\n\r é'), max_size=8)
ROWS = st.lists(st.none() | st.tuples(VALUES, VALUES, st.booleans()), min_size=1, max_size=12)


def as_text(rows, line_end):
    """Rows in double quotes, where a value asks for them or just so; None is an empty line."""

    def value(text, quoted):
        asks = quoted or any(sign in text for sign in ',"\n\r')
        return '"' + text.replace('"', '""') + '"' if asks else text

    texts = (
        "" if row is None else ",".join(value(part, row[2]) for part in row[:2]) for row in rows
    )
    return "".join(text + line_end for text in texts)


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(40, 90))
@settings(max_examples=100, deadline=None)
def test_pieces_together_are_the_whole(tmp_path_factory, rows, line_end, open_end, size):
    path = tmp_path_factory.getbasetemp() / "pieces.csv"
    body = as_text(rows, line_end)
    if open_end:
        body = body.removesuffix(line_end)
    head = '\n"us\ner",item' + line_end
    text = (head + body).encode()
    path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_pieces, "PIECE", size)
        pieces = list(text_pieces.text_pieces(path))
        assert pieces[0] + b"".join(piece[len(head) :] for piece in pieces[1:]) == text
        expected = pl.scan_csv(text, infer_schema=False).collect()
        assert read_table(path).equals(expected)


@pytest.mark.parametrize("start", ["", "\ufeff", "\r\n\n", "\ufeff\n"])
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_every_piece_has_the_header(tmp_path, monkeypatch, start, ending):
    monkeypatch.setattr(text_pieces, "PIECE", 20)
    text = f"{start}user;item\n" + "".join(f"u{n};a{n}\n" for n in range(40))
    path = tmp_path / f"log.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    assert len(list(table_pieces(path))) > 10
    rows = [(f"u{n}", f"a{n}") for n in range(40)]
    assert read_table(path).rows() == rows
    assert read_table(path).columns == ["user", "item"]


def test_a_row_without_an_end_is_refused_before_the_file_is_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(text_pieces, "PIECE", 50)
    path = tmp_path / "log.csv"
    path.write_text('user,item\nu,a\nu,"a\n' + "u,b\n" * 100)
    with pytest.raises(RecurraError, match=r"row of more than 50 bytes; .* from line 3 on"):
        read_table(path)


def test_a_broken_gzip_is_one_line(tmp_path):
    path = tmp_path / "log.csv.gz"
    whole = gzip.compress(b"user,item\n" + b"".join(b"u%d,a\n" % n for n in range(9999)))
    for content in (whole[:200], b"user,item\n", whole[:100] + bytes(50) + whole[150:]):
        path.write_bytes(content)
        with pytest.raises(RecurraError, match=r"cannot be read as a table: .*whole") as caught:
            read_table(path)
        assert "\n" not in str(caught.value)
