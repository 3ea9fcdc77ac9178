"""`tools/demo`: boots the lab, runs the story in it, and copies the drawing out."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tools.demonstration.story import StoryError, tell
from tools.lab.guest import GuestFailedError, LabUnavailableError, inside, place

LIMIT_S = 180.0
DAY_S = 86400.0


def main() -> int:
    """Runs outside and, as its own child, inside the lab."""
    parser = argparse.ArgumentParser(
        prog="tools/demo",
        description="Shows a hub and two spokes finding each other on a real kernel, and draws it.",
    )
    parser.add_argument("--keep", action="store_true", help="end in a shell of that network")
    parser.add_argument(
        "--output", type=Path, default=Path("demo.svg"), help="the drawing (default: demo.svg)"
    )
    parser.add_argument("--directory", type=Path, default=Path(), help=argparse.SUPPRESS)
    parser.add_argument("--share", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.share is not None and inside():
        return _inside(arguments.share / "demo.svg", keep=arguments.keep)
    output = arguments.directory / arguments.output
    target = output if os.access(output, os.F_OK) else output.parent
    if output.is_dir() or not os.access(target, os.W_OK):
        print(f"tools/demo: {output} cannot be written: choose another --output", file=sys.stderr)
        return 1
    print("Booting a kernel with mGRE …", flush=True)
    with tempfile.TemporaryDirectory(prefix="nhrpd-demo-") as share:
        argv = [sys.executable, "-m", "tools.demonstration", "--share", share]
        try:
            if arguments.keep:
                status = place(Path(share), limit_s=DAY_S).shell([*argv, "--keep"])
            else:
                status = place(Path(share), limit_s=LIMIT_S).run(argv)
        except (LabUnavailableError, GuestFailedError) as error:
            print(f"tools/demo: {error}", file=sys.stderr)
            return 1
        if status != 0:
            return status
        try:
            shutil.copyfile(Path(share) / "demo.svg", output)
        except OSError as error:
            print(f"tools/demo: the drawing could not be brought out: {error}", file=sys.stderr)
            return 1
    print(f"\nThe drawing: {output}")
    return 0


def _inside(drawing: Path, *, keep: bool) -> int:
    try:
        tell(drawing, keep=keep)
    except StoryError as error:
        print(f"\ntools/demo: this did not happen: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
