"""Images that cannot be read, as far as their headers, checksums and ends show it."""

from danlu.data.audit.finding import Finding, View
from danlu.data.images.check import suspicious


def broken_images(view: View) -> list[Finding]:
    """Images that training would refuse; damage inside a file may escape this quick look."""
    if view.dataset.kind != "image":
        return []
    frames = view.frames.values()
    references = [value for frame in frames for value in frame[view.dataset.content].to_list()]
    broken = suspicious(references, view.dataset.folder)
    if not broken:
        return []
    return [
        Finding(
            severity="error",
            subject="broken images",
            message=f"{len(broken):,} of {len(references):,} images cannot be read; the first: {broken[0][1]}",
            cure="data.clean.broken: skip",
            figures={"images": [reason for _, reason in broken]},
        )
    ]
