"""A folder of text files as paragraphs: what a language model is pre-trained on, and what it is tested on."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from tlcore.runtime import nearest

ENDINGS = (".txt", ".txt.xz", ".xz")
_HELD_OUT = re.compile(r"(?<![a-z])(valid|validation|dev|test|heldout)(?![a-z])")


@dataclass
class Corpus:
    """Paragraphs to train on, and those of each file held out."""

    train: list[str]
    held_out: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """What it is made of, for a card."""
        return f"{', '.join(self.files)}: {len(self.train):,} paragraphs, {words(self.train):,} words"


def read_folder(
    root: str | Path, *, files: Sequence[str] = (), held_out: Sequence[str] = (), share: float = 0.02
) -> Corpus:
    """Read the text files of a folder (.txt, or packed: .xz), in the order of their names.

    A paragraph ends at a blank line; other line breaks are blanks. Files whose name says valid, dev or test are held
    out; where there are none, the last paragraphs of every file are.

    Parameters
    ----------
    files
        Names or patterns of the files to train on, such as ``*_train.txt.xz``; default all that are not held out.
    held_out
        Names or patterns of the files to test on.
    share
        Of each file's paragraphs that are held out where no file is.

    Raises
    ------
    ValueError
        If there is no such folder, no such file, no text in them, or a file is no whole UTF-8 text.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"pretrain lm: there is no folder {root}; give one that holds text files by --root")
    there = sorted(path.name for path in root.iterdir() if path.name.endswith(ENDINGS) and path.is_file())
    if not there:
        raise ValueError(f"pretrain lm: there is no file {' or '.join(ENDINGS)} in {root}")
    test = _chosen(held_out, there) if held_out else [name for name in there if _HELD_OUT.search(name.lower())]
    train = _chosen(files, there) if files else [name for name in there if name not in test]
    train = [name for name in train if name not in test or name in files]
    if both := sorted({*train} & {*test}):
        raise ValueError(f"pretrain lm: {', '.join(both)} would be trained on and held out; it can be one of both")
    corpus = Corpus([], {}, train)
    for name in train:
        found = read_paragraphs(root / name)
        cut = len(found) if test else max(1, round(len(found) * (1 - share)))
        corpus.train += found[:cut]
        if found[cut:]:
            corpus.held_out[f"{_stem(name)}, last {len(found) - cut} paragraphs"] = found[cut:]
    for name in test:
        corpus.held_out[_stem(name)] = read_paragraphs(root / name)
    if not corpus.train:
        raise ValueError(f"pretrain lm: there is no text to train on in {root}, all files are held out or empty")
    return corpus


def read_paragraphs(path: Path) -> list[str]:
    """Paragraphs of a file, without blank ones.

    Raises
    ------
    ValueError
        If it is no whole file, or not UTF-8.
    """
    try:
        data = path.read_bytes()
        text = (lzma.decompress(data) if path.suffix == ".xz" else data).decode("utf-8-sig")
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f"pretrain lm: {path.name} is no whole UTF-8 text ({error})") from None
    return list(paragraphs(text))


def paragraphs(text: str) -> Iterator[str]:
    r"""Stretches of text between blank lines, each on one line.

    >>> list(paragraphs("One line,\nits end.\n \n\nAnother."))
    ['One line, its end.', 'Another.']
    """
    for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        if joined := " ".join(part.split()):
            yield joined


def words(texts: Sequence[str]) -> int:
    """Words between blanks."""
    return sum(len(text.split()) for text in texts)


def _chosen(patterns: Sequence[str], there: Sequence[str]) -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        hits = [name for name in there if fnmatch(name, pattern)]
        if not hits:
            raise ValueError(f"pretrain lm: no text file {pattern!r}; {nearest(pattern, there)}")
        found += [name for name in hits if name not in found]
    return found


def _stem(name: str) -> str:
    return name.removesuffix(".xz").removesuffix(".txt")
