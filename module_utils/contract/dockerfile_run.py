"""What a RUN step does to folders and users. Nothing is run: commands that are known are followed, all others ignored.

Commands are taken to succeed. In a condition, or beside `||`, one may or may not have been done: then what it would
have done is not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from . import dockerfile_commands as commands
from . import dockerfile_users as users
from .classes import dataclass
from .dockerfile_shell import (
    EFFECTS,
    OPERATOR,
    REDIRECTION,
    SEPARATORS,
    WORD,
    Source,
    Token,
    Word,
    body_of_loop,
    parse,
    tokens,
    uncertain,
)
from .dockerfile_tree import BASE_USER, UNRESOLVED, Tree, above, group, normal, passwd
from .dockerfile_words import DEEPEST, GLOB, UNKNOWN, Lookup, Unreadable, Words, braces

LONGEST_PATH = 4096
"""What Linux takes (PATH_MAX)."""

ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=", re.ASCII)
BRACE_SHELLS = frozenset({"bash", "zsh", "ksh"})
SHELLS = frozenset({"sh", "dash", "ash", *BRACE_SHELLS})
TESTS = frozenset({"[", "test", "id", "getent", "grep", "egrep", "command", "which", "type", "hash", "ls", "stat",
                   "cmp", "diff", "false", "read"})
"""Commands that are there to fail."""
WRAPPERS = {"sudo": "CDghpRrTtu", "doas": "Cu", "env": "CSu", "exec": "a", "command": "", "builtin": "", "nice": "n",
            "ionice": "cn", "nohup": "", "time": "fo", "setsid": "", "busybox": ""}
"""Commands that run another, and their options that take a value."""
INDIRECT = frozenset({"su", "runuser", "gosu", "su-exec", "setpriv", "chroot", "eval", "xargs", "parallel", "fakeroot",
                      "timeout", "unshare", "s6-setuidgid"})
ROOT_ONLY = frozenset({"useradd", "adduser", "usermod", "userdel", "deluser", "groupadd", "addgroup", "groupmod",
                       "groupdel", "delgroup", "apt-get", "apt", "dpkg", "apk", "dnf", "microdnf", "yum", "zypper"})
"""Commands that fail for everybody but root, so that a step with one shows who the base image's user is."""
KEYWORDS = frozenset({"if", "then", "elif", "else", "fi", "while", "until", "for", "select", "do", "done", "case",
                      "esac", "{", "}", "!", "[[", "function"})

COMMANDS: dict[str, Callable[[Run, list[Word]], None]] = {
    "mkdir": commands.mkdir, "install": commands.install, "chown": commands.chown, "chgrp": commands.chgrp,
    "chmod": commands.chmod, "rm": commands.rm, "rmdir": commands.rmdir, "ln": commands.link, "mv": commands.move,
    "cp": commands.copy, "rsync": commands.copy, "find": commands.find, "cd": commands.cd, "pushd": commands.cd,
    "popd": commands.popd, "export": commands.export, "declare": commands.export, "local": commands.export,
    "readonly": commands.export, "unset": commands.forget, "read": commands.forget, "umask": commands.umask,
    ".": commands.include, "source": commands.include,
    "useradd": users.useradd, "adduser": users.adduser, "usermod": users.usermod, "userdel": users.userdel,
    "deluser": users.userdel, "groupadd": users.groupadd, "addgroup": users.addgroup, "groupmod": users.groupmod,
}
"""Commands that are followed."""
FOLLOWED = frozenset({*COMMANDS, *WRAPPERS, *SHELLS, *INDIRECT, *ROOT_ONLY, "sed", "tee"})
"""Commands that are looked at."""


@dataclass(slots=True)
class Frame:
    """A compound command that is open."""

    closer: str
    doubt: bool
    """Whether its commands may not be done."""
    tested: bool = False
    """As it was before (``Run.tested``)."""
    saved: tuple[str, dict[str, str], int | None] | None = None
    """What the end of a subshell restores."""
    may_fail: bool = False
    """Whether a branch of it ends with a test."""


class Run:
    """One RUN step.

    :param runner: uid and gid that it runs as (``BASE_USER`` while the base image decides).
    :param cwd: working directory, ``UNKNOWN`` while the base image decides.
    :param lookup: variables of the build.
    :param shell: the name of the shell that runs it (``bash``).
    :param sh_expands: whether `sh` expands braces there: bash does under that name too, None where nobody knows.
    """

    def __init__(self, tree: Tree, runner: tuple[int | None, int | None], cwd: str, lookup: Lookup, shell: str,
                 sh_expands: bool | None) -> None:
        self.tree = tree
        self.runner = runner
        self.cwd = cwd
        self.lookup = lookup
        self.sh_expands = sh_expands
        self.expands = self._expands(shell)
        self.words = Words(self.value, tree.budget, commands=True)
        self.variables: dict[str, str] = {}
        self.umask: int | None = 0o022
        self.frames: list[Frame] = []
        self.tested = False
        """Whether the list that is read goes on only when a test holds."""
        self.negated = False
        """Whether what is read now is a test, or a group that ends with one."""
        self.last_is_test = False
        self.piped = self.defining = False
        self.certain = True
        """Whether the command that is followed is done in every build that succeeds."""
        self.depth = 0
        self.source = Source("", lambda _: 1)

    def script(self, source: Source, start: int, end: int) -> None:
        """Follow shell text; raises Unreadable."""
        self.source = source
        self._go(tokens(source.text, start, end), doubt=False)

    def program(self, words: Sequence[str], line: int) -> None:
        """Follow a command that no shell splits (RUN with JSON); raises Unreadable."""
        self._command([Word(word, line) for word in words], [])

    # --- variables and words ------------------------------------------------------------------------

    def _expands(self, shell: str) -> bool | None:
        return True if shell in BRACE_SHELLS else self.sh_expands if shell == "sh" else False

    def value(self, name: str) -> str | None:
        if name in self.variables:
            return self.variables[name]
        if name == "PWD":
            return self.cwd
        value = self.lookup(name)
        return self._home() if name == "HOME" and value == UNKNOWN else value

    def _home(self) -> str:
        uid = 0 if self.runner[0] == BASE_USER and self.tree.root_runs else self.runner[0]
        if uid == 0:
            return "/root"
        self.tree.budget.spend(len(self.tree.users) // 8 + 1)
        names = [name for name, known in self.tree.users.items() if known[0] == uid]
        return self.tree.homes.get(names[0], UNKNOWN) if names else UNKNOWN

    def _line(self, token: Token) -> int:
        return self.source.line(token.offset)

    def _expanded(self, found: Sequence[Token]) -> list[Word]:
        return [Word(field, self._line(token), token) for token in found
                for raw in (braces(token.raw, self.tree.budget) if self.expands and "{" in token.raw else [token.raw])
                for field in self.words.fields(raw)]

    def absolute(self, text: str) -> str:
        """A word as an absolute path; with ``UNKNOWN`` in it where it cannot be known."""
        if text.startswith("~"):
            name, slash, rest = text[1:].partition("/")
            text = (self.tree.homes.get(name, UNKNOWN) if name else self.value("HOME") or UNKNOWN) + slash + rest
        elif not text.startswith(("/", UNKNOWN)):
            text = f"{self.cwd}/{text}"
        return normal(text) if len(text) <= LONGEST_PATH else UNKNOWN

    def path(self, word: Word) -> str | None:
        """The path that a word is; None, and noted, when it cannot be known."""
        path = self.absolute(word.text)
        if UNKNOWN not in path:
            return path
        self.tree.doubt(word.line, UNRESOLVED, path)
        return None

    # --- control flow -------------------------------------------------------------------------------

    def _go(self, found: list[Token], doubt: bool) -> None:
        """Follow commands. ``doubt``: they may not be done at all."""
        if self.depth >= DEEPEST:
            raise Unreadable
        kept = self.frames, self.tested, self.negated, self.piped, self.defining
        self.frames = [Frame("", doubt)]
        self.tested = self.negated = self.piped = self.defining = False
        self.depth += 1
        soft = uncertain(found)
        last_word = max((at for at, token in enumerate(found) if token.kind == WORD), default=0)
        last_break = max((at for at in range(last_word) if found[at].kind == OPERATOR
                          and (found[at].raw in SEPARATORS or found[at].raw == "||")), default=-1)
        command: list[Token] = []
        at = 0
        while at < len(found):
            token = found[at]
            at += 1
            if token.kind == OPERATOR:
                at = self._operator(found, at, command, soft, at > last_break)
                command = []
            elif not command and token.kind == WORD and token.raw in KEYWORDS:
                at = self._keyword(found, at, at - 1 in soft)
            else:
                command.append(token)
        self._simple(command, len(found) - len(command) in soft)
        self.depth -= 1
        self.frames, self.tested, self.negated, self.piped, self.defining = kept

    def _operator(self, found: list[Token], at: int, command: list[Token], soft: set[int], last: bool) -> int:
        """What the operator before ``at`` ends. ``last``: the step fails when a command from here on fails."""
        operator = found[at - 1].raw
        if operator == "(":
            if command and at < len(found) and found[at].raw == ")":
                self.defining = True
                return at + 1
            if command:
                raise Unreadable
            self._open(")", at - 1 in soft, subshell=True)
            return at
        if operator == ")" and self.frames[-1].closer == "esac":
            return at
        self._simple(command, at - 1 - len(command) in soft)
        if operator == ")":
            self._close(")")
            return at
        if operator == "&&":
            if (self.negated or (command and self.last_is_test)) and not (
                    last and len(self.frames) == 1 and self.depth == 1):
                self.tested = True
        elif operator in SEPARATORS:
            if operator.startswith(";;"):
                self.frames[-1].may_fail |= self.tested or self.last_is_test
            self.tested = False
        self.negated = False
        self.piped = operator in {"|", "|&"}
        return at

    def _open(self, closer: str, doubt: bool, subshell: bool = False) -> None:
        saved = (self.cwd, dict(self.variables), self.umask) if subshell else None
        self.tree.budget.spend(len(self.variables) if subshell else 1)
        self.frames.append(Frame(closer, doubt or self.tested, self.tested, saved))
        self.tested = False
        if len(self.frames) > DEEPEST:
            raise Unreadable

    def _close(self, closer: str) -> None:
        if self.frames[-1].closer != closer:
            return
        frame = self.frames.pop()
        self.negated = self.tested or self.last_is_test or frame.may_fail
        self.tested = frame.tested
        if frame.saved:
            self.cwd, self.variables, self.umask = frame.saved

    def _keyword(self, found: list[Token], at: int, soft: bool) -> int:
        """Follow the keyword before ``at``; returns where to go on."""
        word = found[at - 1].raw
        if word in {"if", "while", "until", "select"}:
            self._open("fi" if word == "if" else "done", doubt=True)
        elif word == "case":
            while at < len(found) and found[at].raw != "in":
                at += 1
            self._open("esac", doubt=True)
            return at + 1
        elif word == "{":
            self._open("}", soft or self.defining)
            self.defining = False
        elif word == "function":
            self.defining = True
            return at + 1
        elif word == "[[":
            while at < len(found) and found[at].raw != "]]":
                at += 1
            self.negated = True
            return at + 1
        elif word == "!":
            self.negated = True
        elif word == "for":
            return self._loop(found, at, soft)
        elif word in {"fi", "done", "esac", "}"}:
            self._close(word)
        return at

    def _loop(self, found: list[Token], at: int, soft: bool) -> int:
        start, end = body_of_loop(found, at)
        name = found[at].raw
        values = [UNKNOWN]
        if at + 1 < start and found[at + 1].raw == "in":
            values = []
            for token in found[at + 2 : start]:
                if token.kind != WORD:
                    break
                values += [UNKNOWN if GLOB.search(word.text) else word.text for word in self._expanded([token])]
        doubt = soft or self.tested or any(frame.doubt for frame in self.frames)
        doubt = doubt or any(token.raw in {"break", "continue", "exit", "return"} for token in found[start:end])
        for value in values:
            self.tree.budget.spend(60 + 2 * (end - start))
            self.variables[name] = value
            # Of values that are not known there may be none.
            self._go(found[start:end], doubt or UNKNOWN in value)
        self.negated = self.last_is_test
        if doubt:
            self.variables[name] = UNKNOWN
        return end + 1

    def _simple(self, command: list[Token], soft: bool) -> None:
        """Follow one command with its assignments and redirections."""
        if not command:
            return
        self.tree.budget.spend(8 + len(command))
        self.certain = not (soft or self.tested or any(frame.doubt for frame in self.frames))
        redirections = [token for token in command if token.kind == REDIRECTION]
        words = [token for token in command if token.kind == WORD]
        self.last_is_test = self.negated or bool(words and words[0].raw.rpartition("/")[2] in TESTS)
        assigned: dict[str, str] = {}
        while words and (found := ASSIGNMENT.match(words[0].raw)):
            raw = words.pop(0).raw[found.end() :]
            value = UNKNOWN if raw.startswith("(") or found[2] or not self.certain else self.words.text(raw)
            assigned[found[1]] = value
        if words:
            first = self.words.fields(words[0].raw)
            if first and self._known(first[0], redirections):
                self._command(self._expanded(words), redirections)
            return
        self.variables.update(assigned)
        if not assigned and self.depth == 1 and redirections and redirections[-1].body:
            # RUN <<EOF: the document is the script.
            self._document(redirections[-1].body, None)

    def _known(self, name: str, redirections: list[Token]) -> bool:
        """Whether a command has to be looked at at all."""
        base = name.rpartition("/")[2]
        return ("/" in name or UNKNOWN in name or base in FOLLOWED
                or any("/etc/" in token.target for token in redirections))

    # --- commands -----------------------------------------------------------------------------------

    def _command(self, words: list[Word], redirections: list[Token]) -> None:
        while words and (base := words[0].text.rpartition("/")[2]) in WRAPPERS:
            options, rest = parse(words[1:], WRAPPERS[base], frozenset({"user", "group"}), leading=True)
            if {"u", "user"} & options.keys() and base in {"sudo", "doas"}:
                self._indirect(rest, words[0].line)
                return
            while base == "env" and rest and "=" in rest[0].text:
                rest = rest[1:]
            words = rest
        if not words:
            return
        name, line = words[0].text, words[0].line
        base = name.rpartition("/")[2]
        if base in ROOT_ONLY and self.certain and self.runner[0] == BASE_USER:
            self.tree.root_runs = True
        self._account_files(base, words[1:], redirections, line)
        if base in COMMANDS:
            COMMANDS[base](self, words[1:])
        elif base in SHELLS:
            self._shell(base, words, redirections)
        elif base in INDIRECT or UNKNOWN in name:
            self._indirect(words[1:], line)
        elif "/" in name and self._brought(name):
            self.unknown_script(name, line)

    def _indirect(self, words: list[Word], line: int) -> None:
        if EFFECTS.search(" ".join(word.text for word in words)):
            self.tree.doubt(line, "a command that another one puts together may make or change folders or users")

    def unknown_script(self, name: str, line: int) -> None:
        shown = name.replace(UNKNOWN, "...")[:80]
        self.tree.doubt(line, f"the script {shown} is run; what it does to folders and users is not known")

    def _brought(self, name: str) -> bool:
        """Whether a program is one that the build brings itself."""
        path = self.absolute(name)
        return (name.endswith((".sh", ".bash")) or path in self.tree.files
                or any(parent in self.tree.copied for parent in above(path)))

    def _shell(self, base: str, words: list[Word], redirections: list[Token]) -> None:
        rest, text, stdin = words[1:], False, False
        while rest and rest[0].text[:1] in {"-", "+"} and rest[0].text not in {"-", "--"}:
            option = rest.pop(0).text
            if not option.startswith("--"):
                text, stdin = text or "c" in option, stdin or "s" in option
                if "o" in option.lower() and rest:
                    rest.pop(0)
        document = next((token.body for token in redirections if token.body), None)
        if text and rest:
            self._nested(rest[0], base)
        elif rest and not stdin and rest[0].text not in {"-", "--", "/dev/stdin"}:
            self.unknown_script(rest[0].text, rest[0].line)
        elif document:
            self._document(document, base)
        elif self.piped or any(token.raw.endswith("<") for token in redirections):
            self.tree.doubt(words[0].line, "a shell runs what is not written here")

    def _nested(self, word: Word, shell: str) -> None:
        """A script in a word (`sh -c "..."`): in its own source where the word is written as it is, for its lines."""
        if UNKNOWN in word.text:
            # What is unknown inside it stays one word there.
            word = replace(word, text=word.text.replace(UNKNOWN, "$(:)"), token=None)
        raw = word.token.raw if word.token else ""
        if word.token and raw[1:-1] == word.text and raw[:1] in {"'", '"'}:
            self._subshell(self.source, word.token.offset + 1, word.token.offset + len(raw) - 1, shell)
        else:
            line = word.line
            self._subshell(Source(word.text, lambda _: line), 0, len(word.text), shell)

    def _document(self, body: tuple[int, int], shell: str | None) -> None:
        """A here document that a shell runs; None for the step's own, or what its first line asks for."""
        first = self.source.text[body[0] : body[1]].lstrip().partition("\n")[0]
        if shell is None and first.startswith("#!"):
            shell = next((name for name in re.split(r"[/\s]+", first) if name in SHELLS), None)
            if shell is None:
                if EFFECTS.search(self.source.text, *body) or "makedirs" in self.source.text[slice(*body)]:
                    self.unknown_script(first, self.source.line(body[0]))
                return
        self._subshell(self.source, *body, shell)

    def _subshell(self, source: Source, start: int, end: int, shell: str | None) -> None:
        kept = self.source, self.cwd, dict(self.variables), self.umask, self.expands, self.certain
        self.tree.budget.spend(len(self.variables) + 1)
        self.source = source
        self.expands = self.expands if shell is None else self._expands(shell)
        self._go(tokens(source.text, start, end), doubt=not self.certain)
        self.source, self.cwd, self.variables, self.umask, self.expands, self.certain = kept

    def _account_files(self, base: str, words: list[Word], redirections: list[Token], line: int) -> None:
        """Lines that are written into /etc/passwd and /etc/group."""
        targets = [self.words.text(token.target) for token in redirections
                   if ">" in token.raw and "/etc/" in token.target]
        if base == "tee" or (base == "sed" and any(word.text.startswith(("-i", "--in-place")) for word in words)):
            targets += [word.text for word in words]
        for target in targets:
            if target not in {"/etc/passwd", "/etc/group"}:
                continue
            body = next((token.body for token in redirections if token.body), None)
            text = None
            if base in {"echo", "printf"}:
                text = "\n".join(word.text.replace("\\n", "\n") for word in words)
            elif base == "cat" and body and not re.search(r"[$`]", self.source.text[slice(*body)]):
                text = self.source.text[slice(*body)]
            if text is None or UNKNOWN in text or not self.certain:
                self.tree.doubt(line, f"what is written into {target} is not known")
            elif target == "/etc/passwd":
                self.tree.users.update(passwd(text))
            else:
                self.tree.groups.update(group(text))
