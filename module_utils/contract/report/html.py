"""The report as one HTML file: fetches nothing, runs no script, and reads on a phone, in the dark and on paper."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import NewType

from ..model import Clause, Finding, Kind, Place, Severity
from .chapters import Cell, Change, Chapter, Gate
from .view import State, View, counts, quotes

Markup = NewType("Markup", str)
"""HTML that is finished. Everything else goes through ``text``."""

TONES = {State.BROKEN: "bad", State.UNCHECKED: "warn", State.DRIFT: "warn", State.WAIVED: "note", State.SKIPPED: "note",
         State.HOLDS: "good"}
SIGNS = {State.BROKEN: "✕", State.UNCHECKED: "?", State.DRIFT: "!", State.WAIVED: "-", State.SKIPPED: "·",
         State.HOLDS: "✓"}

VERDICTS = {"fail": ("bad", "✕"), "unchecked": ("warn", "?"), "reservations": ("warn", "!"), "pass": ("good", "✓")}
GATES = {"not_yet": ("warn", "✕"), "unchecked": ("warn", "?"), "met": ("good", "✓")}
"""Tone and sign."""

STYLE = """
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1a1f27;--soft:#545d69;--line:#d8dde4;--code:#eef1f5;
--bad:#b3161b;--bad-in:#fdecec;--warn:#835300;--warn-in:#fff4da;--good:#176b34;--good-in:#e6f5eb;--note:#3d5068;
--note-in:#e9eff6;--link:#0b57a8}
@media (prefers-color-scheme:dark){:root{--page:#12151a;--card:#1b2027;--ink:#e7eaee;--soft:#a7b0bc;--line:#343c47;
--code:#262d36;--bad:#ff9a96;--bad-in:#3f1c1f;--warn:#f4c463;--warn-in:#3a2e12;--good:#7fd99b;--good-in:#15331f;
--note:#b5c6da;--note-in:#243142;--link:#8dc0ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.5;font:16px/1.5 system-ui,-apple-system,"Segoe UI",
"Apple SD Gothic Neo","Malgun Gothic","Noto Sans KR","Noto Sans CJK KR",NanumGothic,sans-serif;overflow-wrap:anywhere}
:lang(ko){word-break:keep-all}
header,main,footer{max-width:62rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.25rem}
h1{font-size:1.05rem;margin:0 0 .75rem;color:var(--soft);font-weight:600}
h2{font-size:1.25rem;margin:2rem 0 .75rem}
h3{font-size:1.05rem;margin:.35rem 0 .6rem;line-height:1.4}
p{margin:.4rem 0}
a{color:var(--link)}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875em}
code{background:var(--code);border-radius:.25rem;padding:.1em .3em;-webkit-box-decoration-break:clone;
box-decoration-break:clone}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.15rem;margin:0 0 1rem}
.verdict{border-left:.5rem solid var(--tone)}
.verdict>p:first-child{font-size:2rem;font-weight:800;line-height:1.15;margin:0;color:var(--tone)}
.verdict small{font-size:1rem;font-weight:400;color:var(--soft)}
.meaning{font-size:1.1rem;font-weight:600}
.bad{--tone:var(--bad);--in:var(--bad-in)}.warn{--tone:var(--warn);--in:var(--warn-in)}
.good{--tone:var(--good);--in:var(--good-in)}.note{--tone:var(--note);--in:var(--note-in)}
.tiles{display:flex;flex-wrap:wrap;gap:.5rem;list-style:none;margin:.9rem 0;padding:0}
.tiles li{background:var(--in);color:var(--tone);border-radius:.5rem;padding:.35rem .8rem;font-size:.9rem}
.tiles b{font-size:1.3rem;margin-right:.35rem;font-variant-numeric:tabular-nums}
.tag{display:inline-block;background:var(--in);color:var(--tone);border-radius:.35rem;padding:.1rem .5rem;
font-size:.82rem;font-weight:700;white-space:nowrap}
.finding{border-left:.3rem solid var(--tone);content-visibility:auto;contain-intrinsic-size:auto 22rem}
.finding>p:first-child{margin:0;display:flex;flex-wrap:wrap;gap:.5rem;align-items:center}
.at{font-weight:600}
pre{background:var(--code);border-radius:.35rem;padding:.5rem .75rem;margin:.4rem 0;overflow-x:auto;white-space:pre}
pre i{color:var(--soft);font-style:normal;-webkit-user-select:none;user-select:none}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.6rem;margin:.6rem 0}
.pair>div{border:1px solid var(--line);border-radius:.4rem;padding:.4rem .7rem}
.pair dt,.meta dt{color:var(--soft);font-size:.85rem}
dl,dd{margin:0}
.pair code{background:none;padding:0}
.mend{background:var(--good-in);border-radius:.4rem;padding:.5rem .75rem;margin:.6rem 0}
.mend b,.meta dt{font-weight:600}
.meta{display:grid;grid-template-columns:max-content 1fr;gap:.3rem .9rem;margin:.6rem 0 0;font-size:.92rem}
.meta dd{min-width:0}.meta ul{margin:0;padding:0;list-style:none}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem;background:var(--card);margin:0 0 1rem}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:.15rem solid var(--link);outline-offset:.1rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;padding:.6rem .8rem;font-weight:700}
th,td{text-align:left;vertical-align:top;padding:.45rem .8rem;border-top:1px solid var(--line)}
thead th{color:var(--soft);font-size:.85rem}
th,td{min-width:6rem;max-width:30rem;overflow-wrap:break-word}
.sign{color:var(--tone);font-weight:700;white-space:nowrap}
details{margin:0 0 1rem}
summary{cursor:pointer;padding:.3rem 0;color:var(--good);font-weight:600}
.step>summary,.gate>h3{display:flex;flex-wrap:wrap;gap:.3rem .75rem;align-items:baseline}
.step>summary{list-style:none;color:var(--ink);padding:.55rem .9rem;background:var(--card);border:1px solid var(--line);
border-left:.3rem solid var(--tone);border-radius:.5rem}
.step>summary::-webkit-details-marker{display:none}
.step>summary::after{content:"▸";margin-left:auto;color:var(--soft)}.step[open]>summary::after{content:"▾"}
.step[open]>summary{margin-bottom:.6rem}.step{margin:0 0 .6rem}
.checks{list-style:none;margin:0;padding:0}.checks li{display:grid;grid-template-columns:1.6rem 1fr;padding:.45rem 0;
border-top:1px solid var(--line)}.checks li>div{min-width:0}.checks p{margin:.1rem 0;font-size:.92rem}
.soft{color:var(--soft)}
.chips{gap:.35rem;margin:.5rem 0}.chips li{padding:.2rem .6rem}.chips a{color:inherit;text-decoration:none}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.rows th,.rows td{min-width:3.5rem}.rows thead th{white-space:nowrap}
.new{--tone:var(--link);--in:var(--note-in)}
footer{color:var(--soft);font-size:.85rem;padding-bottom:2rem}
@media (max-width:40rem){.pair,.meta{grid-template-columns:1fr}.meta dt{margin-top:.3rem}
.verdict>p:first-child{font-size:1.7rem}th,td{padding:.4rem .55rem}
.rows thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.rows table,.rows tbody,.rows tr,.rows td,.rows caption{display:block}
.rows tr{border-top:1px solid var(--line);padding:.4rem 0}
.rows td{border:0;padding:.12rem .75rem;max-width:none;display:grid;gap:.5rem;overflow-wrap:anywhere;
grid-template-columns:6.5rem minmax(0,1fr)}
.rows td::before{content:attr(data-head);color:var(--soft);font-size:.85rem}
.rows td:first-child{font-weight:600;display:block}.rows td:first-child::before,.rows td:empty{display:none}}
@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--soft:#333;--line:#999;--code:#f2f2f2;
--bad:#900;--bad-in:#fff;--warn:#640;--warn-in:#fff;--good:#040;--good-in:#fff;--note:#224;--note-in:#fff;--link:#000}
body{font-size:11pt}.finding{content-visibility:visible}.card,tr{break-inside:avoid}h2,h3{break-after:avoid}
.scroll{overflow:visible}pre{white-space:pre-wrap}details::details-content{content-visibility:visible;display:block}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def as_html(view: View) -> str:
    """Verdict, findings worst first, what fails outside, clauses by item (those that hold folded), waivers, facts."""
    return "".join(page(view)) + "\n"


def text(value: str) -> Markup:
    """A text as HTML that shows it, in an element or a quoted attribute."""
    return Markup(html.escape(value, quote=True))


def code(value: str) -> Markup:
    return Markup(f"<code>{text(value)}</code>")


def prose(sentence: str) -> Markup:
    """A sentence, with what stands between backticks as code."""
    return Markup("".join(code(part) if number % 2 else text(part) for number, part in enumerate(quotes(sentence))))


def valued(view: View, value: str) -> Markup:
    """A value as code, or the word for none."""
    return code(view.value(value)) if value else text(view.words.none)


def page(view: View) -> Iterator[str]:
    words, report = view.words, view.report
    name = view.value(report.contract)
    title = text(f"{view.verdict} - {words.title}: {name}")
    yield (f'<!DOCTYPE html>\n<html lang="{words.language}">\n<head>\n<meta charset="utf-8">\n'
           '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
           '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
           f'<meta http-equiv="Content-Security-Policy" content="{text(POLICY)}">\n'
           f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n")
    yield from verdict(view)
    yield "<main>\n"
    yield from changes(view)
    yield f'<section aria-labelledby="mend"><h2 id="mend">{text(words.findings)}</h2>\n'
    if not view.to_mend:
        yield f"<p>{text(words.no_findings)}</p>\n"
    findings = list(enumerate(report.findings))
    for number, finding in findings:
        if counts(finding):
            yield from article(view, finding, number)
    yield "</section>\n"
    if view.chapters:
        yield f'<section aria-labelledby="steps"><h2 id="steps">{text(words.steps)}</h2>\n'
        for number, one in enumerate(view.chapters):
            yield from step(view, one, number)
        yield "</section>\n"
    if view.external:
        yield f'<section aria-labelledby="outside"><h2 id="outside">{text(words.external)}</h2>\n'
        yield f"<p>{text(words.external_note)}</p>\n"
        for number, finding in findings:
            if not finding.waiver and not counts(finding):
                yield from article(view, finding, number)
        yield "</section>\n"
    if view.gates:
        yield f'<section aria-labelledby="gates"><h2 id="gates">{text(words.gates)}</h2>\n'
        for number, gate in enumerate(view.gates):
            yield from checklist(view, gate, number)
        yield "</section>\n"
    if report.clauses:
        yield f'<section aria-labelledby="clauses"><h2 id="clauses">{text(words.clauses)}</h2>\n'
        for item, clauses in view.items.items():
            yield from of_item(view, item, clauses)
        yield "</section>\n"
    if view.waived:
        yield f'<section aria-labelledby="waived"><h2 id="waived">{text(words.waived)}</h2>\n'
        yield f"<p>{text(words.waived_note)}</p>\n"
        yield from waivers(view)
        yield "</section>\n"
    if view.figures or view.tables:
        yield f'<section aria-labelledby="facts"><h2 id="facts">{text(words.facts)}</h2>\n'
        if view.figures:
            yield from table(words.facts, (words.fact, words.value),
                             ((text(key), code(value)) for key, value in view.figures))
        for fact in view.tables:
            yield from table(fact.name, fact.columns, (map(text, row) for row in fact.rows))
        yield "</section>\n"
    yield f"</main>\n<footer><p>{text(view.headline)}; {text(view.subline)}</p></footer>\n</body>\n</html>"


def verdict(view: View) -> Iterator[str]:
    words, report = view.words, view.report
    tone = {0: "good", 1: "bad"}.get(report.status, "warn")
    yield f"<header>\n<h1>{text(words.title)}: {text(view.value(report.contract))}</h1>\n"
    yield f'<div class="card verdict {tone}">\n<p>{text(words.verdict)}: {text(view.verdict)}</p>\n'
    yield f'<p class="meaning">{text(words.meanings[report.status])}</p>\n'
    yield f"<p>{text(view.headline)}</p>\n"
    if report.clauses:
        yield '<ul class="tiles">'
        for state in State:
            if count := view.counts.get(state):
                yield f'<li class="{TONES[state]}"><b>{count}</b>{text(words.states[state])}</li>'
        yield "</ul>\n"
    yield f"<p>{text(view.subline)}</p>\n"
    yield from chips(view)
    yield '<dl class="meta">'
    yield entry(words.contract, valued(view, report.contract_file))
    if report.places:
        yield entry(words.checked, listed(Markup(f"{text(view.value(kind))} {code(view.value(path))}")
                                          for kind, path in report.places))
    yield entry(words.date, text(view.date))
    yield "</dl>\n</div>\n</header>\n"


def chips(view: View) -> Iterator[str]:
    """How each step and each phase is, in a word that leads to it."""
    words = view.words
    steps = [(f"s{number}", one.title.partition(":")[0], words.step_verdicts[one.verdict], *VERDICTS[one.verdict])
             for number, one in enumerate(view.chapters)]
    phases = [(f"p{number}", f"P{one.phase} {words.gate_states[one.state]}", "", *GATES[one.state])
              for number, one in enumerate(view.gates)]
    for some in filter(None, (steps, phases)):
        yield '<ul class="tiles chips">'
        for name, title, how, tone, sign in some:
            unseen = f'<span class="unseen">: {text(how)}</span>' if how else ""
            yield f'<li class="{tone}"><a href="#{name}">{sign} {text(title)}{unseen}</a></li>'
        yield "</ul>\n"


def changes(view: View) -> Iterator[str]:
    """What is new and what is mended since the last report."""
    words, found = view.words, view.changes
    if not found:
        return
    yield f'<section aria-labelledby="changes"><h2 id="changes">{text(words.changes)}</h2>\n'
    yield f'<div class="card"><p>{text(view.changed(found))}</p>\n'
    if found.why:
        yield f'<p class="warn"><span class="sign">!</span> {text(found.why)}</p>\n'
    for kind, tone, some in ((words.new, "bad", found.new), (words.mended, "good", found.mended),
                             (words.not_seen, "warn", found.unseen)):
        if found.since and some:
            yield '<ul class="checks">'
            for one in some:
                yield (f'<li><span class="sign {tone}">{"✓" if tone == "good" else "!"}</span><div>'
                       f'<span class="tag {tone}">{text(kind)}</span> {changed(one)}</div></li>')
            yield "</ul>\n"
    yield "</div>\n</section>\n"


def changed(one: Change) -> Markup:
    return Markup(f"{code(one.code)} {prose(one.text)}")


def step(view: View, one: Chapter, number: int) -> Iterator[str]:
    """A step's verdict, its notes, findings and tables; folded when there is nothing to know. The summary never is."""
    tone, _ = VERDICTS[one.verdict]
    opened = " open" if one.verdict == "fail" or one.name == "summary" else ""
    yield (f'<details class="step {tone}" id="s{number}"{opened}><summary><span>{text(one.title)}</span> '
           f"{judgement(view, one.verdict)}</summary>\n")
    yield "".join(f"<p>{text(note)}</p>\n" for note in one.notes)
    if links := [f'<a href="#f{at}">{text(view.value(about.code))}</a>' for at, about in view.about(one)]:
        yield f"<p>{text(view.words.about)}: {', '.join(links)}</p>\n"
    for grid in one.tables:
        rows = ((celled(view, cell) for cell in row) for row in grid.rows)
        yield from table(grid.title or one.title, grid.columns, rows, shown=bool(grid.title), rows_of=True)
    yield "</details>\n"


def judgement(view: View, verdict: str) -> Markup:
    tone, sign = VERDICTS[verdict]
    return Markup(f'<span class="tag {tone}">{sign} {text(view.words.step_verdicts[verdict])}</span>')


def celled(view: View, cell: Cell) -> Markup:
    """A cell; with a verdict it has its sign, and alone its word."""
    told = breakable(cell.text or (view.words.step_verdicts[cell.verdict] if cell.verdict else ""))
    if not cell.verdict:
        return told
    tone, sign = VERDICTS[cell.verdict]
    return Markup(f'<span class="{tone}"><span class="sign">{sign}</span>\u00a0{told}</span>')


def breakable(value: str) -> Markup:
    """A text that may go on in the next line within a path or a name, and nowhere else within a word."""
    return Markup("<wbr>".join(text(part) for part in re.split(r"(?<=\w[/_,:@])(?=[^\s/])", value)))


def checklist(view: View, gate: Gate, number: int) -> Iterator[str]:
    """A phase, each condition with its evidence and what it lacks."""
    words = view.words
    tone, sign = GATES[gate.state]
    title = words.gate.format(phase=gate.phase, title=gate.title)
    yield (f'<div class="card gate" id="p{number}"><h3><span>{text(title)}</span> <span class="tag {tone}">{sign} '
           f'{text(words.gate_states[gate.state])}</span></h3>\n<p class="soft">{text(words.condition)}</p>\n'
           '<ul class="checks">')
    for one in gate.conditions:
        tone, sign = GATES[one.state]
        state = text(words.gate_states[one.state])
        yield (f'<li><span class="sign {tone}" role="img" aria-label="{state}">{sign}</span>'
               f"<div><b>{text(one.text)}</b>")
        for label, value in ((words.evidence, one.evidence), (words.missing, one.missing)):
            if value:
                yield f'<p><span class="soft">{text(label)}:</span> {text(value)}</p>'
        yield "</div></li>\n"
    yield "</ul></div>\n"


def article(view: View, finding: Finding, number: int) -> Iterator[str]:
    """A finding: what is wrong, where, expected and actual, how to mend it, and what it has to do with."""
    words = view.words
    loud = finding.kind is Kind.VIOLATION and finding.severity in (Severity.CRITICAL, Severity.HIGH)
    tone = "bad" if loud else "note" if finding.kind is Kind.EXTERNAL else "warn"
    yield f'<article class="card finding {tone}" id="f{number}">\n'
    new = f'<span class="tag new">{text(words.new)}</span> ' if view.is_new(finding) else ""
    yield (f'<p><span class="tag">{text(words.label(finding))}</span> {new}{code(view.value(finding.code))} '
           f"<span>{text(view.title(finding))}</span></p>\n")
    yield f"<h3>{prose(view.message(finding))}</h3>\n"
    if finding.place:
        yield f'<p class="at">{code(view.value(str(finding.place)))}</p>\n{quoted(view, finding.place)}'
    if finding.expected or finding.actual:
        yield '<dl class="pair">'
        for label, value in ((words.expected, finding.expected), (words.actual, finding.actual)):
            yield f"<div><dt>{text(label)}</dt><dd>{valued(view, value)}</dd></div>"
        yield "</dl>\n"
    yield f'<p class="mend"><b>{text(words.remedy)}:</b> {prose(view.remedy(finding))}</p>\n<dl class="meta">'
    yield entry(words.layer, text(words.mend(finding.layer)))
    if finding.related:
        yield entry(words.related, listed(
            Markup(f"{code(view.value(str(one.place)))} {text(view.value(words.role(one.role)))}"
                   f"{quoted(view, one.place)}") for one in finding.related))
    for label, value in ((words.clause, finding.clause), (words.subject, finding.subject)):
        if value:
            yield entry(label, code(view.value(value)))
    yield "</dl>\n</article>\n"


def quoted(view: View, place: Place) -> Markup:
    """The line of source at a place."""
    line = view.line(place)
    return Markup(f"<pre><i>{place.line} | </i>{text(line)}</pre>\n" if line else "")


def of_item(view: View, item: str, clauses: Iterable[tuple[Clause, State]]) -> Iterator[str]:
    words = view.words
    of_all = list(clauses)
    held = [one for one in of_all if one[1] is State.HOLDS]
    name = view.value(words.item_name(item))
    yield f"<h3>{text(name)} {len(held)}/{len(of_all)}</h3>\n"
    heads = (words.clause, words.layers, words.state)
    if len(held) < len(of_all):
        yield from table(name, heads, (row(view, *one) for one in of_all if one[1] is not State.HOLDS), shown=False)
    if held:
        summary = words.holding.format(count=len(held))
        yield f"<details><summary>{text(summary)}</summary>\n"
        yield from table(f"{name}: {summary}", heads, (row(view, *one) for one in held), shown=False)
        yield "</details>\n"


def row(view: View, clause: Clause, how: State) -> tuple[Markup, Markup, Markup]:
    links = []
    for number in clause.findings:
        finding = view.report.findings[number]
        links.append(f'<a href="#f{number}">{text(view.value(finding.code))}</a>')
    sign = f'<span class="sign {TONES[how]}">{SIGNS[how]} {text(view.words.states[how])}</span>'
    return (code(view.value(clause.name)), text(", ".join(clause.layers)),
            Markup(f"{sign} {', '.join(links)}" if links else sign))


def waivers(view: View) -> Iterator[str]:
    words = view.words
    yield from table(
        words.waived, (words.code, words.content, words.owner, words.reason, words.expires),
        ((Markup(f'<span id="f{number}">{code(view.value(one.code))}</span>'),
          Markup(prose(view.message(one)) + (f"<br>{code(view.value(str(one.place)))}" if one.place else "")),
          text(view.value(one.waiver.owner)), text(view.value(one.waiver.reason)),
          Markup(f"{one.waiver.expires}<br>{code(view.value(str(one.waiver.place)))}"))
         for number, one in enumerate(view.report.findings) if one.waiver), shown=False)


def table(
    name: str, heads: Iterable[str], rows: Iterable[Iterable[Markup]], *, shown: bool = True, rows_of: bool = False
) -> Iterator[str]:
    """A table in a frame that scrolls by itself, also by keys.

    :param shown: its name is its caption.
    :param rows_of: a narrow screen shows each row as a list of its own, so that nothing is out of sight.
    """
    names = list(heads)
    kind = "scroll rows" if rows_of else "scroll"
    yield f'<div class="{kind}" role="region" tabindex="0" aria-label="{text(name)}"><table>'
    if shown:
        yield f"<caption>{text(name)}</caption>"
    yield "<thead><tr>" + "".join(f'<th scope="col">{text(head)}</th>' for head in names) + "</tr></thead>\n<tbody>"
    for one in rows:
        cells = zip(names, one, strict=True)
        yield "<tr>" + "".join(f'<td data-head="{text(head)}">{value}</td>' if rows_of else f"<td>{value}</td>"
                               for head, value in cells) + "</tr>\n"
    yield "</tbody></table></div>\n"


def entry(label: str, value: Markup) -> str:
    return f"<dt>{text(label)}</dt><dd>{value}</dd>"


def listed(values: Iterable[Markup]) -> Markup:
    return Markup("<ul>" + "".join(f"<li>{value}</li>" for value in values) + "</ul>")
