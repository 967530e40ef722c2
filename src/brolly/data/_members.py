"""The images of a folder or an archive: their names, and what each file holds."""

from __future__ import annotations

import abc
import dataclasses
import os
from pathlib import Path

#: Ends of the names of images; whether a file is one is seen from its content.
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
)  # fmt: skip


class Members(abc.ABC):
    """Files with the name of an image, read one by one, from any thread or process.

    Attributes:
        place: The folder or archive.
        names: Paths below it, with `/`, in no order.
        folders: Paths of the folders below it, as far as it lists them.
    """

    place: Path
    names: tuple[str, ...]
    folders: tuple[str, ...]

    @abc.abstractmethod
    def read(self, name: str, first: int | None = None) -> bytes:
        """What the file holds, or at least its first bytes.

        Args:
            name: One of `names`.
            first: How many bytes at least, where it has them; None: all.

        Raises:
            ValueError: It cannot be read.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class Folder(Members):
    """Images below a folder."""

    place: Path
    names: tuple[str, ...]
    folders: tuple[str, ...]

    def read(self, name: str, first: int | None = None) -> bytes:
        try:
            with open(f"{self.place}/{name}", "rb", buffering=0) as file:
                return file.read(-1 if first is None else first)
        except OSError as error:
            raise ValueError(f"{self.place}: {name} cannot be read: {error.strerror}") from None


def open_folder(path: Path) -> Folder:
    """Looks through a folder; links are followed where they stay inside.

    Raises:
        ValueError: A link to an image or a folder leads outside, to nothing, or back to a folder
            it lies in.
    """
    names: list[str] = []
    folders: list[str] = []
    root = os.path.realpath(path)

    def search(at: str, above: tuple[str, ...]) -> None:
        with os.scandir(f"{root}/{at}") as entries:
            for entry in entries:
                if ignored(entry.name):
                    continue
                target = f"{above[-1]}/{entry.name}"
                if entry.is_symlink() and (entry.is_dir() or is_image(entry.name)):
                    target = os.path.realpath(entry.path)
                    _check_link(path / f"{at}{entry.name}", target, above)
                if entry.is_dir():
                    folders.append(f"{at}{entry.name}")
                    search(f"{at}{entry.name}/", (*above, target))
                elif is_image(entry.name) and entry.is_file():
                    names.append(f"{at}{entry.name}")

    search("", (root,))
    return Folder(path, tuple(names), tuple(folders))


def is_image(name: str) -> bool:
    """Whether a file is named like an image."""
    return name.lower().endswith(SUFFIXES)


def ignored(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def _check_link(link: Path, target: str, above: tuple[str, ...]) -> None:
    if not os.path.exists(target):
        fault = "leads to nothing"
    elif not target.startswith(above[0] + os.sep) and target != above[0]:
        fault = f"leads out of the folder, to {target}"
    elif target in above:
        fault = "leads back to a folder it lies in"
    else:
        return
    raise ValueError(f"{link} is a link that {fault}; put a copy there, or remove it")
