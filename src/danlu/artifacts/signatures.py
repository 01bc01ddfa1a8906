"""Who made a bundle: an Ed25519 signature of its digest, in signature.json beside the manifest.

The digest covers the manifest, and the manifest every file, so a signature covers the whole bundle. Needs the package
cryptography. The manifest does not list the signature, which is of the manifest; it is read by what checks it alone.
"""

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.bundle import MANIFEST, SIGNATURE, Bundle, bundle_folder
from danlu.artifacts.files import read_json, translate_write_errors, write_json
from danlu.core.imports import require_extra
from danlu.errors import ArgumentError, ArtifactError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

EXTRA = "sign"
SIGNED = b"danlu bundle "  # before the digest, so that a signature of anything else with this key says nothing here
PUBLIC_SUFFIX = ".pub"


def new_key(file: Path) -> tuple[Path, Path]:
    """Write a private key, for its owner alone, and its public one.

    Raises:
        ArgumentError: one of them exists already.
        MissingExtra: cryptography is not installed.
    """
    require_extra(EXTRA, "danlu sign")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = file.with_name(file.name + PUBLIC_SUFFIX)
    for target in (file, public):
        if target.exists():
            raise ArgumentError(f"{target}: exists already; choose another name for the key", code="DL404")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with translate_write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        for target, content, mode in ((file, secret, 0o600), (public, shown, 0o644)):
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as written:
                written.write(content)
    return file, public


def sign_bundle(bundle: Bundle, key_file: Path) -> dict[str, Any]:
    """Write a bundle's signature beside its manifest, and return it.

    Raises:
        ArgumentError: the key is none, or another key has signed the bundle.
        ArtifactError: the bundle has no digest.
        MissingExtra: cryptography is not installed.
    """
    require_extra(EXTRA, "danlu sign")
    key = _private_key(key_file)
    digest = bundle.manifest.digest
    if not digest:
        raise ArtifactError(
            f"{bundle.folder}: is of format 1, without a digest that could be signed; evaluate its run again, which "
            "writes the bundle anew",
            code="DL302",
        )
    signature = _text(key.sign(SIGNED + digest.encode()))
    made = {"format": 1, "digest": digest, "key": public_text(key.public_key()), "signature": signature}
    file = bundle.folder / SIGNATURE
    if file.is_file() and read_json(file) != made:
        raise ArgumentError(f"{file}: another key has signed this bundle; sign a copy without it", code="DL404")
    write_json(file, made)
    return made


def require_signature(path: Path, trusted: Sequence[str]) -> None:
    """Raise ArtifactError unless a trusted key has signed a bundle as it is.

    Args:
        path: of a bundle or a run.
        trusted: public keys, as `read_public_key` gives them; none for any bundle.
    """
    if not trusted:
        return
    folder = bundle_folder(path)
    manifest = read_json(folder / MANIFEST)
    check_signature(folder, str(manifest.get("digest", "")) if isinstance(manifest, dict) else "", trusted)


def check_signature(folder: Path, digest: str, trusted: Sequence[str]) -> None:
    """Raise ArtifactError unless one of the trusted keys has signed this digest.

    Args:
        folder: of the bundle.
        digest: that its opened manifest was verified against.
        trusted: public keys.
    """
    from cryptography.exceptions import InvalidSignature

    file = folder / SIGNATURE
    if not file.is_file():
        raise ArtifactError(f"{folder}: is not signed; danlu sign {folder} --key FILE signs it", code="DL316")
    written = read_json(file)
    said = written.get("signature") if isinstance(written, dict) else None
    try:
        signature = base64.b64decode(said, validate=True) if isinstance(said, str) else b""
    except (binascii.Error, ValueError):
        signature = b""
    for key in trusted:
        try:
            _public_of(key).verify(signature, SIGNED + digest.encode())
        except InvalidSignature:
            continue
        return
    signer = written.get("key") if isinstance(written, dict) else None
    if signer in trusted:
        why = "it names a trusted key, but it or the bundle was changed since"
    else:
        why = f"it names {signer}, which is not trusted here"
    raise ArtifactError(f"{file}: is no valid signature of this bundle by a trusted key: {why}", code="DL317")


def read_public_key(file: Path) -> str:
    """Return the public key of a file as text.

    Raises:
        ArgumentError: the file holds no public Ed25519 key.
        MissingExtra: cryptography is not installed.
    """
    require_extra(EXTRA, "a trusted key")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_content(file))
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ArgumentError(
            f"{file}: holds no public Ed25519 key; danlu sign --new-key FILE writes one as FILE{PUBLIC_SUFFIX}",
            code="DL402",
        )
    return public_text(key)


def public_text(key: "Ed25519PublicKey") -> str:
    """Return a public key's 32 bytes as text."""
    return f"ed25519:{_text(key.public_bytes_raw())}"


def _public_of(text: str) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.partition(":")[2]))


def _private_key(file: Path) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_content(file), password=None)
    except (ValueError, TypeError):  # TypeError: it asks for a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ArgumentError(
            f"{file}: holds no private Ed25519 key without a password; danlu sign --new-key FILE writes one",
            code="DL402",
        )
    return key


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ArgumentError(f"{file}: cannot be read: {error.strerror or error}", code="DL402") from error


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
