"""`danlu sign`: sign a bundle with a key, or make a key."""

from pathlib import Path

from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.errors import ArgumentError


@checked
def sign(bundle: StrPath | None = None, *, key: StrPath | None = None, new_key: StrPath | None = None) -> Path:
    """Sign a bundle with an Ed25519 key, so that `danlu.serve(trusted=...)` can tell who made it.

    The signature is of the bundle's digest, which covers every file of it, and stands beside them as signature.json.
    From then on the bundle is not changed in place.

    Args:
        bundle: folder of a bundle or a run.
        key: file of a private key, in PEM.
        new_key: a file for a new private key, in place of bundle and key; the public one gets its name and `.pub`.

    Returns:
        the signature's file, or the new public key's.

    Raises:
        ArgumentError: the key cannot be used, or another one has signed the bundle.
        ArtifactError: the bundle is damaged.
        MissingExtra: the extra `sign` is not installed.

    Example:
        >>> import shutil
        >>> import danlu
        >>> released = shutil.copytree("runs/wine/model", "released")
        >>> danlu.sign(new_key="release.pem").name
        'release.pem.pub'
        >>> danlu.sign(released, key="release.pem").name
        'signature.json'
    """
    from danlu.artifacts import signatures
    from danlu.artifacts.bundle import SIGNATURE, open_bundle

    if new_key is not None:
        if bundle is not None or key is not None:
            raise ArgumentError("--new-key makes a key and signs nothing; leave out the bundle and --key", code="DL401")
        return signatures.new_key(Path(new_key))[1]
    if bundle is None or key is None:
        raise ArgumentError(
            "give a bundle and --key FILE, or --new-key FILE to make a key (FILE is the private one)", code="DL401"
        )
    opened = open_bundle(bundle)
    signatures.sign_bundle(opened, Path(key))
    return opened.folder / SIGNATURE
