"""Follows the app's source as it runs when no variable of the environment is set, without running any of it.

Functions are gone through with values (`app_values.py`) in place of objects. Where a condition is known, the branch
that is taken gives the result; the other one is gone through aside, with the variables that decide the condition taken
as set: what it would give tells which variables decide the result, and what stands in for them. Where a condition is
not known, both branches count, and a result is known only if they agree.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from .app_definitions import Definitions
from .app_known import (
    COMPARE,
    Call,
)
from .app_state import (
    BREAK,
    CONTINUE,
    MOST_ROUNDS,
    RAISE,
    RETURN,
    Outcome,
    Run,
)
from .app_syntax import handles, name_of
from .app_values import (
    ANY,
    ATOMS,
    NONE,
    Class,
    External,
    Failure,
    Instance,
    Items,
    Method,
    Outside,
    Scope,
    Unknown,
    Value,
    derived,
    truth,
    union,
)
from .model import Place


class Interpreter(Definitions):
    """Goes through statements; this is all of it."""

    def block(self, statements: Sequence[ast.stmt], scope: Scope) -> Outcome | None:
        """Go through statements; None when their end is reached."""
        for index, statement in enumerate(statements):
            outcome = self.statement(statement, scope)
            if outcome is not None:
                self.remainder(statements[index + 1:], scope, outcome)
                return outcome
        return None

    def remainder(self, statements: Sequence[ast.stmt], scope: Scope, outcome: Outcome) -> None:
        """Go through what is reached only when variables are set."""
        if not statements:
            return
        real = outcome.names is not None
        after, names = self.on_the_side(lambda: self.block(statements, scope), scope, outcome.assumed,
                                        outcome.names, outcome.kind != RAISE)
        if real:
            outcome.names = self.left_aside(after, names, scope, outcome.assumed)

    def statement(self, node: ast.stmt, scope: Scope) -> Outcome | None:
        self.left -= 1
        self.root_left -= 1
        if (self.left < 0 or self.root_left < 0) and self.too_much(scope, node):
            return None
        handler = STATEMENTS.get(type(node))
        if handler is None:
            return None
        before = scope.names
        outcome: Outcome | None = handler(self, node, scope)
        if outcome is not None and outcome.kind == RAISE and outcome.names is None and not outcome.assumed \
                and not isinstance(node, ast.Raise):
            # The same once more as it goes when the variables are set: the rest is reached only then.
            outcome.assumed = (*outcome.value.deps, ANY)
            catchers, self.catchers = self.catchers, []
            after, names = self.on_the_side(lambda: handler(self, node, scope), scope, outcome.assumed, dict(before),
                                            False)
            self.catchers = catchers
            outcome.names = self.left_aside(after, names, scope, outcome.assumed)
        return outcome

    def on_expression(self, node: ast.Expr, scope: Scope) -> Outcome | None:
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if not isinstance(call, ast.Call):
            return self.fails(self.value(node.value, scope))
        return self.fails(self.on_call(call, scope, unused=True))

    def on_assign(self, node: ast.Assign, scope: Scope) -> Outcome | None:
        value = self.value(node.value, scope)
        failing = self.fails(value)
        if failing is None:
            for target in node.targets:
                self.assign(target, value, scope)
        return failing

    def on_annotated(self, node: ast.AnnAssign, scope: Scope) -> Outcome | None:
        if scope.is_class and isinstance(node.target, ast.Name) and scope.owner:
            scope.owner.fields[node.target.id] = (node.annotation, node.lineno)
        if node.value is None:
            return None
        value = self.value(node.value, scope)
        failing = self.fails(value)
        if failing is None:
            self.assign(node.target, value, scope)
        return failing

    def on_augmented(self, node: ast.AugAssign, scope: Scope) -> Outcome | None:
        place = Place(scope.module.file, node.lineno)
        current = self.value(node.target, scope)
        more = self.value(node.value, scope)
        if isinstance(current.data, Items) and isinstance(node.op, (ast.Add, ast.BitOr)):
            self.method(Method(current, "extend"), Call([more], {}, place))
            return None
        value = self.binary(node.op, current, more, place)
        failing = self.fails(value)
        if failing is None:
            self.assign(node.target, value, scope)
        return failing

    def on_return(self, node: ast.Return, scope: Scope) -> Outcome:
        value = self.value(node.value, scope) if node.value else NONE
        return self.fails(value) or Outcome(RETURN, value)

    def on_raise(self, node: ast.Raise, scope: Scope) -> Outcome:
        error = ""
        if node.exc is not None:
            self.value(node.exc, scope)
            error = name_of(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
        found = self.lookup(error, scope).data if error else None
        names = [error]
        if isinstance(found, Class):
            names += [*(base.name for base in found.lineage()), *found.outside]
        return Outcome(RAISE, Value(Failure("|".join(names), Place(scope.module.file, node.lineno), raised=True)))

    def on_assert(self, node: ast.Assert, scope: Scope) -> None:
        test = self.value(node.test, scope)
        if truth(test) is False:
            self.narrow(node.test, scope)

    def on_if(self, node: ast.If, scope: Scope) -> Outcome | None:
        test = self.value(node.test, scope)
        return self.fails(test) or self.choose(
            test, lambda: self.block(node.body, scope), lambda: self.block(node.orelse, scope), scope, node.test)

    def choose(self, test: Value, then: Run, otherwise: Run, scope: Scope, node: ast.expr) -> Outcome | None:
        """Go through the branches of a condition."""
        taken = truth(test)
        if taken is None:
            return self.either(test, then, otherwise, scope, Place(scope.module.file, node.lineno))
        live, dead = (then, otherwise) if taken else (otherwise, then)
        before = dict(scope.names)
        self.tests.append(test.deps)
        try:
            outcome = live()
        finally:
            self.tests.pop()
        if test.deps and outcome is not None and outcome.kind == RAISE and isinstance(outcome.value.data, Failure) \
                and outcome.value.data.raised and not self.caught(outcome.value.data.error):
            # A check that stops an app without its required variables: what comes after is how it runs with them.
            scope.names = before
            self.narrow(node, scope)
            return dead()
        names = scope.names
        after, other = self.on_the_side(dead, scope, test.deps, before, True)
        if not test.deps:
            return outcome
        goes_on = self.left_aside(after, other, scope, test.deps)
        if (after is not None and after.kind != RAISE) or (outcome is not None and outcome.kind != RAISE):
            self.controlled(scope, test.deps)
        if outcome is None:
            if goes_on is not None:
                self.overlay(names, goes_on, test)
            return None
        if outcome.kind == RETURN:
            outcome.value = Value(outcome.value.data, union(test.deps, outcome.value.deps), outcome.value.sources,
                                  outcome.value.via, outcome.value.loose)
        if outcome.names is None and goes_on is not None:
            outcome.names, outcome.assumed = goes_on, test.deps
        return outcome

    def either(self, test: Value, then: Run, otherwise: Run, scope: Scope, place: Place) -> Outcome | None:
        """Go through both branches of a condition that is not known."""
        before = dict(scope.names)
        self.perhaps += 1
        try:
            first = then()
            first_names = scope.names
            scope.names = before
            second = otherwise()
        finally:
            self.perhaps -= 1
        ways = [(first, first_names), (second, scope.names)]
        for (outcome, _), (other, names) in (ways, reversed(ways)):
            if outcome is not None and outcome.kind == RAISE:
                if isinstance(outcome.value.data, Failure):
                    self.risk(outcome.value.data.error)
                scope.names = names
                return other
        if first is None and second is None:
            self.blend(first_names, scope.names, test, place)
            scope.names = first_names
            return None
        if first and second and first.kind == second.kind == RETURN:
            return Outcome(RETURN, self.alike(first.value, second.value, test, place))
        for outcome, names in ((first, scope.names), (second, first_names)):
            if outcome is not None and outcome.kind == RETURN:
                if self.aside > scope.depth:
                    scope.leaves.append((self.assumed, outcome.value))
                else:
                    scope.perhaps.append((outcome.value, test))
                scope.names = names
                return second if outcome is first else first
        scope.uncertain = True
        return None

    def on_for(self, node: ast.For | ast.AsyncFor, scope: Scope) -> Outcome | None:
        place = Place(scope.module.file, node.lineno)
        iterated = self.value(node.iter, scope)
        failing = self.fails(iterated)
        if failing is not None:
            return failing
        values = self.each(iterated, place)
        if values is not None and len(values) <= MOST_ROUNDS:
            before, was_uncertain = dict(scope.names), scope.uncertain
            scope.uncertain = False
            outcome = self.rounds(node, values, scope)
            certain = not scope.uncertain
            scope.uncertain = was_uncertain
            if certain:
                if (iterated.deps or not values) and (outcome is None or outcome.kind == RETURN):
                    self.other_rounds(node, iterated, outcome, scope)
                return outcome
            # Nobody knows in which round it is left.
            scope.names = before
        why = iterated.data.reason if isinstance(iterated.data, Unknown) else "depends on a loop"
        item = Value(Unknown(why, place), iterated.deps, iterated.sources, None, iterated.loose)

        def perhaps() -> Outcome | None:
            for value in values or [item]:
                self.assign(node.target, value, scope)
                outcome = self.in_loop(self.block(node.body, scope))
                if outcome is not None:
                    return outcome
            return None

        return self.either(item, perhaps, lambda: None, scope, place) or self.perhaps_block(node.orelse, item, scope)

    def rounds(self, node: ast.For | ast.AsyncFor, values: Sequence[Value], scope: Scope) -> Outcome | None:
        """Go through a loop over known values."""
        for index, value in enumerate(values):
            self.assign(node.target, value, scope)
            outcome = self.block(node.body, scope)
            if outcome is None or outcome.kind == CONTINUE:
                continue
            for rest in values[index + 1:]:
                def again(rest: Value = rest) -> Outcome | None:
                    self.assign(node.target, rest, scope)
                    return self.block(node.body, scope)
                after, names = self.on_the_side(again, scope, outcome.assumed, None, False)
                self.left_aside(after, names, scope, outcome.assumed)
            if outcome.kind == BREAK:
                after, names = self.on_the_side(lambda: self.block(node.orelse, scope), scope, outcome.assumed, None,
                                                True)
                self.left_aside(after, names, scope, outcome.assumed)
                return None
            return outcome
        return self.block(node.orelse, scope)

    def other_rounds(
        self, node: ast.For | ast.AsyncFor, iterated: Value, outcome: Outcome | None, scope: Scope
    ) -> None:
        """What a loop does with more than it has when no variable is set."""
        reason = "is what a variable says" if iterated.deps else "depends on a loop"
        item = Value(Unknown(reason, Place(scope.module.file, node.lineno)), iterated.deps)

        def one_more() -> Outcome | None:
            self.assign(node.target, item, scope)
            return self.in_loop(self.block(node.body, scope))

        after, names = self.on_the_side(one_more, scope, iterated.deps, None, True)
        if not iterated.deps:
            return
        goes_on = self.left_aside(after, names, scope, iterated.deps)
        if after is not None and after.kind != RAISE:
            self.controlled(scope, iterated.deps)
        if goes_on is not None and outcome is None:
            self.overlay(scope.names, goes_on, Value(None, iterated.deps))

    def perhaps_block(self, statements: Sequence[ast.stmt], test: Value, scope: Scope) -> Outcome | None:
        """Statements that are reached or not, nobody knows."""
        if not statements:
            return None
        place = Place(scope.module.file, statements[0].lineno)
        return self.either(test, lambda: self.block(statements, scope), lambda: None, scope, place)

    @staticmethod
    def in_loop(outcome: Outcome | None) -> Outcome | None:
        return None if outcome and outcome.kind in {BREAK, CONTINUE} else outcome

    def on_while(self, node: ast.While, scope: Scope) -> Outcome | None:
        place = Place(scope.module.file, node.lineno)
        test = self.value(node.test, scope)
        failing = self.fails(test)
        if failing is not None:
            return failing
        if truth(test) is False:
            return self.choose(test, lambda: self.in_loop(self.block(node.body, scope)),
                               lambda: self.block(node.orelse, scope), scope, node.test)
        if truth(test) and not test.deps:
            before, was_uncertain = dict(scope.names), scope.uncertain
            scope.uncertain = False
            outcome = self.block(node.body, scope)
            certain, scope.uncertain = not scope.uncertain, was_uncertain
            if certain and outcome is not None and outcome.kind != CONTINUE:
                # Left in the first round.
                return self.in_loop(outcome)
            scope.names = before
        unknown = derived(Unknown("depends on a loop", place), test)
        return self.either(unknown, lambda: self.in_loop(self.block(node.body, scope)), lambda: None, scope, place) \
            or self.perhaps_block(node.orelse, unknown, scope)

    def on_try(self, node: ast.Try, scope: Scope) -> Outcome | None:
        types = [self.handled(handler.type, scope) for handler in node.handlers]
        before = dict(scope.names)
        self.catchers.append(tuple(name for names in types for name in names))
        self.risks.append((self.aside, set()))
        try:
            outcome = self.block(node.body, scope)
        finally:
            self.catchers.pop()
            _, risks = self.risks.pop()
        for risk in risks:
            if not any(handles(names, risk) for names in types):
                self.risk(risk)
        failure = outcome.value if outcome and outcome.kind == RAISE else None
        error = failure.data.error if failure and isinstance(failure.data, Failure) else ""
        if outcome is not None and failure is not None and outcome.names is not None:
            after, names_after = self.on_the_side(lambda: self.block(node.orelse, scope), scope, outcome.assumed,
                                                  outcome.names, False)
            outcome.names = self.left_aside(after, names_after, scope, outcome.assumed)
        for handler, names in zip(node.handlers, types, strict=True):
            if failure is not None and handles(names, error):
                outcome = self.rescued(handler, failure, outcome, scope)
                failure = None
            elif any(risk == "*" or handles(names, risk) for risk in risks) and failure is None:
                outcome = self.might_fail(handler, outcome, before, scope)
            else:
                self.on_the_side(lambda body=handler: self.block(body.body, scope),  # type: ignore[misc]
                                 scope, (), dict(before), True)
        if outcome is None and not error:
            outcome = self.block(node.orelse, scope)
        elif not error:
            self.on_the_side(lambda: self.block(node.orelse, scope), scope, (), None, True)
        return self.block(node.finalbody, scope) or outcome

    def rescued(
        self, handler: ast.ExceptHandler, failure: Value, outcome: Outcome | None, scope: Scope
    ) -> Outcome | None:
        """A handler that is reached when no variable is set."""
        deps = tuple(name for name in failure.deps if name != ANY)
        if handler.name:
            scope.names[handler.name] = Value(Unknown("is an exception", Place(scope.module.file, handler.lineno)))
        after = self.block(handler.body, scope)
        assumed = (*deps, ANY)
        goes_on = outcome.names if outcome else None
        if after is None:
            if goes_on is not None:
                self.overlay(scope.names, goes_on, Value(None, deps))
                for name, value in scope.names.items():
                    other = goes_on.get(name)
                    if other is not None and other is not value:
                        self.stand_in(assumed, other.sources, value)
            if goes_on is None:
                self.controlled(scope, deps)
            return None
        self.controlled(scope, deps)
        if after.names is None:
            after.names, after.assumed = goes_on, assumed
        return after

    def might_fail(
        self, handler: ast.ExceptHandler, outcome: Outcome | None, before: dict[str, Value], scope: Scope
    ) -> Outcome | None:
        """A handler that may be reached, because something that is done before it may fail."""
        place = Place(scope.module.file, handler.lineno)
        done = scope.names
        start = dict(before)
        for name, value in done.items():
            start.setdefault(name, value)

        def handled() -> Outcome | None:
            scope.names = start
            if handler.name:
                scope.names[handler.name] = Value(Unknown("is an exception", place))
            return self.block(handler.body, scope)

        test = Value(Unknown("depends on what fails at run time", place))

        def normally() -> Outcome | None:
            scope.names = done
            return outcome

        return self.either(test, normally, handled, scope, place)

    def handled(self, node: ast.expr | None, scope: Scope) -> tuple[str, ...]:
        """Names of the exceptions that a handler catches."""
        if node is None:
            return ("BaseException",)
        if isinstance(node, ast.Tuple):
            return tuple(name for part in node.elts for name in self.handled(part, scope))
        found = self.value(node, scope).data
        if isinstance(found, Items) and found.values is not None:
            return tuple(one.data.name.rpartition(".")[2] for one in found.values if isinstance(one.data, External))
        return (name_of(node),)

    def on_with(self, node: ast.With | ast.AsyncWith, scope: Scope) -> Outcome | None:
        swallowed: tuple[str, ...] = ()
        for item in node.items:
            value = self.value(item.context_expr, scope)
            if isinstance(value.data, Outside) and value.data.name == "contextlib.suppress":
                call = item.context_expr
                swallowed = tuple(name for part in getattr(call, "args", ()) for name in self.handled(part, scope))
            if item.optional_vars is not None:
                self.assign(item.optional_vars, derived(Unknown("depends on a with statement", Place(
                    scope.module.file, node.lineno)), value) if not isinstance(value.data, Instance) else value, scope)
        if not swallowed:
            return self.block(node.body, scope)
        handler = ast.ExceptHandler(None, None, [ast.Pass(lineno=node.lineno)], lineno=node.lineno)
        place = {"lineno": node.lineno, "col_offset": node.col_offset}
        handler.type = ast.Tuple([ast.Name(name, ast.Load(), **place) for name in swallowed], ast.Load(), **place)
        return self.on_try(ast.Try(node.body, [handler], [], [], lineno=node.lineno), scope)

    def on_match(self, node: ast.Match, scope: Scope) -> Outcome | None:
        subject = self.value(node.subject, scope)

        def cases(rest: Sequence[ast.match_case]) -> Outcome | None:
            if not rest:
                return None
            case = rest[0]
            found = self.pattern(case.pattern, subject, scope)
            test = derived(found, subject) if found is not None else \
                derived(Unknown("depends on a pattern", Place(scope.module.file, case.pattern.lineno)), subject)
            if case.guard is not None and found is not False:
                guard = self.value(case.guard, scope)
                test = derived(guard.data, subject, guard) if found else test
            return self.choose(test, lambda: self.block(case.body, scope), lambda: cases(rest[1:]), scope, node.subject)

        return cases(node.cases)

    def pattern(self, node: ast.pattern, subject: Value, scope: Scope) -> bool | None:
        """Whether a pattern matches; None when that is not known."""
        if isinstance(node, ast.MatchAs):
            found = True if node.pattern is None else self.pattern(node.pattern, subject, scope)
            if node.name:
                scope.names[node.name] = subject
            return found
        if isinstance(node, ast.MatchOr):
            answers = [self.pattern(part, subject, scope) for part in node.patterns]
            return True if True in answers else None if None in answers else False
        if isinstance(node, (ast.MatchValue, ast.MatchSingleton)):
            wanted = self.value(node.value, scope) if isinstance(node, ast.MatchValue) else Value(node.value)
            if isinstance(subject.data, ATOMS) and isinstance(wanted.data, ATOMS):
                return bool(COMPARE["Eq" if isinstance(node, ast.MatchValue) else "Is"](subject.data, wanted.data))
            return None
        for part in ast.walk(node):
            if isinstance(part, (ast.MatchAs, ast.MatchStar)) and part.name:
                scope.names[part.name] = derived(Unknown("depends on a pattern", Place(
                    scope.module.file, part.lineno)), subject)
        return None

    def on_leave(self, node: ast.stmt, scope: Scope) -> Outcome:
        return Outcome(BREAK if isinstance(node, ast.Break) else CONTINUE)


STATEMENTS: dict[type[ast.stmt], Callable[..., Outcome | None]] = {
    ast.Expr: Interpreter.on_expression, ast.Assign: Interpreter.on_assign, ast.AnnAssign: Interpreter.on_annotated,
    ast.AugAssign: Interpreter.on_augmented, ast.Return: Interpreter.on_return, ast.Raise: Interpreter.on_raise,
    ast.Assert: Interpreter.on_assert, ast.If: Interpreter.on_if, ast.For: Interpreter.on_for,
    ast.AsyncFor: Interpreter.on_for, ast.While: Interpreter.on_while, ast.Try: Interpreter.on_try,
    ast.With: Interpreter.on_with, ast.AsyncWith: Interpreter.on_with, ast.Match: Interpreter.on_match,
    ast.Break: Interpreter.on_leave, ast.Continue: Interpreter.on_leave, ast.Global: Interpreter.on_global,
    ast.Nonlocal: Interpreter.on_global, ast.Delete: Interpreter.on_delete, ast.Import: Interpreter.on_import,
    ast.ImportFrom: Interpreter.on_import_from, ast.FunctionDef: Interpreter.on_function,
    ast.AsyncFunctionDef: Interpreter.on_function, ast.ClassDef: Interpreter.on_class,
}
if hasattr(ast, "TryStar"):
    STATEMENTS[ast.TryStar] = Interpreter.on_try
