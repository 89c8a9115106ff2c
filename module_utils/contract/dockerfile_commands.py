"""Commands of a RUN step that make and change folders, and those of the shell itself that matter for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .dockerfile_shell import EFFECTS, Word, parse
from .dockerfile_tree import KEEP, mode_of
from .dockerfile_words import UNKNOWN, braces
from .facts import Folder
from .model import Place

if TYPE_CHECKING:
    from .dockerfile_run import Run


def mkdir(run: Run, words: list[Word]) -> None:
    options, paths = parse(words, "mZ", frozenset({"mode"}))
    given = options.get("m") or options.get("mode")
    plain = None if run.umask is None else 0o777 & ~run.umask
    mode = mode_of(given.text) if given else plain
    for word in paths:
        note_braces(run, word)
        path = run.path(word)
        if path and run.certain:
            run.tree.make(path, word.line, *run.runner, mode, plain)
        else:
            run.tree.may_make(run.absolute(word.text), word.line)


def note_braces(run: Run, word: Word) -> None:
    """Where nobody knows whether `sh` is bash, either the folders in braces are made or one with that name."""
    if run.expands is None and word.token and "{" in word.token.raw:
        expanded = [field for raw in braces(word.token.raw, run.tree.budget) for field in run.words.fields(raw)]
        for field in expanded if len(expanded) > 1 else []:
            run.tree.doubt(word.line, 'only bash expands braces: SHELL ["/bin/bash", "-c"] makes sure',
                           run.absolute(field))


def install(run: Run, words: list[Word]) -> None:
    options, paths = parse(words, "gmotS", frozenset({"group", "mode", "owner", "suffix", "target-directory"}))
    if not {"d", "directory"} & options.keys():
        return
    owner, of_group = options.get("o") or options.get("owner"), options.get("g") or options.get("group")
    mode = options.get("m") or options.get("mode")
    uid = run.tree.uid(owner.text) if owner else KEEP
    gid = run.tree.gid(of_group.text) if of_group else KEEP
    for word in paths:
        path = run.path(word)
        if path is None or not run.certain:
            run.tree.change(run.absolute(word.text), word.line, False, unclear, add=False)
            run.tree.may_make(run.absolute(word.text), word.line)
            continue
        run.tree.make(path, word.line, *run.runner)
        own(run, path, uid, gid, (owner or of_group or word).line, recursive=False)
        run.tree.change(path, word.line, False, with_mode(run, mode_of(mode.text) if mode else 0o755,
                                                          (mode or word).line))


def chown(run: Run, words: list[Word]) -> None:
    options, paths = parse(words, "", frozenset({"reference", "from"}))
    owned(run, options, paths, lambda spec: owner(run, spec))


def chgrp(run: Run, words: list[Word]) -> None:
    options, paths = parse(words, "", frozenset({"reference"}))
    owned(run, options, paths, lambda spec: (KEEP, run.tree.gid(spec)))


def owned(run: Run, options: dict[str, Word], paths: list[Word],
          owner: Callable[[str], tuple[int | None, int | None]]) -> None:
    line = (paths[0] if paths else Word("", 0)).line
    uid: int | None = None
    gid: int | None = None
    if "reference" not in options:
        if not paths:
            return
        uid, gid = owner(paths.pop(0).text)
    if "from" in options or not run.certain:
        uid = gid = None
    recursive = bool({"R", "recursive"} & options.keys())
    for word in paths:
        path = run.path(word)
        if path is None:
            run.tree.change(run.absolute(word.text), line, recursive, no_owner, add=False)
        else:
            own(run, path, uid, gid, line, recursive)


def own(run: Run, path: str, uid: int | None, gid: int | None, line: int, recursive: bool) -> None:
    if uid is None or gid is None:
        run.tree.doubt(line, "the owner cannot be resolved without running the build" if run.certain
                       else "the owner is changed on a condition only", path)
    place = Place(run.tree.file, line)

    def change(folder: Folder) -> Folder:
        return replace(folder, uid=folder.uid if uid == KEEP else uid, gid=folder.gid if gid == KEEP else gid,
                       place=place, mode_place=folder.mode_place or folder.place)

    run.tree.change(path, line, recursive, change, add=run.certain)


def no_owner(folder: Folder) -> Folder:
    return replace(folder, uid=None, gid=None)


def unclear(folder: Folder) -> Folder:
    return replace(folder, uid=None, gid=None, mode=None)


def owner(run: Run, spec: str) -> tuple[int | None, int | None]:
    """Uid and gid of a `user:group`, ``KEEP`` for what is not named, None for what is not known."""
    if UNKNOWN in spec:
        return None, None
    dotted = re.fullmatch(r"([^.:]+)\.([^.:]+)", spec)
    user, colon, of_group = (dotted[1], ":", dotted[2]) if dotted else spec.partition(":")
    uid = run.tree.uid(user) if user else KEEP
    if of_group:
        return uid, run.tree.gid(of_group)
    return uid, run.tree.login_group(user) if colon and user else KEEP


def chmod(run: Run, words: list[Word]) -> None:
    options, paths = parse(words, "", frozenset({"reference"}))
    mode, line = None, 0
    if "reference" not in options and len(paths) > 1:
        first = paths.pop(0)
        mode, line = mode_of(first.text), first.line
    for word in paths:
        known = run.path(word) is not None and run.certain
        change = with_mode(run, mode if known else None, line or word.line)
        recursive = bool({"R", "recursive"} & options.keys())
        run.tree.change(run.absolute(word.text), word.line, recursive, change, add=False)


def with_mode(run: Run, mode: int | None, line: int) -> Callable[[Folder], Folder]:
    place = Place(run.tree.file, line)

    def change(folder: Folder) -> Folder:
        # Whether a number takes these bits off a folder again is different from one chmod to another.
        kept = (folder.mode or 0) & ~(mode or 0) & 0o6000
        return replace(folder, mode=None if kept else mode, mode_place=place)

    return change


def rm(run: Run, words: list[Word]) -> None:
    options, paths = parse(words, "")
    if {"r", "R", "recursive"} & options.keys():
        removed(run, paths, recursive=True)


def rmdir(run: Run, words: list[Word]) -> None:
    removed(run, parse(words, "")[1], recursive=False)


def removed(run: Run, paths: list[Word], recursive: bool) -> None:
    for word in paths:
        path = run.absolute(word.text)
        if UNKNOWN not in path:
            if not run.certain:
                for each in run.tree.matching(path, recursive):
                    run.tree.doubt(word.line, "the folder is removed on a condition", each)
                    run.tree.perhaps.add(each)
            run.tree.remove(path, recursive)
        elif path != UNKNOWN:
            # Of a path of which nothing is known (`mktemp`) nothing is said: it would be said of every folder.
            run.tree.doubt(word.line, "what is removed cannot be resolved without running the build", path)
            run.tree.change(path, word.line, recursive, unclear, add=False)


def link(run: Run, words: list[Word]) -> None:
    _, paths = parse(words, "tS", frozenset({"target-directory", "suffix"}))
    if len(paths) == 2:
        doubtful(run, paths[1], "a link")


def move(run: Run, words: list[Word]) -> None:
    _, paths = parse(words, "tS", frozenset({"target-directory", "suffix"}))
    removed(run, paths[:-1], recursive=True)
    if paths:
        doubtful(run, paths[-1], "what is moved there")


def copy(run: Run, words: list[Word]) -> None:
    options, paths = parse(words, "tS", frozenset({"target-directory", "suffix"}))
    if {"r", "R", "a", "recursive", "archive"} & options.keys() and len(paths) > 1:
        doubtful(run, paths[-1], "what is copied there")


def doubtful(run: Run, word: Word, what: str) -> None:
    """A path that now may be a folder of an unknown owner, and folders below it."""
    path = run.absolute(word.text)
    if path != UNKNOWN:
        run.tree.doubt(word.line, f"{what} is not followed", f"{path}/{UNKNOWN}")
        if path not in run.tree.folders:
            run.tree.doubt(word.line, f"{what} is not followed", path)


def find(run: Run, words: list[Word]) -> None:
    """`find` with a command: which of the folders that are known it may change, and so leaves unknown."""
    texts = [word.text for word in words]
    given = dict(pairwise(texts))
    does = EFFECTS.findall(" ".join(texts)) if {"-exec", "-execdir", "-ok", "-okdir"} & given.keys() else []
    does += ["rm"] if "-delete" in texts else []
    if not does or given.get("-type", "d") != "d":
        return
    lost: dict[str, Any] = {}
    if {"chown", "chgrp", "rm"} & set(does):
        lost = {"uid": None, "gid": None}
    if {"chmod", "rm"} & set(does):
        lost["mode"] = None
    for word in words[: next((at for at, text in enumerate(texts) if text.startswith(("-", "(", "!"))), len(texts))]:
        path = run.absolute(word.text)
        for each in run.tree.matching(path, recursive=True) if UNKNOWN not in path else []:
            if fnmatchcase(each.rpartition("/")[2], given.get("-name", "*")):
                run.tree.doubt(word.line, "what `find` does to it is not followed", each)
                run.tree.folders[each] = replace(run.tree.folders[each], **lost)


def cd(run: Run, words: list[Word]) -> None:
    _, paths = parse(words, "")
    target = run.absolute(paths[0].text if paths else "~")
    run.cwd = target if run.certain and not (paths and paths[0].text == "-") else UNKNOWN


def popd(run: Run, _: list[Word]) -> None:
    run.cwd = UNKNOWN


def export(run: Run, words: list[Word]) -> None:
    for word in words:
        name, equals, value = word.text.partition("=")
        if equals:
            run.variables[name] = value if run.certain else UNKNOWN


def forget(run: Run, words: list[Word]) -> None:
    for word in words:
        run.variables[word.text] = UNKNOWN


def umask(run: Run, words: list[Word]) -> None:
    if words:
        run.umask = mode_of(words[0].text) if run.certain else None


def include(run: Run, words: list[Word]) -> None:
    if words and run.absolute(words[0].text) in run.tree.files:
        run.unknown_script(words[0].text, words[0].line)
