"""Commands of a RUN step that make users and groups: shadow's, Debian's and busybox's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dockerfile_shell import Word, parse
from .dockerfile_words import UNKNOWN
from .facts import number

if TYPE_CHECKING:
    from .dockerfile_run import Run


def groupadd(run: Run, words: list[Word]) -> None:
    options, names = parse(words, "gKpRP", frozenset({"gid", "key", "password", "root", "prefix"}))
    new_group(run, names, options.get("g") or options.get("gid"))


def addgroup(run: Run, words: list[Word]) -> None:
    options, names = parse(words, "g", frozenset({"gid", "conf", "firstgid", "lastgid"}))
    if len(names) == 1:  # Two names put a user into a group.
        new_group(run, names, options.get("g") or options.get("gid"))


def new_group(run: Run, names: list[Word], gid: Word | None) -> None:
    if not names:
        return
    known = number(gid.text) if gid and run.certain else None
    run.tree.groups.pop(names[-1].text, None)
    if known is not None:
        run.tree.groups[names[-1].text] = known


def useradd(run: Run, words: list[Word]) -> None:
    options, names = parse(words, "bcdefgGkKpPRsuZ", frozenset({
        "base-dir", "comment", "home-dir", "home", "expiredate", "inactive", "gid", "groups", "skel", "key", "password",
        "root", "prefix", "shell", "uid", "selinux-user"}))
    if names:
        new_user(run, names[-1], options, of_group=options.get("g") or options.get("gid"),
                 own=not {"N", "no-user-group"} & options.keys(),
                 home=options.get("d") or options.get("home-dir") or options.get("home"),
                 makes_home=bool({"m", "create-home"} & options.keys()))


def adduser(run: Run, words: list[Word]) -> None:
    """Three programs have this name: Debian's, busybox's, and useradd itself on Red Hat's systems."""
    longs = frozenset({"uid", "gid", "ingroup", "home", "shell", "gecos", "comment", "conf", "firstuid", "lastuid",
                       "skel", "home-dir", "groups"})
    options, names = parse(words, "hgsGukcdbKp", longs)
    letters = {name for name in options if len(name) == 1}
    busybox = bool(letters & set("DSHh")) or ("G" in letters and not letters & set("mMrdcgN"))
    if letters & set("mMrdcgN") and not busybox:
        useradd(run, words)
        return
    if len(names) == 2 and not options.keys() - {"quiet"}:
        return  # Puts a user into a group.
    if not names:
        return
    system = bool({"S", "system"} & options.keys())
    of_group = options.get("G" if busybox else "gid") or options.get("ingroup") or options.get("gid")
    home = options.get("h") or options.get("home")
    new_user(run, names[0], options, of_group, own=not system or "group" in options, home=home,
             makes_home=not system and not {"H", "no-create-home"} & options.keys())


def new_user(run: Run, name: Word, options: dict[str, Word], of_group: Word | None, own: bool, home: Word | None,
             makes_home: bool) -> None:
    tree, login = run.tree, name.text
    tree.budget.spend(len(tree.groups) // 8 + 1)
    given = options.get("u") or options.get("uid")
    uid = number(given.text) if given and run.certain else None
    tree.users.pop(login, None)
    if UNKNOWN in login or uid is None:
        reason = ("the user is made on a condition only" if not run.certain else
                  "the user is made without a number of its own" if given is None else "the user's number is not known")
        tree.doubt(name.line, reason, login)
        return
    # A group of the user's own gets the user's number where that is free, and in the range for its kind.
    own = own and uid in (range(101, 1000) if {"r", "system", "S"} & options.keys() else range(1000, 60000))
    gid = tree.gid(of_group.text) if of_group else uid if own and uid not in tree.groups.values() else None
    if gid is None:
        tree.doubt(name.line, "the user's group has no number that is known here", login)
    if own and not of_group and gid is not None:
        tree.groups.setdefault(login, gid)
    tree.users[login] = uid, gid
    tree.homes[login] = run.absolute(home.text) if home else f"/home/{login}"
    if makes_home and UNKNOWN not in tree.homes[login]:
        tree.make(tree.homes[login], (home or name).line, uid, gid, None)


def usermod(run: Run, words: list[Word]) -> None:
    options, names = parse(words, "cdefgGlpRsuZ", frozenset({
        "comment", "home", "expiredate", "inactive", "gid", "groups", "login", "password", "root", "shell", "uid"}))
    uid, gid = options.get("u") or options.get("uid"), options.get("g") or options.get("gid")
    if not names or not (uid or gid):
        return
    login = names[-1].text
    old = run.tree.users.pop(login, (None, None))
    new = number(uid.text) if uid else old[0]
    if new is None or not run.certain:
        run.tree.doubt(names[-1].line, "the user's number is not known", login)
        return
    run.tree.users[login] = new, run.tree.gid(gid.text) if gid else old[1]


def groupmod(run: Run, words: list[Word]) -> None:
    options, names = parse(words, "gnpR", frozenset({"gid", "new-name", "password", "root"}))
    gid = options.get("g") or options.get("gid")
    if not names or not gid:
        return
    old = run.tree.groups.get(names[-1].text)
    new_group(run, names, gid)
    new = run.tree.groups.get(names[-1].text)
    for login, (uid, of_group) in list(run.tree.users.items()):
        if of_group == old and old is not None:
            run.tree.users[login] = uid, new


def userdel(run: Run, words: list[Word]) -> None:
    for word in parse(words, "R")[1]:
        run.tree.users.pop(word.text, None)
