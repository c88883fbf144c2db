"""The commands on a real file, from end to end."""

import json

import polars as pl
import pytest

from recurra.core.cli import run
from recurra.recsys.cli import PACKAGE, app


@pytest.fixture(scope="module")
def log_file(tmp_path_factory):
    """Six items in a fixed round; everyone begins somewhere."""
    rows = [
        (f"u{user}", "abcdef"[(user + step) % 6], step)
        for user in range(60)
        for step in range(4 + user % 5)
    ]
    path = tmp_path_factory.mktemp("log") / "log.csv"
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_csv(path)
    return path


@pytest.fixture(scope="module")
def model_folder(log_file):
    folder = log_file.parent / "model"
    assert run(app, PACKAGE, ["train", str(log_file), "-o", str(folder), "--epochs", "60"]) == 0
    return folder


def test_a_trained_model_knows_what_comes_next(model_folder, capsys):
    command = ["recommend", str(model_folder), "--history", "a,b,c", "-k", "1", "--json"]
    assert run(app, PACKAGE, command) == 0
    (only,) = json.loads(capsys.readouterr().out)["lists"]
    assert (only["item"], only["rank"]) == ("d", 1)


def test_the_report_has_the_rules_beside_the_model(model_folder):
    found = json.loads((model_folder / "metrics.json").read_text())["test"]
    rules = ["popularity", "recent-popularity", "markov", "item-knn", "ease"]
    assert list(found) == [*rules, "bert4rec"]
    assert found["bert4rec"]["mrr@10"] > 0.9 > found["popularity"]["mrr@10"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_lists_of_every_user_go_to_a_file_that_is_not_overwritten(
    model_folder, tmp_path, capsys, ending
):
    output = tmp_path / f"lists.{ending}"
    command = ["recommend", str(model_folder), "-k", "2", "-o", str(output), "--seen"]
    assert run(app, PACKAGE, command) == 0
    table = (pl.read_csv if ending == "csv" else pl.read_parquet)(output)
    assert table.shape == (120, 4)
    assert capsys.readouterr().out == f"wrote {output}\n"
    assert run(app, PACKAGE, command) == 2
    assert "--force" in capsys.readouterr().err
    assert run(app, PACKAGE, [*command, "--force"]) == 0


def test_some_users_are_named_in_a_file(model_folder, tmp_path, capsys):
    (tmp_path / "some.txt").write_text("u7\n\nu3\n")
    command = ["recommend", str(model_folder), "--users", str(tmp_path / "some.txt"), "--json"]
    assert run(app, PACKAGE, [*command, "--seen", "-k", "1"]) == 0
    assert [row["user"] for row in json.loads(capsys.readouterr().out)["lists"]] == ["u7", "u3"]


def test_users_that_the_model_does_not_have_are_skipped_and_counted(model_folder, tmp_path, capsys):
    some = tmp_path / "some.txt"
    some.write_text("nobody\nu7\nnone either\n")
    command = ["recommend", str(model_folder), "--users", str(some), "--seen", "-k", "1", "--json"]
    assert run(app, PACKAGE, command) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert [row["user"] for row in found["lists"]] == ["u7"]
    assert found["unknown_users"] == 2
    assert shown.err == "skipped unknown users: 2\n"
    some.write_text("nobody\nnone either\n")
    assert run(app, PACKAGE, command) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no user nobody, nor any of 1 others" in shown.err
    assert shown.err.count("\n") == 1


def test_an_import_counts_users_with_few_events_as_training_does(tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("user,item\nu,a\nv,a\nv,b\n")
    command = ["import", str(log), "-o", str(tmp_path / "log")]
    said = "3 events of 2 users and 2 items; 2 users have fewer than 3 events"
    assert run(app, PACKAGE, command) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'log'}: {said}\n"
    assert run(app, PACKAGE, [*command, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["users_with_fewer_than_3_events"] == 2
    assert run(app, PACKAGE, ["train", str(log), "-o", str(tmp_path / "model")]) == 2
    assert f"{log}: no user has three events" in capsys.readouterr().err


def test_files_of_items_choose_limit_and_name_what_is_recommended(model_folder, tmp_path, capsys):
    (tmp_path / "only.txt").write_text("a\nb\nd\ne\nq\n")
    (tmp_path / "not.txt").write_text("a\n")
    (tmp_path / "items.csv").write_text("item,title,kind\nb,Bee,x\nd,Dee,x\ne,Eee,y\n")
    files = {"--only": "only.txt", "--exclude": "not.txt", "--items": "items.csv"}
    options = [word for option, name in files.items() for word in (option, str(tmp_path / name))]
    limit = ["--per-category", "1", "--category", "kind"]
    command = ["recommend", str(model_folder), "--history", "b,c,zz", "--seen", "--json"]
    assert run(app, PACKAGE, [*command, *options, *limit]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["title"] for row in found["lists"]] == ["Dee", "Eee"]
    assert (found["unknown_items"], found["unknown_ids_of_files"]) == (1, 1)


def test_similar_items_and_facts_are_shown(model_folder, capsys):
    assert run(app, PACKAGE, ["similar", str(model_folder), "a", "b", "-k", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["similar"]
    assert [(row["of"], row["rank"]) for row in rows] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    some = ["similar", str(model_folder), "zz", "a", "yy", "b", "-k", "2", "--json"]
    assert run(app, PACKAGE, some) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert (found["similar"], found["unknown_items"]) == (rows, 2)
    assert shown.err == "skipped unknown items: 2\n"
    assert run(app, PACKAGE, ["info", str(model_folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["items"], facts["users"]) == ("bert4rec", 6, 60)
    assert facts["metrics"]["test"]["markov"]["ndcg@10"] > 0
    assert run(app, PACKAGE, ["info", str(model_folder)]) == 0
    assert "markov, test" in capsys.readouterr().out


def test_lists_that_are_empty_are_counted_with_what_fills_them(model_folder, tmp_path, capsys):
    (tmp_path / "only.txt").write_text("a\n")
    histories = ["--history", "a,b", "--history", "b"]
    command = ["recommend", str(model_folder), *histories, "--only", str(tmp_path / "only.txt")]
    assert run(app, PACKAGE, [*command, "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert [(row["history"], row["item"]) for row in found["lists"]] == [(2, "a")]
    assert found["empty_lists"] == 1
    assert "lists without an item: 1; " in shown.err
    assert "give --seen" in shown.err
    assert run(app, PACKAGE, [*command, "--seen"]) == 0
    assert "lists without an item" not in capsys.readouterr().err


@pytest.mark.parametrize("history", ["", " , ", "a,,b,"])
def test_nothing_between_commas_is_no_item(model_folder, capsys, history):
    assert run(app, PACKAGE, ["recommend", str(model_folder), "--history", history, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["unknown_items"], found["cold_starts"]) == (0, 0 if "a" in history else 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "none"], "no model 'none'"),
        (["recommend", "MODEL", "--users", "no.txt"], "no.txt: No such file"),
        (["recommend", "MODEL", "--users", "LOG", "--history", "a"], "exclude each other"),
        (["recommend", "MODEL", "-o", "lists.xlsx"], "written as .csv or .parquet"),
        (["recommend", "MODEL", "--per-category", "2"], "--per-category needs --items"),
        (["recommend", "none", "-o", "lists.xlsx"], "written as .csv or .parquet"),
        (["similar", "none", "a", "-o", "lists.xlsx"], "written as .csv or .parquet"),
        (["export", "none", "-o", "model.txt"], "model.txt: models are written as .onnx"),
        (["recommend", "MODEL", "--only", "LOG", "-o", "x.csv"], "leave no item of the model"),
        (["recommend", "MODEL", "--only", "no.txt"], "no.txt: No such file"),
        (["similar", "MODEL", "zz"], "does not know the item zz: ids are those of the log"),
        (["similar", "MODEL", "zz", "yy"], "the item zz, nor any of 1 others: ids are those"),
        (["info", "none"], "no model 'none'"),
        (["train", "no.csv"], "no.csv: no such file"),
        (["train", "LOG", "-o", "LOG"], "is a file; give a folder"),
        (["train", "LOG", "--model", "gru"], "no model 'gru'; known are bert4rec, sasrec"),
        (["train", "LOG", "--recipe", "x"], "no recipe 'x'; known are cpu, original"),
        (["train", "LOG", "--model", "sasrec", "--recipe", "original"], "there is one of bert4rec"),
        (["train", "LOG", "network.width=3"], "unknown key network.width"),
        (["train", "LOG", "network.ngrams=[1]"], "network.ngrams are of sasrec"),
        (["train", "LOG", "--split", "x"], "no split 'x'; known are leave-one-out, time"),
        (["evaluate", "none", "LOG"], "no model 'none'"),
        (["evaluate", "MODEL", "LOG", "--users", "LOG"], "give --force to replace it"),
        (["evaluate", "MODEL", "LOG", "--users", "x.csv"], "written as .parquet"),
        (["compare", "LOG", "--models", "markov,gru"], "no model 'gru'; known are bert4rec"),
        (["compare", "LOG", "--models", "markov", "--users", "x.csv"], "written as .parquet"),
        (["compare", "LOG", "--models", "markov", "--plot", "x.gif"], "written as .png, .svg"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    model_folder, log_file, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": str(model_folder), "LOG": str(log_file)}
    assert run(app, PACKAGE, [places.get(word, word) for word in arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_done_is_judged_and_written_again(log_file, tmp_path):
    folder = tmp_path / "model"
    command = ["train", str(log_file), "-o", str(folder), "--epochs"]
    assert run(app, PACKAGE, [*command, "2"]) == 0
    first = json.loads((folder / "metrics.json").read_text())
    assert run(app, PACKAGE, [*command, "2"]) == 0
    again = json.loads((folder / "metrics.json").read_text())
    assert first["test"]["bert4rec"]["ndcg@10"] == again["test"]["bert4rec"]["ndcg@10"]


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ("c", [], "log was"),
        (None, ["cloze.mask_share=0.6"], "cloze.mask_share was 0.2, now 0.6"),
        (None, ["--model", "sasrec"], "model was 'bert4rec', now 'sasrec'"),
        (None, ["--k-core", "6"], "log was"),
    ],
)
def test_the_run_of_another_log_or_recipe_is_not_gone_on_with(
    log_file, tmp_path, capsys, change, words, said
):
    log, folder = tmp_path / "log.csv", tmp_path / "model"
    table = pl.read_csv(log_file)
    table.write_csv(log)
    command = ["train", str(log), "-o", str(folder), "--epochs", "1", "network.d_model=8"]
    assert run(app, PACKAGE, command) == 0
    weights = (folder / "model.safetensors").read_bytes()
    if change is not None:  # the same counts, another order
        table.with_columns(item=pl.col("item").replace({"a": change, change: "a"})).write_csv(log)
    capsys.readouterr()
    assert run(app, PACKAGE, [*command, *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error
    assert "--run" in error
    assert (folder / "model.safetensors").read_bytes() == weights


def test_a_model_is_judged_again_as_it_was_when_it_was_trained(
    model_folder, log_file, tmp_path, capsys
):
    users = tmp_path / "users.parquet"
    command = ["evaluate", str(model_folder), str(log_file), "--users", str(users), "--json"]
    assert run(app, PACKAGE, command) == 0
    found = json.loads(capsys.readouterr().out)
    first = json.loads((model_folder / "metrics.json").read_text())
    assert found["split"] == first["split"] == "leave-one-out"
    for name, row in first["test"].items():
        assert found["test"][name]["ndcg@10"] == row["ndcg@10"], name
    table = pl.read_parquet(users).filter(model="bert4rec")
    assert table["ndcg@10"].mean() == pytest.approx(first["test"]["bert4rec"]["ndcg@10"])
    assert len(table) == 60


def test_a_log_with_other_items_and_another_split_is_judged_and_said(
    model_folder, log_file, tmp_path, capsys
):
    table = pl.read_csv(log_file).with_columns(time=pl.int_range(pl.len()))
    more = pl.DataFrame({"user": ["u1", "u2"], "item": ["new", "new"], "time": [0, 1]})
    pl.concat([table, more]).write_csv(tmp_path / "log.csv")
    command = ["evaluate", str(model_folder), str(tmp_path / "log.csv"), "--split", "time"]
    assert run(app, PACKAGE, command) == 0
    shown = capsys.readouterr()
    assert "2 events are of items that the model does not know" in shown.err
    assert "may have learnt test events" in shown.err
    assert "bert4rec, by the length of the history" in shown.out


def test_networks_and_rules_are_compared_in_a_table_and_a_picture(log_file, tmp_path, capsys):
    command = ["compare", str(log_file), "--models", "popularity,markov,gsasrec", "--epochs", "1"]
    command += ["--run", str(tmp_path / "run"), "--plot", str(tmp_path / "models.png")]
    assert run(app, PACKAGE, command) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "0." in line] == [
        "popularity",
        "markov",
        "gsasrec",
    ]
    assert (tmp_path / "models.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "run/gsasrec/best").is_dir()
    assert run(app, PACKAGE, [*command, "--json"]) == 2  # the picture is there
    assert "--force" in capsys.readouterr().err
    assert run(app, PACKAGE, [*command, "--json", "--force"]) == 0
    assert list(json.loads(capsys.readouterr().out)["test"]) == ["popularity", "markov", "gsasrec"]


def test_what_was_seen_is_ranked_too_where_that_is_asked(tmp_path, capsys):
    # Learnt are "ab" of all: b comes first then, and a ties with c, which comes next and is new.
    log = tmp_path / "log.csv"
    log.write_text("user,item\n" + "".join(f"u{n},{item}\n" for n in range(9) for item in "abac"))
    model = str(tmp_path / "model")
    found = {}
    for name, words in {
        "compare": [str(log), "--models", "markov"],
        "train": [str(log), "-o", model, "--epochs", "1", "network.d_model=8"],
        "evaluate": [model, str(log)],
        "tune": [str(log), "-o", f"{model}2", "--tries", "1", "--epochs", "1", "network.d_model=8"],
    }.items():
        for seen in ([], ["--seen"]):
            trains = name in ("train", "tune")
            run_folder = ["--run", str(tmp_path / f"{name}{len(seen)}")] if trains else []
            assert run(app, PACKAGE, [name, *words, *seen, *run_folder, "--json"]) == 0
            document = json.loads(capsys.readouterr().out)
            found[name, bool(seen)] = document["test"]["markov"]["mrr@10"]
            said = "seen among them" if seen else "seen left out"
            assert document["protocol"].endswith(said)
    with_seen = (1 / 2 + 1 / 3) / 2
    assert found == {key: pytest.approx(with_seen if key[1] else 1.0) for key in found}


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "esasrec"],
        ["--model", "sasrec", "network.encoder=mamba2", "network.ngrams=[1]"],
        ["--model", "sasrec", "network.encoder=prefix-attention", "--split", "time"],
        ["--model", "sasrec", "network.encoder=mamba2", "network.positions=none"],
        ["network.layer=pre-norm", "network.positions=rotary"],
        ["--recipe", "original"],
    ],
    ids=" ".join,
)
def test_every_kind_of_network_is_trained_saved_and_used(log_file, tmp_path, capsys, words):
    table = pl.read_csv(log_file).with_columns(time=pl.int_range(pl.len()).shuffle(seed=0))
    table.write_csv(tmp_path / "log.csv")
    folder = tmp_path / "model"
    command = ["train", str(tmp_path / "log.csv"), "-o", str(folder), "--epochs", "1"]
    assert run(app, PACKAGE, [*command, "network.d_model=16", "validations=1", *words]) == 0
    capsys.readouterr()
    command = ["recommend", str(folder), "--history", "a,b,c", "-k", "2", "--json"]
    assert run(app, PACKAGE, command) == 0
    assert len(json.loads(capsys.readouterr().out)["lists"]) == 2
