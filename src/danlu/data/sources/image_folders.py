"""Read a folder of images: the folders below it are classes, or splits with classes inside.

What cannot be told from the folders is asked (`Question`), never guessed: a classifier of folder names looks fine and
knows nothing.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.file_form import FileForm, ReadOptions
from danlu.data.questions import Answer, Question
from danlu.data.sources.folder_tree import FolderTree, Parts, read_tree
from danlu.data.sources.image_files import TEXT_SUFFIXES, advice_for, count_suffixes, describe_suffixes
from danlu.data.sources.image_paths import names_images
from danlu.errors import DataError

IMAGE, LABEL, SPLIT = "image", "label", "split"
SPLIT_WORDS: dict[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# Names of folders that say what files are for, never what they show.
_ROLES = (
    "image images img imgs jpegimages mask masks label labels annotation annotations segmentation segmentations "
    "segmentationclass ground_truth groundtruth gt depth input inputs output outputs target targets data dataset raw "
    "processed"
)
ROLE_WORDS = frozenset(_ROLES.split())
ROLES = ("train", "validation", "test")
SHARED = 0.5  # of the inner folders' names that several outer folders have, so that either may be the classes
SHOWN = 4  # names in a question


def read_image_folder(
    folder: Path, options: ReadOptions, tables: Sequence[Path], read_table: Callable[[Path], RawData]
) -> RawData | None:
    """Read the images of a folder.

    Args:
        folder: the source.
        options: `labelled` says whether answers are needed, `class_folder` which folders name them.
        tables: files directly in it that hold tables; one of them may name the images.
        read_table: reads one of them.

    Returns:
        one row per image: `image`, `label`, and `split` if the folders are given splits; None if the folder is to be
        read as tables.

    Raises:
        DataError: a class has no image that can be read, or splits have no classes.
    """
    tree = read_tree(folder, any_image=not options.labelled)
    if not tree.nested:
        if tables or not tree.images:
            return None
        return _frame(tree, tree.images, None)
    if not options.labelled:
        return _frame(tree, tree.images, None, labels=[parts[-2] if len(parts) > 1 else None for parts in tree.images])
    listing = [each for each in map(read_table, tables) if names_images(each)]
    classes = _class_folders(tree, options)
    if not listing:
        return classes
    if len(listing) == 1 and _tops(tree.nested) <= ROLE_WORDS:
        return listing[0]
    return _with_question(tree, classes, _which_table(tree, listing))


def _class_folders(tree: FolderTree, options: ReadOptions) -> RawData:
    """Read folders as classes, at the level that labels, options or the folders say."""
    if options.labels and (known := _level_of(tree, options.labels)) is not None:
        return _frame(tree, tree.nested, known)
    level, given = options.class_folder, _given_splits(tree, options.class_folder)
    if level is None and not given:
        question = _which_level(tree)
        if question is not None:
            return _with_question(tree, None, question)
    level = level or (2 if given else 1)
    if level > 1 or not given:
        chosen = [parts for parts in tree.nested if len(parts) > level]
        _require_images(tree, chosen, level)
        read = _frame(tree, chosen, level, splits=[SPLIT_WORDS[parts[0].lower()] for parts in chosen] if given else ())
        inner = _inside_splits(tree) if given and options.class_folder is None else None
        return read if inner is None else _with_question(tree, read, inner)
    return _frame(tree, tree.nested, level)


def _level_of(tree: FolderTree, labels: frozenset[str]) -> int | None:
    """Return the level at which every folder is named like a class.

    None if there is none, or folders of several uses are above.
    """
    depth = min(map(len, tree.nested)) - 1
    for level in range(1, depth + 1):
        if all(parts[level - 1] in labels for parts in tree.nested):
            above = {parts[: level - 1] for parts in tree.nested}
            used = all(name.lower() in ROLE_WORDS for parts in above for name in parts)
            return None if len(above) > 1 and used else level
    return None


def _given_splits(tree: FolderTree, level: int | None) -> bool:
    """Return whether the outer folders are splits.

    Raises:
        DataError: they are named so, and hold images without classes, or none to train on.
    """
    tops = _tops(tree.nested)
    if level == 1 or not tops <= SPLIT_WORDS.keys():
        return False
    bare = sorted({parts[0] for parts in tree.nested} - {parts[0] for parts in tree.nested if len(parts) > 2})
    if bare or "train" not in {SPLIT_WORDS[name] for name in tops}:
        names = ", ".join(dict.fromkeys(parts[0] for parts in tree.nested))
        why = f"{bare[0]} has no folder for each class inside" if bare else "none of them is for training"
        raise DataError(
            f"{tree.root}: its folders are named like splits, not like classes ({names}), and {why}; give one of "
            "them as the source, or set data.class_folder: 1 if they are classes",
            code="DL202",
        )
    return True


def _which_level(tree: FolderTree) -> Question | None:
    """Return a question if the outer folders may not be the classes."""
    names = list(dict.fromkeys(parts[0] for parts in tree.nested))
    inner = _inner_names(tree)
    if len(names) == 1:
        return _which_below(tree)
    shared = sorted(name for name in set().union(*inner.values()) if sum(name in each for each in inner.values()) > 1)
    distinct = set().union(*inner.values())
    if all(inner[name] for name in names) and len(shared) > 1 and len(shared) >= SHARED * len(distinct):
        return _which_of_two(tree, names, sorted(distinct))
    if {name.lower() for name in names} <= ROLE_WORDS:
        message = f"its folders ({_list(names)}) say what files are for, not what they show; which hold the images?"
        alone = [_source(tree, (name,), f"the images in {name}") for name in names[:SHOWN]]
        return _ask(tree, message, (*alone, _level(1, names)))
    return None


def _which_below(tree: FolderTree) -> Question | None:
    """Ask whether the classes are deeper, where one folder holds everything."""
    shortest = min(tree.nested, key=len)
    depth = 0
    while depth < len(shortest) - 1 and len({parts[depth] for parts in tree.nested}) == 1:
        depth += 1
    names = list(dict.fromkeys(parts[depth] for parts in tree.nested if len(parts) > depth + 1))
    if len(names) < 2:
        return None
    prefix = shortest[:depth]
    message = f"all images are in {'/'.join(prefix)}; are the folders inside ({_list(names)}) the classes?"
    return _ask(tree, message, (_source(tree, prefix, _list(names)),))


def _which_of_two(tree: FolderTree, outer: list[str], inner: list[str]) -> Question:
    """Ask whether outer or inner folders are the classes, or the outer ones splits."""
    said = f"{_list(outer)} hold the same folders ({_list(inner)})"
    roles = {name: SPLIT_WORDS.get(name.lower()) for name in outer}
    together = Answer("data.class_folder=2", f"{_list(inner)}, of all together")
    if any(roles.values()):
        free = [role for role in ("test", "validation", "train") if role not in roles.values()]
        given = {role or (free.pop(0) if free else name): name for name, role in roles.items()}
        ordered = sorted(given, key=lambda role: list(ROLES).index(role) if role in ROLES else len(ROLES))
        paths = ", ".join(f"{role}: {_quoted(tree.path((given[role],)))}" for role in ordered)
        split = Answer(f"data.source={{{paths}}}", f"{_list(inner)}, split as given")
        odd = _list([name for name, role in roles.items() if role is None])
        return _ask(tree, f"{said}, and some are named like splits; what is {odd} for?", (split, together))
    if {name.lower() for name in outer} <= ROLE_WORDS:
        alone = [_source(tree, (name,), f"{_list(inner)}, in {name}") for name in outer[:SHOWN]]
        return _ask(tree, f"{said}; which hold the images, and which are the classes?", (*alone, together))
    return _ask(tree, f"{said}; which are the classes?", (_level(1, outer), together))


def _inside_splits(tree: FolderTree) -> Question | None:
    """Ask about folders inside given splits that are named by what files are for."""
    names = list(dict.fromkeys(parts[1] for parts in tree.nested if len(parts) > 2))
    if not {name.lower() for name in names} <= ROLE_WORDS:
        return None
    deeper = sorted({parts[2] for parts in tree.nested if len(parts) > 3})
    message = f"the folders in its splits ({_list(names)}) say what files are for, not what they show; what is a class?"
    answers = [Answer("data.class_folder=3", _list(deeper))] if deeper else []
    return _ask(tree, message, (*answers, _level(2, names)))


def _which_table(tree: FolderTree, listing: Sequence[RawData]) -> Question:
    names = [Path(each.origin).name for each in listing]
    message = f"{_list(names)} name the images in its folders; where are the answers?"
    tables = [Answer(f"data.source={each.origin}", f"{each.frame.height:,} rows") for each in listing[:SHOWN]]
    tops = list(dict.fromkeys(parts[0] for parts in tree.nested))
    if len(tops) > 1:
        return _ask(tree, message, (*tables, _level(1, tops)))
    below = _which_below(tree)
    return _ask(tree, message, (*tables, *(below.readings if below else ())))


def _ask(tree: FolderTree, message: str, readings: Sequence[Answer]) -> Question:
    return Question("DL205", str(tree.root), message, tuple(readings))


def _source(tree: FolderTree, parts: Parts, example: str) -> Answer:
    return Answer(f"data.source={tree.path(parts)}", example)


def _quoted(path: str) -> str:
    """Return a path as a value within braces."""
    return json.dumps(path, ensure_ascii=False) if set(path) & set(",:{}[]#'\"") else path


def _level(level: int, names: Sequence[str]) -> Answer:
    return Answer(f"data.class_folder={level}", _list(names))


def _list(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _tops(images: Sequence[Parts]) -> set[str]:
    """Return the names of the outer folders, in lower case."""
    return {parts[0].lower() for parts in images}


def _inner_names(tree: FolderTree) -> dict[str, set[str]]:
    """Return the folders with images inside each outer folder."""
    found: dict[str, set[str]] = {parts[0]: set() for parts in tree.nested}
    for parts in tree.nested:
        if len(parts) > 2:
            found[parts[0]].add(parts[1])
    return found


def _require_images(tree: FolderTree, chosen: Sequence[Parts], level: int) -> None:
    """Raise DataError for a class folder none of whose files can be read.

    One that holds only texts is no class.
    """
    if not chosen:
        raise DataError(
            f"{tree.root}: no image is {level} folders deep; set data.class_folder to the level of the folders that "
            "name the classes, 1 for those directly in it",
            code="DL202",
        )
    outer = {parts[: level - 1] for parts in chosen}
    known = {parts[level - 1] for parts in chosen}
    for folder in tree.folders:
        if len(folder) != level or folder[: level - 1] not in outer or folder[level - 1] in known:
            continue
        lost = [parts for parts in tree.others if parts[:level] == folder]
        if lost and all(Path(parts[-1]).suffix.lower() in TEXT_SUFFIXES for parts in lost):
            continue
        counts = count_suffixes([parts[-1] for parts in lost])
        advice = advice_for(set(counts))
        why = f"none of its files can be read ({describe_suffixes(counts)})" if lost else "it is empty"
        cure = advice or "give it images, or remove the folder"
        raise DataError(f"{tree.path(folder)}: the class {folder[-1]} has no image: {why}; {cure}", code="DL206")


def _with_question(tree: FolderTree, read: RawData | None, question: Question) -> RawData:
    """Return what `check` shows until then: by default all images, labelled by their folders."""
    found = read or _frame(tree, tree.nested, None, labels=[parts[-2] for parts in tree.nested])
    return RawData(found.frame, found.origin, found.folder, found.layout, LABEL, found.form, (question,))


def _frame(
    tree: FolderTree,
    images: Sequence[Parts],
    level: int | None,
    *,
    labels: Sequence[str | None] = (),
    splits: Sequence[str] = (),
) -> RawData:
    """Return a row per image; what else the folder holds counts as unread."""
    columns: dict[str, Sequence[str | None]] = {IMAGE: [tree.path(parts) for parts in images]}
    if level is not None:
        labels = [parts[level - 1] for parts in images]
    if labels:
        columns[LABEL] = labels
    if splits:
        columns[SPLIT] = splits
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    taken = set(images)
    unread = [parts[-1] for parts in (*tree.images, *tree.others) if parts not in taken]
    return RawData(
        frame,
        str(tree.root),
        Path(),  # paths are as the source was given
        "images",
        LABEL if labels else None,
        FileForm(unread=count_suffixes(unread)),
        split_column=SPLIT if splits else None,
    )


def read_images(files: Sequence[Path], origin: str) -> RawData:
    """Return a row per image file, without answers."""
    frame = pl.DataFrame({IMAGE: list(map(str, files))}, schema={IMAGE: pl.String})
    return RawData(frame, origin, Path(), "images")
