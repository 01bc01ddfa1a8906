"""Images that cannot be read, as far as their headers, checksums and ends show it."""

from danlu.data.audit.finding import Finding, View, found
from danlu.data.images.check import suspicious


def broken_images(view: View) -> list[Finding]:
    """Find images that training would refuse.

    Damage inside a file may escape this quick look.
    """
    if view.dataset.kind != "image":
        return []
    frames = view.frames.values()
    references = [value for frame in frames for value in frame[view.dataset.content].to_list()]
    broken = suspicious(references, view.dataset.folder)
    if not broken:
        return []
    return [
        found(
            "broken-images",
            "error",
            mend="data.clean.broken: skip",
            broken=len(broken),
            looked_at=len(references),
            first=broken[0][1],
            images=[reason for _, reason in broken],
        )
    ]
