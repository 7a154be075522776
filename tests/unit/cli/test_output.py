import pytest

from tunery.cli.output import err, print_facts, print_json, print_table


def test_table_is_never_narrower_than_an_id(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    name = "ft:base:org:" + "x" * 300
    print_table(("MODEL", "N"), [(name, "7")], right=("N",))
    assert capsys.readouterr().out.splitlines()[1] == f"{name}  7"


def test_table_aligns_wide_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "NEXT"), [("訓練.jsonl", "a"), ("plain", "b")])
    rows = capsys.readouterr().out.splitlines()
    assert rows[1:] == ["訓練.jsonl  a", "plain       b"]


def test_table_shows_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME",), [("[red]x[/red]",)])
    assert capsys.readouterr().out.splitlines()[1] == "[red]x[/red]"


def test_facts_leave_out_what_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"a": "1", "long name": None, "b": "2"})
    assert capsys.readouterr().out == "a  1\nb  2\n"


def test_json_keeps_characters_readable(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "größer"})
    assert capsys.readouterr().out == '{\n  "name": "größer"\n}\n'


def test_messages_go_to_standard_error_unbroken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    err.fail("[bold]" + "word " * 30)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: [bold]" + "word " * 30 + "\n"
