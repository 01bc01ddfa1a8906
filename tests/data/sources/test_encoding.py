"""Text in any encoding is read as it was written, or refused with what each encoding would make of it."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import danlu
from danlu.data.file_form import ReadOptions
from danlu.data.sources.encoding import detect_encoding, text_file
from danlu.data.sources.reader import read_source
from danlu.data.sources.text_bytes import is_utf_8
from danlu.errors import DataError

CITIES = {
    "gb18030": "北京 上海 广州 深圳 成都 杭州 武汉 西安 南京 重庆",
    "big5": "臺北 高雄 臺中 臺南 新竹 桃園 基隆 嘉義 花蓮 屏東",
    "shift_jis": "東京 大阪 京都 名古屋 札幌 福岡 仙台 広島 神戸 横浜",
    "euc_jp": "ひろしま とうきょう おおさか きょうと なごや さっぽろ ふくおか せんだい こうべ よこはま",
    "euc_kr": "서울 부산 대구 인천 광주 대전 울산 수원 전주 제주",
    "windows-1252": "Zürich Genève Besançon Málaga Köln Düsseldorf Orléans Gijón Bodø Évreux",
    "windows-1251": "Москва Казань Самара Тверь Рязань Пермь Омск Тула Сочи Псков",
    "koi8-r": "Москва Казань Самара Тверь Рязань Пермь Омск Тула Сочи Псков",
    "windows-1253": "Αθήνα Πάτρα Λάρισα Βόλος Καβάλα Χανιά Ρόδος Λαμία Κοζάνη Σέρρες",
}
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
# As the programs of their systems write them: the names of standards are those of smaller sets.
WRITTEN = {"shift_jis": "cp932", "big5": "cp950", "gb18030": "gbk", "euc_kr": "cp949"}


@pytest.mark.parametrize("times", [1, 4000], ids=["short", "long"])
@pytest.mark.parametrize("encoding", CITIES)
def test_tables_of_cities_are_read_in_the_encodings_of_their_countries(
    tmp_path: Path, encoding: str, times: int
) -> None:
    cities = CITIES[encoding].split() * times
    table = "c,y\n" + "".join(f"{city},{row}\n" for row, city in enumerate(cities))
    (tmp_path / "a.csv").write_bytes(table.encode(WRITTEN.get(encoding, encoding)))
    read = read_source(str(tmp_path / "a.csv"))
    assert read.frame["c"].to_list() == cities
    assert read.frame["y"].to_list() == list(range(len(cities)))
    assert read.form.encoding == encoding


@pytest.mark.parametrize("city", CITIES)
@pytest.mark.parametrize("encoding", UNICODE)
def test_unicode_is_read_by_its_mark(tmp_path: Path, encoding: str, city: str) -> None:
    cities = CITIES[city].split()
    (tmp_path / "a.csv").write_bytes(("c\n" + "\n".join(cities)).encode(encoding))
    read = read_source(str(tmp_path / "a.csv"))
    assert read.frame["c"].to_list() == cities
    assert read.form.encoding == encoding.removesuffix("-sig")


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"), ("utf-16-le", b"")]
)
def test_unicode_text_of_a_spreadsheet(tmp_path: Path, encoding: str, mark: bytes) -> None:
    text = 'name\tweight\ty\r\n"Jürgen ""J"" Ö"\t1\ta\r\n北京\t2\tb\r\n' + "plain\t3\tb\r\n" * 9
    (tmp_path / "a.csv").write_bytes(mark + text.encode(encoding))
    read = read_source(str(tmp_path / "a.csv"))
    assert read.frame.rows()[:2] == [('Jürgen "J" Ö', 1, "a"), ("北京", 2, "b")]
    assert read.form.separator == "\t"


def test_signs_of_windows(tmp_path: Path) -> None:
    rows = [("50 €", "“quoted” it’s"), ("20 €", "naïve – café"), ("5 €", "Straße … 20 °C"), ("£7", "½ cup")]
    text = "price,text\r\n" + "".join(f"{price},{words}\r\n" for price, words in rows)
    (tmp_path / "a.csv").write_bytes(text.encode("cp1252"))
    assert read_source(str(tmp_path / "a.csv")).frame.rows() == rows


def test_letters_beyond_ascii_late_in_a_file_are_seen(tmp_path: Path) -> None:
    lines = [f"{row},plain words" for row in range(100_000)] + ["7,Zürich", "8,forêt"]
    (tmp_path / "a.csv").write_bytes("\n".join(["x,c", *lines]).encode("latin-1"))
    read = read_source(str(tmp_path / "a.csv"))
    assert read.frame["c"].to_list()[-2:] == ["Zürich", "forêt"]
    assert read.form.encoding == "windows-1252"


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("jsonl", '{"c": "北京", "y": 1}\n{"c": "上海的房间很干净", "y": 2}\n'),
        ("tsv", "c\ty\n北京\t1\n上海的房间很干净\t2\n"),
        ("csv.gz", "c,y\n北京,1\n上海的房间很干净,2\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig"])
def test_every_text_format_is_read_in_every_encoding(tmp_path: Path, suffix: str, text: str, encoding: str) -> None:
    content = text.encode(encoding)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzip.compress(content, mtime=0) if suffix.endswith("gz") else content)
    assert read_source(str(path)).frame.rows() == [("北京", 1), ("上海的房间很干净", 2)]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig"])
def test_documents_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("今天天气很好，我们去公园散步。".encode(encoding))
    read = read_source(str(tmp_path / "a.txt"))
    assert read.frame.rows() == [("a.txt", "今天天气很好，我们去公园散步。")]
    assert read.form.encoding == encoding.removesuffix("-sig")


def test_what_several_encodings_fit_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("x,y\n1,高\n2,低\n".encode("gbk"))
    with pytest.raises(
        DataError, match=r"a\.csv:2: is not UTF-8, and several encodings fit: gb18030 reads '高'"
    ) as asked:
        read_source(str(tmp_path / "a.csv"))
    assert "big5 reads '詢'" in str(asked.value)
    assert "`data.encoding: gb18030`" in str(asked.value)
    assert read_source(str(tmp_path / "a.csv"), ReadOptions(encoding="gb18030")).frame["y"].to_list() == ["高", "低"]


@pytest.mark.parametrize("encoding", ["cp850", "mac-roman"])
def test_an_encoding_that_is_not_tried_is_not_taken_for_another(tmp_path: Path, encoding: str) -> None:
    words = {"cp850": "été forêt élève", "mac-roman": "été forêt élève"}
    text = "c\n" + "\n".join(words[encoding].split())
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=r"a\.csv:2: is not UTF-8, and no encoding makes likely words of it"):
        read_source(str(tmp_path / "a.csv"))
    assert (
        read_source(str(tmp_path / "a.csv"), ReadOptions(encoding=encoding)).frame["c"].to_list()
        == words[encoding].split()
    )


LATIN = {
    "cs": "Plzeň Třebíč Ústí Český Děčín Zlín Kroměříž Přerov Žďár Jičín Šumperk Vyškov Žatec Šternberk Tišnov",
    "pl": "Łódź Kraków Gdańsk Żywiec Częstochowa Rzeszów Świdnica Toruń Zamość Bełchatów Słupsk Ełk",
    "hu": "Győr Kőszeg Székesfehérvár Pécs Hódmezővásárhely Békéscsaba Kecskemét Gödöllő Nyíregyháza Szentgotthárd",
    "tr": "İzmir Muğla Şanlıurfa Kütahya Diyarbakır Eskişehir Çanakkale Ağrı Niğde Kırşehir",
    "lt": "Šiauliai Panevėžys Kėdainiai Telšiai Mažeikiai Marijampolė Ukmergė Tauragė Plungė Kretinga",
    "fr": "Genève Besançon Évreux Orléans Nîmes Châteauroux Béziers Sète Angoulême Alès",
    "pt": "São João Évora Guimarães Portimão Olhão Santarém Setúbal Bragança Vilamoura Almodôvar",
}


@pytest.mark.parametrize(
    ("encoding", "language"),
    [
        *(("windows-1250", language) for language in ("cs", "pl", "hu")),
        *(("iso8859-2", language) for language in ("cs", "pl", "hu")),
        *(("windows-1252", language) for language in ("fr", "pt")),
        ("windows-1254", "tr"),
        ("windows-1257", "lt"),
    ],
)
def test_latin_encodings_are_told_apart_by_the_letters_of_languages(
    encoding: str, language: str, tmp_path: Path
) -> None:
    cities = LATIN[language].split() * 3
    table = "c,y\n" + "".join(f"{city},{row}\n" for row, city in enumerate(cities))
    (tmp_path / "a.csv").write_bytes(table.encode(encoding))
    read = read_source(str(tmp_path / "a.csv"))
    assert read.frame["c"].to_list() == cities
    assert table.encode(read.form.encoding or "") == table.encode(encoding)  # some languages look alike in two
    assert read.form.other_encodings == {}


def test_an_encoding_in_doubt_is_said_with_what_others_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(("x,c,y\n" + "1,Genève,a\n2,Genf,b\n" * 20).encode("cp1252"))
    found = danlu.check({"data": {"source": str(tmp_path / "a.csv"), "target": "y"}})
    (said,) = [finding for finding in found["findings"] if finding["key"] == "doubtful-encoding"]
    assert (said["severity"], said["cure"]) == ("warning", "data.encoding: windows-1252")
    assert said["figures"]["readings"]["windows-1250"] == ["Genève", "Genčve"]
    settled = danlu.check({"data": {"source": str(tmp_path / "a.csv"), "target": "y", "encoding": "cp1250"}})
    assert not [finding for finding in settled["findings"] if finding["key"] == "doubtful-encoding"]


def test_the_training_files_encoding_settles_a_doubt(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("c\nGenčve\nGenf\n".encode("cp1250"))
    read = read_source(str(tmp_path / "a.csv"), ReadOptions(likely_encoding="windows-1250"))
    assert (read.frame["c"].to_list(), read.form.other_encodings) == (["Genčve", "Genf"], {})


def test_a_sign_before_a_word_is_a_letter_of_another_encoding(tmp_path: Path) -> None:
    words = ["Žďár", "Šumperk", "Žatec", "Kroměříž", "Plzeň"]
    (tmp_path / "a.csv").write_bytes(("c\n" + "\n".join(words * 4)).encode("iso8859-2"))
    read = read_source(str(tmp_path / "a.csv"), ReadOptions(likely_encoding="windows-1250"))
    assert read.frame["c"].to_list() == words * 4


def test_letters_that_all_latin_encodings_have_leave_no_doubt(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("c\nMüller\nGröße\n".encode("cp1250"))
    read = read_source(str(tmp_path / "a.csv"))
    assert (read.form.encoding, read.form.other_encodings) == ("windows-1252", {})


def test_short_files_of_euc_jp_are_right_or_in_doubt(tmp_path: Path) -> None:
    first, second = (
        "東京 大阪 京都 名古屋 札幌 福岡 仙台 広島 神戸 横浜",
        "りんご みかん コーヒー 天気 電話 会社 先生 学校",
    )
    words = [*first.split(), *second.split()]
    generator = np.random.default_rng(0)
    for number in range(60):
        drawn = generator.choice(words, 3, replace=False).tolist()
        (tmp_path / f"{number}.csv").write_bytes(("c\n" + "\n".join(drawn)).encode("euc_jp"))
        try:
            read = read_source(str(tmp_path / f"{number}.csv"))
        except DataError as asked:
            assert "several encodings fit" in str(asked)  # noqa: PT017 - refused in some, read in most
            continue
        assert read.frame["c"].to_list() == drawn or read.form.other_encodings


@pytest.mark.parametrize(("encoding", "line"), [("gbk", "encoding: gb18030"), ("cp1250", "encoding: windows-1250")])
def test_a_new_recipe_says_how_a_file_is_encoded(encoding: str, line: str, tmp_path: Path) -> None:
    words = "北京 上海 广州 深圳 成都" if encoding == "gbk" else LATIN["cs"]
    table = "x,c,y\n" + "".join(f"{n},{word},{'ab'[n % 2]}\n" for n, word in enumerate(words.split() * 6))
    (tmp_path / "a.csv").write_bytes(table.encode(encoding))
    assert line in danlu.new(str(tmp_path / "a.csv"), target="y", output=tmp_path / "r.yaml")
    assert danlu.check(tmp_path / "r.yaml")["encoding"] == line.removeprefix("encoding: ")
    (tmp_path / "a.csv").write_text(table, encoding="utf-8")
    assert "encoding:" not in danlu.new(str(tmp_path / "a.csv"), target="y")


def test_damaged_utf_8_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    text = "c\n" + "\n".join(["北京", "上海", "广州"] * 20)
    (tmp_path / "a.csv").write_bytes(text.encode() + b"\n\xe5\x8c\nlast\n")
    with pytest.raises(DataError, match=r"a\.csv:62: is UTF-8 but for a damaged character"):
        read_source(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("encoding", "content", "said"),
    [
        ("utf-8", "c\na\nété\n".encode("latin-1"), r"a\.csv:3: is not utf-8 \(byte 4\)"),
        ("gb18030", b"c\na\nb\n\xff\xff\n", r"a\.csv:4: is not gb18030"),
        ("shift_jis", "c\n中\n".encode("utf-16"), r"begins as utf-16 does; write `data\.encoding: utf-16`"),
        ("utf-16", "\ufeffc\n中\n".encode(), r"begins as utf-8 does"),
        ("gb1803", b"c\na\n", r"data\.encoding: no encoding 'gb1803'; the nearest is \"gb18030\""),
    ],
)
def test_a_wrong_encoding_in_the_recipe_is_refused(tmp_path: Path, encoding: str, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_source(str(tmp_path / "a.csv"), ReadOptions(encoding=encoding))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(30), "is an archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old workbook"),
        (gzip.compress(b"x\n1\n", mtime=0), "add .gz"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_source(str(tmp_path / "a.csv"))


def test_a_file_is_converted_once(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"c": "北京"}\n{"c": "上海"}\n{"c": "广州"}\n'.encode("gbk"))
    first, name = text_file(tmp_path / "a.jsonl", None)
    written = first.stat().st_mtime_ns
    again, _ = text_file(tmp_path / "a.jsonl", None)
    assert (again, again.stat().st_mtime_ns, name) == (first, written, "gb18030")
    (tmp_path / "b.jsonl").write_bytes(b'{"c": 1}\n')
    assert text_file(tmp_path / "b.jsonl", None) == (tmp_path / "b.jsonl", "utf-8")


@given(st.text(min_size=1).filter(lambda text: not text.isspace()), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_valid_utf_8_always_wins(tmp_path_factory: pytest.TempPathFactory, text: str, times: int) -> None:
    path = tmp_path_factory.mktemp("utf") / "a.txt"
    path.write_bytes(("é" + text.replace("\0", "")).encode("utf-8", errors="ignore") * times)
    assert detect_encoding(path) == "utf-8"


@given(st.binary(max_size=40), st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_a_character_cut_by_a_block_is_whole(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, block: int
) -> None:
    from danlu.data.sources import text_bytes

    content = "é中😀".encode() + content
    path = tmp_path_factory.mktemp("cut") / "a.txt"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_bytes, "BLOCK", block)
        found = is_utf_8(path)
    try:
        content.decode()
        assert found
    except UnicodeDecodeError:
        assert not found


def test_a_column_of_one_encoding_in_several_files(tmp_path: Path) -> None:
    cities = CITIES["gb18030"].split()
    for name, encoding in (("a", "gbk"), ("b", "utf-8"), ("c", "utf-16")):
        pl.DataFrame({"c": cities}).write_csv(tmp_path / f"{name}.csv")
        text = (tmp_path / f"{name}.csv").read_text(encoding="utf-8")
        (tmp_path / f"{name}.csv").write_bytes(text.encode(encoding))
    assert read_source(str(tmp_path / "*.csv")).frame["c"].to_list() == cities * 3
