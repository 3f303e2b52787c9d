"""Helpers that nearly every fork has, known by what their code does and not by their names."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping

from ingestd.detections.routing.sources import Source, stands_for


def is_deep_get(home: Source, definition: ast.FunctionDef) -> bool:
    """Whether `definition(event, *keys, default=None)` fetches what `event.deep_get` fetches: it reduces the keys by
    getting each from a Mapping, and the default stands for all that is no Mapping and for a null at the end."""
    match definition.args:
        case ast.arguments(
            posonlyargs=[],
            args=[ast.arg(arg=start)],
            vararg=ast.arg(arg=keys),
            kwonlyargs=[ast.arg(arg=default)],
            kw_defaults=[ast.Constant(value=None)],
            kwarg=None,
        ):
            pass
        case _:
            return False
    match [statement for statement in definition.body if not _is_text(statement)]:
        case [
            ast.Assign(targets=[ast.Name(id=found)], value=reduced),
            ast.If(
                test=ast.Compare(left=ast.Name(id=tested), ops=[ast.Is()], comparators=[ast.Constant(value=None)]),
                body=[ast.Return(value=ast.Name(id=instead))],
                orelse=[],
            ),
            ast.Return(value=ast.Name(id=returned)),
        ]:
            names_agree = tested == returned == found and instead == default and found not in (start, keys, default)
            return names_agree and _reduces(home, reduced, start, keys, default)
    return False


def _reduces(home: Source, node: ast.expr, start: str, keys: str, default: str) -> bool:
    match node:
        case ast.Call(
            func=ast.Name(id=reduce),
            args=[
                ast.Lambda(
                    args=ast.arguments(args=[ast.arg(arg=here), ast.arg(arg=key)], defaults=[]),
                    body=ast.IfExp(
                        test=ast.Call(
                            func=ast.Name(id="isinstance"), args=[ast.Name(id=tested), ast.Name(id=kind)], keywords=[]
                        ),
                        body=ast.Call(
                            func=ast.Attribute(value=ast.Name(id=holder), attr="get"),
                            args=[ast.Name(id=wanted), ast.Name(id=missing)],
                            keywords=[],
                        ),
                        orelse=ast.Name(id=otherwise),
                    ),
                ),
                ast.Name(id=over),
                ast.Name(id=first),
            ],
            keywords=[],
        ):
            return (
                (tested, holder, wanted, missing, otherwise, over, first)
                == (here, here, key, default, default, keys, start)
                and len({here, key, default, "isinstance", kind}) == 5
                and stands_for(home, reduce, functools.reduce)
                and stands_for(home, kind, Mapping)
                and "isinstance" not in home.module.__dict__
            )
    return False


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
