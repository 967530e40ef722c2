"""A folder or archive of images before it is read: broken files, mixed kinds, missing classes."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Mapping

from .._images import Header, Picture, open_images, read_header
from .._layout import arrange
from .._members import Members
from .._reading import Colour, Reading
from ._finding import MOST_EXAMPLES, Example, Finding, Place

_LARGEST = 128  # side at which images of mixed sizes are looked at


def survey(members: Members, reading: Reading) -> tuple[list[Finding], Reading | None]:
    """Looks at the files one by one.

    Returns:
        The findings, and how the images can be read all the same; None where they cannot.
    """
    headers: dict[str, Header] = {}
    broken: dict[str, str] = {}
    for name in sorted(members.names):
        try:
            headers[name] = read_header(members, name)
        except ValueError as error:
            broken[name] = str(error)
    wanted = dataclasses.replace(
        reading,
        skip_broken=True,
        size=reading.size or _size(headers),
        colour=_colour(headers, reading),
    )
    deep = {
        name: f"{name} has {each.loss}" for name, each in headers.items() if "bits" in each.loss
    }
    usable = [name for name in headers if name not in deep]
    broken |= deep | (_undecodable(members, usable, headers, wanted) if usable else {})
    layout = _layout(members, broken)
    findings = [_readable(members, broken, reading), layout]
    if headers:
        findings += [_sizes(headers, reading), _colours(headers, reading)]
    whole = layout.status == "pass" and not deep
    return findings, wanted if whole else None


def _undecodable(
    members: Members, names: list[str], headers: Mapping[str, Header], reading: Reading
) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are left out is said by the finding
        files, kept = open_images(members, names, reading)
    found: dict[str, str] = {}
    for at in sorted(set(range(len(names))) - set(kept)):
        try:
            files.decode(Picture(names[at], headers[names[at]].simple))
        except ValueError as error:
            found[names[at]] = str(error)
    return found


def _layout(members: Members, broken: Mapping[str, str]) -> Finding:
    threshold = "images out of class folders, empty classes, or other classes in another split"
    try:
        classes, parts = arrange(members)
    except ValueError as error:
        return Finding("class-folders", "fail", f"{error}.", threshold)
    for split, images in parts.items():
        whole = {label for name, label in images if name not in broken}
        for label, kind in enumerate(classes):
            if label not in whole:
                message = f"No image of class {kind!r} of {split} can be read."
                return Finding("class-folders", "fail", message, threshold)
    return Finding(
        "class-folders",
        "pass",
        f"{len(classes)} class folders with images in {' and '.join(parts)}.",
        threshold,
    )


def _readable(members: Members, broken: Mapping[str, str], reading: Reading) -> Finding:
    total = len(members.names)
    left_out = "they are left out" if reading.skip_broken else "replace them, or pass --skip-broken"
    return Finding(
        "images-can-be-read",
        "pass" if not broken else "warn" if reading.skip_broken else "fail",
        f"{len(broken):,} of {total:,} images cannot be read: {left_out}."
        if broken
        else f"All {total:,} images can be read.",
        "any image that cannot be decoded; a warning where --skip-broken is given",
        tuple(
            Example((Place("", None, "", name),), _reason(error)) for name, error in broken.items()
        ),
    )


def _reason(error: str) -> str:
    """What is wrong, of a message that names the place and the remedy, too."""
    inner = error.partition("cannot be read as an image (")[2]
    return inner.partition("); replace it")[0] or error


def _sizes(headers: Mapping[str, Header], reading: Reading) -> Finding:
    sizes = Counter(header.size for header in headers.values())
    (commonest, count), *_ = sizes.most_common()
    mixed = len(sizes) > 1
    pixels = sorted(sizes, key=lambda size: size[0] * size[1])
    words = (
        f"{len(sizes):,} sizes, from {_by(pixels[0])} to {_by(pixels[-1])} pixels; {count:,} of "
        f"{len(headers):,} images have {_by(commonest)}"
    )
    if reading.size:
        words += f"; all are brought to {_by(reading.size)}."
    else:
        words += f". Pass --size, for example --size {min(*commonest, _LARGEST)}."
    return Finding(
        "one-size",
        "warn" if mixed and not reading.size else "pass",
        words if mixed else f"All images have {_by(commonest)} pixels.",
        "images of several sizes where --size is not given",
        _some(headers, lambda header: header.size != commonest) if mixed else (),
    )


def _colours(headers: Mapping[str, Header], reading: Reading) -> Finding:
    words = {"L": "grey", "RGB": "colour"}
    kinds = Counter(words.get(header.mode or "", header.loss) for header in headers.values())
    commonest = kinds.most_common()[0][0]
    mixed = len(kinds) > 1 or commonest not in words.values()
    found = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    after = f"; all are converted to {reading.colour}" if reading.colour else ""
    return Finding(
        "one-colour",
        "warn" if mixed and not reading.colour else "pass",
        f"Images differ in their channels: {found}{after or '. Pass --colour rgb or grey'}."
        if mixed
        else f"All images are {commonest}{after}.",
        "grey beside colour, or transparency, where --colour is not given",
        _some(headers, lambda each: words.get(each.mode or "") != commonest) if mixed else (),
    )


def _some(headers: Mapping[str, Header], differs: Callable[[Header], bool]) -> tuple[Example, ...]:
    names = [name for name, header in headers.items() if differs(header)][:MOST_EXAMPLES]
    return tuple(Example((Place("", None, "", name),), _by(headers[name].size)) for name in names)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _size(headers: Mapping[str, Header]) -> tuple[int, int] | None:
    """The commonest size, made smaller where it is large; None where all have the same."""
    sizes = Counter(header.size for header in headers.values()).most_common()
    if len(sizes) < 2:
        return None
    height, width = sizes[0][0]
    factor = min(1.0, _LARGEST / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _colour(headers: Mapping[str, Header], reading: Reading) -> Colour | None:
    modes = {header.mode for header in headers.values()}
    return reading.colour or ("rgb" if len(modes) > 1 or None in modes else None)
