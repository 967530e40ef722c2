"""Sentences, kept as UTF-8 bytes; cutting them into tokens is the model's first layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ._arrays import encode_labels, split_called
from ._dataset import Part, Source
from ._reading import Reading
from ._split import Split

#: Columns that hold sentences and classes, where nothing else is said.
TEXT_COLUMNS = ("text", "sentence")
LABEL_COLUMNS = ("label", "class", "target", "y")

#: Ends of names that say how a file is written, and so are no classes.
_FORMS = {"", "csv", "html", "json", "jsonl", "md", "tsv", "txt", "xml", "yaml"}

_UNUSED = ("size", "colour", "skip_broken", "mapping", "bounds")


def sentences(split: Split) -> list[str]:
    """The text of a split whose inputs are UTF-8 bytes, padded with 0.

    Raises:
        ValueError: The split holds something else.

    Example:
        >>> import tempfile, brolly
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "mine.txt"
        >>> _ = path.write_text("good\\tI like it.\\nbad\\tI do not.\\n")
        >>> data = brolly.load_data(path, validation=0, test=0)
        >>> data.shape, data.classes, brolly.data.sentences(data.train)
        ((10,), ('bad', 'good'), ['I like it.', 'I do not.'])
    """
    if len(split.shape) != 1 or split.dtype != torch.uint8 or split.scale != 1:
        raise ValueError(
            f"{split.dataset}/{split.name} holds {split.dtype} of shape {split.shape}, scale "
            f"{split.scale:g}; expected text: uint8 of shape (length,), scale 1"
        )
    rows = (np.ascontiguousarray(part.numpy()) for part in split.parts())
    return [text.decode() for part in rows for text in part.view(f"S{part.shape[1]}")[:, 0]]


def read_text(path: Path, reading: Reading) -> Source:
    """Reads a file of lines `label<TAB>sentence`; blank lines are left out.

    Raises:
        ValueError: A line has no tab, label or sentence, or holds bytes that are not UTF-8.
    """
    reading.refuse("a file of labelled lines", *_UNUSED, "label")
    labels, texts = [], []
    for number, line in _lines(path):
        label, tab, text = line.partition("\t")
        if not tab or not label.strip() or not text.strip():
            raise ValueError(f"{path}, line {number} is {line[:60]!r}; expected label<TAB>sentence")
        labels.append(label.strip())
        texts.append(text)
    if labels and (labels[0].lower() in LABEL_COLUMNS) and (texts[0].lower() in TEXT_COLUMNS):
        raise ValueError(f"{path} begins with names of columns; call it {path.stem}.tsv")
    return source_of_sentences(path.stem, {"train": (texts, np.array(labels))}, str(path))


def read_text_folder(path: Path, reading: Reading) -> Source:
    """Reads a folder with a file for each class, one sentence a line; blank lines are left out.

    The class is what differs in the names: `pos.txt` and `neg.txt`, or `reviews.pos` and
    `reviews.neg`. Such folders may lie in `train`, `validation` and `test`.

    Raises:
        ValueError: A file holds bytes that are not UTF-8, or no sentence.
    """
    reading.refuse("a folder of text", *_UNUSED, "label")
    texts: dict[str, tuple[list[str], np.ndarray]] = {}
    for split, files in _files(path).items():
        lines = {label: [line for _, line in _lines(file)] for label, file in files.items()}
        for label in files:
            if not lines[label]:
                raise ValueError(f"{files[label]} has no sentences; expected one a line")
        labels = np.repeat(list(lines), [len(part) for part in lines.values()])
        texts[split] = [text for part in lines.values() for text in part], labels
    return source_of_sentences(path.name, texts, str(path))


def is_text_folder(path: Path) -> bool:
    """Whether `read_text_folder` is to read a folder.

    Raises:
        ValueError: Its files of text are called like splits, so that they can be no classes.
    """
    return bool(_files(path))


def source_of_sentences(
    name: str,
    texts: Mapping[str, tuple[Sequence[str], np.ndarray]],
    where: str,
    classes: tuple[str, ...] | None = None,
) -> Source:
    """Makes a source of sentences, as uint8 `(n, length)` padded with 0 to the longest of all.

    Args:
        name: Of the data set.
        texts: Sentences and labels of `train`, and where there are such, `validation` and `test`.
        where: What errors call it.
        classes: Class names, where labels are positions in them already.

    Raises:
        ValueError: There are none, or one holds the character 0.
    """
    given = {split: pair[1] for split, pair in texts.items()}
    labels, classes = encode_labels(given, where, classes)
    encoded = {split: [text.encode() for text in pair[0]] for split, pair in texts.items()}
    if not encoded["train"]:
        raise ValueError(f"{where} has no sentences to train on")
    for split, parts in encoded.items():
        for number, part in enumerate(parts):
            if b"\0" in part:
                raise ValueError(
                    f"{where}: sentence {number} of {split} holds the character 0, which ends a "
                    "sentence; remove it"
                )
    length = max(1, max(len(part) for parts in encoded.values() for part in parts))
    kind = np.dtype(f"S{length}")  # NumPy pads with 0
    parts = {}
    for split, whole in encoded.items():
        values = np.array(whole, kind).view(np.uint8).reshape(len(whole), length)
        parts[split] = Part(torch.from_numpy(values), labels[split])
    return Source(name, parts, classes, scale=1.0, bounds=(0.0, 255.0))


def decoded(path: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        ValueError: It is not UTF-8; the line is named.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line} holds the byte {content[error.start]:#04x}, which is not UTF-8; "
            "convert the file, for example with iconv -f latin1 -t utf-8"
        ) from None


def _lines(path: Path) -> list[tuple[int, str]]:
    lines = enumerate(decoded(path).split("\n"), start=1)
    return [(number, line.removesuffix("\r")) for number, line in lines if line.strip()]


def _files(folder: Path) -> dict[str, dict[str, Path]]:
    """The file of each class in each split; empty if the folder is none of text."""
    inside = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    whole = _class_files(folder)
    if whole:
        return {"train": whole}
    splits = {split_called(entry.name): entry for entry in inside if entry.is_dir()}
    if "train" not in splits or None in splits:
        return {}
    found = {split: _class_files(entry) for split, entry in splits.items() if split}
    return found if all(found.values()) else {}


def _class_files(folder: Path) -> dict[str, Path]:
    entries = [
        entry
        for entry in sorted(folder.iterdir())
        if not entry.name.lower().startswith((".", "readme", "licen"))
    ]
    by_stem = {entry.stem: entry for entry in entries}
    by_suffix = {entry.suffix[1:]: entry for entry in entries}
    if len(entries) < 2 or not all(entry.is_file() and _is_text(entry) for entry in entries):
        return {}
    if set(by_suffix) == {"txt"} and len(by_stem) == len(entries):
        splits = [entry.name for entry in entries if split_called(entry.stem)]
        if splits:
            raise ValueError(
                f"{folder} has files called {', '.join(splits)}; expected one for each class. Join "
                "them to a .csv or .tsv file with the columns text, label and split"
            )
        return by_stem
    if len(by_stem) == 1 and len(by_suffix) == len(entries) and by_suffix.keys().isdisjoint(_FORMS):
        return by_suffix
    return {}


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" not in file.read(1024)  # pictures and archives have some at once
