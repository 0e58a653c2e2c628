"""Was the answer called instead of written?

An exercise names what is off limits (``forbid=["tlcore.anatomy"]``). We read the student's cells without
running them, start at the names the check uses, follow every name these reach, and look for a reference to
something forbidden. Other cells may use it freely.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterable, Sequence

# With these a name can be reached without being written, so they are off limits wherever something is forbidden.
_BY_NAME = (
    "importlib",
    "__import__",
    "eval",
    "exec",
    "globals",
    "vars",
    "sys.modules",
    "builtins",
    "inspect",
)


def free_names(source: str) -> set[str]:
    """Names that `source` uses but neither defines, imports nor finds among the builtins.

    >>> sorted(free_names("import math\\nassert area(2) == math.pi * side ** 2"))
    ['area', 'side']
    """
    top = symtable.symtable(source, "<check>", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used: set[str] = set()

    def visit(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            at_top = table is top and symbol.is_referenced()
            if at_top or (symbol.is_global() and symbol.is_referenced()):
                used.add(symbol.get_name())
        for child in table.get_children():
            visit(child)

    visit(top)
    return {name for name in used - bound if not hasattr(builtins, name)}


def violation(forbid: Sequence[str], names: Iterable[str], cells: Iterable[str]) -> str | None:
    """Return the forbidden thing that the definitions of `names` reach, as dotted path, or None.

    >>> cells = ["from tlcore import anatomy as a", "def rf(net):\\n    return a.receptive_field(net).size"]
    >>> violation(["tlcore.anatomy"], ["rf"], cells)
    'tlcore.anatomy.receptive_field'
    >>> violation(["tlcore.anatomy"], ["other"], cells) is None
    True
    """
    statements = [s for cell in cells for s in _parse(cell)]
    aliases = _aliases(statements)
    bindings: dict[str, list[ast.stmt]] = {}
    for statement in statements:
        for name in _bound(statement, set(aliases)):
            bindings.setdefault(name, []).append(statement)

    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for statement in bindings.get(name, []):
            for path in _references(statement, aliases):
                for banned in (*forbid, *_BY_NAME):
                    if path == banned or path.startswith(banned + "."):
                        return ".".join(path.split(".")[: banned.count(".") + 2])
            waiting += [n.id for n in ast.walk(statement) if isinstance(n, ast.Name)]
    return None


def _parse(cell: str) -> list[ast.stmt]:
    lines = ["" if line.lstrip().startswith(("%", "!", "?")) else line for line in cell.splitlines()]
    try:
        return ast.parse("\n".join(lines)).body
    except (SyntaxError, ValueError, RecursionError):
        return []


def _bound(statement: ast.stmt, modules: set[str]) -> set[str]:
    """Names that a top-level statement binds or changes, at any depth of its if, for, with or try.

    Imported names are left out: what they stand for is in the alias table.
    """
    names: set[str] = set()
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        names.add(statement.name)
        inner = [n for n in ast.walk(statement) if isinstance(n, ast.Global)]
        return names.union(*(n.names for n in inner))
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            names.add(_path(node).split(".")[0])
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        names.add(_path(statement.value.func).split(".")[0])  # tools.append(f), table.update(g=f)
    return names - modules


def _aliases(statements: list[ast.stmt]) -> dict[str, str]:
    """What each imported name stands for: {'np': 'numpy', 'anatomy': 'tlcore.anatomy'}."""
    table: dict[str, str] = {}
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                for a in node.names:
                    table[a.asname or a.name.split(".")[0]] = a.name if a.asname else a.name.split(".")[0]
            elif isinstance(node, ast.ImportFrom) and node.module:
                for a in node.names:
                    table[a.asname or a.name] = node.module if a.name == "*" else f"{node.module}.{a.name}"
    return table


def _references(statement: ast.stmt, aliases: dict[str, str]) -> Iterable[str]:
    for node in ast.walk(statement):
        if isinstance(node, (ast.Name, ast.Attribute)):
            first, _, rest = _path(node).partition(".")
            whole = aliases.get(first, first)
            yield f"{whole}.{rest}" if rest else whole
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{a.name}" for a in node.names)


def _path(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_path(node.value)}.{node.attr}"
    if isinstance(node, (ast.Subscript, ast.Call, ast.Starred)):
        return _path(node.func if isinstance(node, ast.Call) else node.value)
    return "<expression>"
