"""What in a student's cells looks like tampering with the grader: for a person to review, never a penalty."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

from tlcore.grading.lesson import is_check

_LINE = 500
_SIGNS = {
    r"\bast_transformers\b|\binput_transformers\w*\b": "changes how cells are compiled",
    r"\bdo_execute\b|\bexecute_reply\b|\bkernelapp\b|\bcontrol_channel\b|\bshell_channel\b": "reaches into the kernel",
    r"\bdisplayhook\b|\bshowtraceback\b|\bset_custom_exc\b|\bdisplay_pub\b": "changes what cells show",
    r"\b_ih\b|\b_oh\b|\bIn\s*\[": "reads the history of cells",
    r"gradebook|\bnbgrader\b": "names the gradebook",
    r"\btlcore\.grading\b|\bfrom\s+tlcore\s+import\s+[^\n]*\bgrading\b": "uses the grader",
    r"HIDDEN TESTS|\bsolutions/": "looks for hidden tests or solutions",
    r"\bos\s*\.\s*(_exit|kill|killpg|fork|setsid)\b|\bptrace\b|\bctypes\b": "acts on processes",
    r"/proc/|/etc/|\.\./[^'\"\n]*(submitted|autograded|feedback|source|solutions)": "looks at the machine's files",
    r"\bsocket\s*\.\s*socket\b|\burllib\.request\b|\brequests\.(get|post)\b": "uses the network",
    r"\bsys\s*\.\s*modules\b|\b__builtins__\b|\bsys\s*\.\s*(settrace|setprofile)\b": "replaces modules or traces calls",
    r"def\s+__eq__\s*\([^)\n]{0,200}\)\s*(->\s*\w+\s*)?:\s*return\s+True\b": "makes an object equal to everything",
    r"\batexit\b": "runs code at exit",
}


@dataclass(frozen=True)
class Flag:
    """A sign and the line it was found on."""

    cell: int
    sign: str
    line: str


def suspicious(nb: NotebookNode) -> Iterator[Flag]:
    """Find the signs in the code of a tidied notebook, check cells aside."""
    for number, cell in enumerate(nb.cells):
        if cell.cell_type != "code" or is_check(cell):
            continue
        lines = _without_comments(cell.source).splitlines()
        text = "\n".join(line[:_LINE] for line in lines)  # a pattern may take long on a long line
        for pattern, sign in _SIGNS.items():
            if found := re.search(pattern, text):
                line = text[: found.end()].splitlines()[-1].strip()
                yield Flag(number, sign, line[:120])


def _without_comments(source: str) -> str:
    lines = source.splitlines()
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError, IndexError):
        return source
    return "\n".join(lines)
