"""Was the answer called instead of written?

An exercise names what is off limits (``forbid=["tlcore.anatomy"]``). We read the student's cells without
running them, start at the names the check uses, follow every name these reach, and look for a reference to
something forbidden. Other cells may use it freely.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import symtable
from collections.abc import Iterable, Sequence
from pathlib import Path

# With these a name can be reached without being written, so they are off limits wherever something is forbidden.
_BY_NAME = (
    "importlib", "pkgutil", "runpy", "inspect", "builtins", "__main__", "__import__", "sys.modules",
    "eval", "exec", "globals", "vars", "get_ipython",
)  # fmt: skip
_INSIDES = {"__globals__", "__builtins__", "__dict__", "user_ns", "__code__"}


def free_names(source: str) -> set[str]:
    """Names that `source` uses but neither defines, imports nor finds among the builtins.

    >>> sorted(free_names("import math\\nassert area(2) == math.pi * side ** 2"))
    ['area', 'side']
    """
    top = symtable.symtable(source, "<check>", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    return {name for name in _globals(top) - bound if not hasattr(builtins, name)}


def _globals(top: symtable.SymbolTable) -> set[str]:
    """Names that code looks up in its module, at the top or from within a function."""
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced()}

    def visit(table: symtable.SymbolTable) -> None:
        used.update(s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced())
        for child in table.get_children():
            visit(child)

    for child in top.get_children():
        visit(child)
    return used


def violation(
    forbid: Sequence[str], names: Iterable[str], cells: Sequence[str], broken: Iterable[int] = ()
) -> str | None:
    """Return the forbidden thing that the definitions of `names` reach, as dotted path, or None.

    >>> cells = ["from tlcore import anatomy as a", "def rf(net):\\n    return a.receptive_field(net).size"]
    >>> violation(["tlcore.anatomy"], ["rf"], cells)
    'tlcore.anatomy.receptive_field'
    >>> violation(["tlcore.anatomy"], ["rf"], [*cells, "def rf(net): return 7"]) is None
    True

    Parameters
    ----------
    cells
        Sources of the cells, in the order in which they ran; a later definition replaces an earlier one.
    broken
        Indices of cells that ended in an error: what they define may not have been defined.
    """
    parsed = [_parse(cell) for cell in cells]
    statements = [s for body in parsed for s in body]
    aliases, starred = _aliases(statements), _starred(statements)
    bindings = _bindings(parsed, set(aliases), set(broken))

    imported = {path.split(".")[0] for path in (*aliases.values(), *starred)}
    waiting, seen = list(names), set()
    unseen = [n for n in waiting if n not in bindings and n not in aliases and not hasattr(builtins, n)]
    if unseen and any(n.id in _BY_NAME for s in statements for n in ast.walk(s) if isinstance(n, ast.Name)):
        return f"making {unseen[0]} without defining it"
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in bindings and name not in aliases and not hasattr(builtins, name):
            for module in starred:  # the name may come from there
                if any(f"{module}.".startswith(f"{banned}.") for banned in forbid):
                    return module
        for statement in bindings.get(name, []):
            used = _globals(symtable.symtable(ast.unparse(statement), "<cell>", "exec"))
            for path in _references(statement, used, aliases):
                if inside := _INSIDES & set(path.split(".")):
                    return inside.pop()
                if (top := path.split(".")[0]) in imported and _handed_in(top):
                    return f"{top}, a file of your own,"
                for banned in (*forbid, *_BY_NAME):
                    if path == banned or path.startswith(banned + "."):
                        return ".".join(path.split(".")[: banned.count(".") + 2])
            waiting += used
    return None


def _bindings(parsed: Sequence[list[ast.stmt]], modules: set[str], broken: set[int]) -> dict[str, list[ast.stmt]]:
    """For each name the statements that may have made it what it is.

    A definition replaces what came before only if it was surely reached: nothing before it in its cell can fail.
    """
    found: dict[str, list[ast.stmt]] = {}
    for index, body in enumerate(parsed):
        reached = index not in broken
        for statement in body:
            replaces = reached and isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.Assign))
            for name in _bound(statement, modules):
                if replaces and name in _defined(statement):
                    found[name] = [statement]
                else:
                    found.setdefault(name, []).append(statement)
            reached = reached and _cannot_fail(statement)
    return found


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.Assign):
        return {t.id for t in statement.targets if isinstance(t, ast.Name)}
    return {getattr(statement, "name", "")}


def _cannot_fail(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return True  # a cell in which it failed is among the broken ones
    if isinstance(statement, ast.FunctionDef):
        defaults = [*statement.args.defaults, *(d for d in statement.args.kw_defaults if d)]
        return not statement.decorator_list and all(isinstance(d, ast.Constant) for d in defaults)
    return isinstance(statement, (ast.Expr, ast.Assign)) and isinstance(statement.value, ast.Constant)


def _parse(cell: str) -> list[ast.stmt]:
    """Statements of a cell; those that IPython's magics run come after the call of the magic."""
    try:
        return ast.parse(cell).body
    except (SyntaxError, ValueError, RecursionError):
        pass
    try:
        from IPython.core.inputtransformer2 import TransformerManager

        body: list[ast.stmt] = ast.parse(TransformerManager().transform_cell(cell)).body
    except Exception:  # no IPython, or a cell that it does not understand either
        return []
    texts = [n.value for s in body for n in ast.walk(s) if isinstance(n, ast.Constant) and type(n.value) is str]
    return body + [s for text in texts if text != cell for s in _parse(text)] if _magic(body) else body


def _magic(body: list[ast.stmt]) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "get_ipython" for s in body for n in ast.walk(s))


@functools.cache
def _handed_in(module: str) -> bool:
    """Tell whether a module is a file beside the notebook: not installed here, or found in this folder."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is None or (spec.origin is not None and Path(spec.origin).parent == Path.cwd())


def _bound(statement: ast.stmt, modules: set[str]) -> set[str]:
    """Names that a top-level statement binds or changes, at any depth of its if, for, with or try.

    Imported names are left out: what they stand for is in the alias table.
    """
    names: set[str] = set()
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        names.add(statement.name)
        inner = [n for n in ast.walk(statement) if isinstance(n, ast.Global)]
        names |= {_path(d).split(".")[0] for d in statement.decorator_list}  # a decorator may keep what it is given
        return names.union(*(n.names for n in inner)) - modules
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            names.add(_path(node).split(".")[0])
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.MatchAs, ast.MatchStar)):
            names.add(node.name or "")
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = _path(statement.value.func)
        names.add(called.split(".")[0])  # tools.append(f), table.update(g=f)
        if called == "setattr" and statement.value.args:
            names.add(_path(statement.value.args[0]).split(".")[0])
    return names - modules - {""}


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
                    if a.name != "*":
                        table[a.asname or a.name] = f"{node.module}.{a.name}"
    return table


def _starred(statements: list[ast.stmt]) -> list[str]:
    """Modules of which everything was imported."""
    nodes = [n for s in statements for n in ast.walk(s) if isinstance(n, ast.ImportFrom)]
    return [n.module for n in nodes if n.module and any(a.name == "*" for a in n.names)]


def _references(statement: ast.stmt, used: set[str], aliases: dict[str, str]) -> Iterable[str]:
    """Dotted paths that a statement refers to: through the names it looks up in the module, or imports itself."""
    own = _aliases([statement])
    for node in ast.walk(statement):
        if isinstance(node, (ast.Name, ast.Attribute)):
            first, _, rest = _path(node).partition(".")
            whole = aliases.get(first, first)
            if first in used or first in own:
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
