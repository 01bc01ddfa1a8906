"""Images that cannot be read, as far as their headers, checksums and ends show it."""

from danlu.data.audit.finding import Finding, AuditContext, make_finding
from danlu.data.images.check import find_suspicious


def broken_images(view: AuditContext) -> list[Finding]:
    """Find images that training would refuse.

    Damage inside a file may escape this quick look.
    """
    if view.dataset.kind != "image":
        return []
    frames = view.frames.values()
    references = [value for frame in frames for value in frame[view.dataset.content].to_list()]
    broken = find_suspicious(references, view.dataset.folder)
    if not broken:
        return []
    return [
        make_finding(
            "broken-images",
            "error",
            mend="data.clean.broken: skip",
            broken=len(broken),
            looked_at=len(references),
            first=broken[0][1],
            images=[reason for _, reason in broken],
        )
    ]
