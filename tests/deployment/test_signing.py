"""A signature says who made a bundle; what is unsigned, changed or signed by others is refused, each with its code."""

import json
import shutil
import stat
from pathlib import Path

import pytest

import danlu
from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.signatures import read_public_key, require_signature
from danlu.errors import ArgumentError, ArtifactError
from tests.conftest import Command


@pytest.fixture
def key(tmp_path: Path) -> Path:
    danlu.sign(new_key=tmp_path / "key.pem")
    return tmp_path / "key.pem"


@pytest.fixture
def bundle(table_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(table_run / "model", tmp_path / "bundle"))


def trusting(key: Path) -> list[str]:
    return [read_public_key(key.with_name(key.name + ".pub"))]


def refusal(bundle: Path, trusted: list[str]) -> str:
    with pytest.raises(ArtifactError) as refused:
        require_signature(bundle, trusted)
    return refused.value.code


def test_a_key_is_its_owners_alone_and_is_never_written_over(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(ArgumentError, match="exists already"):
        danlu.sign(new_key=key)
    assert key.read_bytes() == before


def test_a_bundle_is_accepted_as_signed_by_its_own_key_alone(bundle: Path, key: Path, tmp_path: Path) -> None:
    assert refusal(bundle, trusting(key)) == "DL316"
    file = danlu.sign(bundle, key=key)
    first = file.read_bytes()
    require_signature(bundle, trusting(key))
    require_signature(bundle, [])
    assert danlu.sign(bundle, key=key).read_bytes() == first
    danlu.sign(new_key=tmp_path / "other")
    other = trusting(tmp_path / "other")
    assert refusal(bundle, other) == "DL317"
    require_signature(bundle, [*other, *trusting(key)])
    with pytest.raises(ArgumentError, match="another key has signed"):
        danlu.sign(bundle, key=tmp_path / "other")


@pytest.mark.parametrize(
    "change",
    [{"signature": "AAAA"}, {"signature": "no base64"}, {"signature": None}, {"signature": "A" * 86 + "=="}],
    ids=["short", "no base64", "none", "of zeros"],
)
def test_a_changed_signature_is_refused(bundle: Path, key: Path, change: dict[str, object]) -> None:
    file = danlu.sign(bundle, key=key)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert refusal(bundle, trusting(key)) == "DL317"


def test_a_bundle_that_was_changed_and_given_a_new_digest_is_refused(bundle: Path, key: Path) -> None:
    danlu.sign(bundle, key=key)
    kept = (bundle / "signature.json").read_bytes()
    (bundle / "signature.json").unlink()
    opened = open_bundle(bundle)
    golden = opened.golden()
    assert golden is not None
    opened.add_golden(golden.head(2))
    (bundle / "signature.json").write_bytes(kept)
    open_bundle(bundle)
    assert refusal(bundle, trusting(key)) == "DL317"


def test_a_signed_bundle_is_not_changed_in_place(bundle: Path, key: Path) -> None:
    danlu.sign(bundle, key=key)
    before = {file.name: file.read_bytes() for file in bundle.iterdir()}
    opened = open_bundle(bundle)
    golden = opened.golden()
    assert golden is not None
    with pytest.raises(ArtifactError, match="is signed") as refused:
        opened.add_golden(golden.head(2))
    assert refused.value.code == "DL318"
    assert {file.name: file.read_bytes() for file in bundle.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"no key", None], ids=["empty", "words", "public"])
def test_what_is_no_private_key_signs_nothing(bundle: Path, key: Path, content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "wrong"
    file.write_bytes(key.with_name("key.pem.pub").read_bytes() if content is None else content)
    with pytest.raises(ArgumentError, match="holds no private Ed25519 key"):
        danlu.sign(bundle, key=file)
    with pytest.raises(ArgumentError, match="holds no public Ed25519 key"):
        read_public_key(key)
    assert not (bundle / "signature.json").exists()


def test_the_server_refuses_before_it_listens(bundle: Path, key: Path, danlu: Command) -> None:
    done = danlu("serve", bundle, "--trusted", f"{key}.pub", "--engine", "numpy", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "DL316"
