"""The command ``execution-contract``: checks places against a contract, and renders the report again.

Exit status: 0 all holds, 1 a violation, 2 the call or an input cannot be read, 3 only drift, 4 something could not be
checked and nothing is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .documents import read_text
from .model import ContractError, Report
from .run import Request, run

FORMATS = ("text", "markdown", "html", "junit", "sarif", "github", "json")


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser("execution-contract", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="compare an app, an image, manifests or a repository with a contract")
    check.add_argument("--contract", type=Path, required=True, help="the contract, such as contracts/observer.yml")
    check.add_argument("--app", type=Path, metavar="DIR", help="checkout of the app, with its Dockerfile")
    check.add_argument("--dockerfile", metavar="FILE", help="in the app's checkout; '' for none")
    check.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as for docker build")
    check.add_argument("--image", type=Path, metavar="ARCHIVE", help="the built image: OCI layout or docker save")
    check.add_argument("--image-reference", default="", metavar="NAME", help="which image of the archive")
    check.add_argument("--platform", default="", metavar="OS/ARCH", help="which platform of the image")
    check.add_argument("--manifests", type=Path, metavar="PATH", help="an overlay, a chart, a folder or a file")
    check.add_argument("--with", type=Path, action="append", default=[], dest="extra", metavar="PATH",
                       help="manifests that are applied beside them (SealedSecrets); again for more")
    check.add_argument("--values", type=Path, action="append", default=[], metavar="FILE", help="values of a chart")
    check.add_argument("--repository", type=Path, metavar="DIR", help="look for secrets in a checkout and its history")
    check.add_argument("--no-history", action="store_true", help="leave git's history out")
    check.add_argument("--root", type=Path, metavar="DIR", help="files are named relative to it")
    render = verbs.add_parser("render", help="render a report again from its JSON")
    render.add_argument("report", type=Path, help="what --output json=FILE wrote")
    for verb in (check, render):
        verb.add_argument("--format", choices=FORMATS, default="text", help="what is printed (text)")
        verb.add_argument("--output", action="append", default=[], metavar="FORMAT=FILE",
                          help="write a rendering to a file, too; again for more")
        verb.add_argument("--language", choices=("en", "ko"), default="en")
    return top


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    arguments = parser().parse_args(argv)
    try:
        outputs = wanted_outputs(arguments.output)
        report = checked(arguments) if arguments.verb == "check" else loaded(arguments.report)
        from .report import render

        for kind, path in outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(report, kind, arguments.language), encoding="utf-8")
        print(render(report, arguments.format, arguments.language).rstrip("\n"))
    except ContractError as error:
        print(f"error: {error} {error.remedy}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename} cannot be written: {error.strerror}. Choose another file.", file=sys.stderr)
        return 2
    return report.status


def wanted_outputs(values: Sequence[str]) -> list[tuple[str, Path]]:
    """:raises ContractError: not FORMAT=FILE."""
    found = []
    for value in values:
        kind, equals, path = value.partition("=")
        if not equals or kind not in FORMATS or not path:
            raise ContractError(f"--output {value} is not FORMAT=FILE.", f"The formats are {', '.join(FORMATS)}.")
        found.append((kind, Path(path)))
    return found


def checked(arguments: argparse.Namespace) -> Report:
    pairs = dict(value.partition("=")[::2] for value in arguments.build_arg)
    return run(Request(
        contract=arguments.contract, app=arguments.app, dockerfile=arguments.dockerfile, build_arguments=pairs,
        image=arguments.image, image_reference=arguments.image_reference, image_platform=arguments.platform,
        manifests=arguments.manifests, extra=arguments.extra, values=arguments.values,
        repository=arguments.repository, history=not arguments.no_history, root=arguments.root))


def loaded(path: Path) -> Report:
    """:raises ContractError: no report."""
    from .report import from_json

    return from_json(read_text(path), str(path))
