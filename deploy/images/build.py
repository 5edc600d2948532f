"""Builds the images with buildah, for machines without a Docker engine: `make images`.

Where a Docker engine and its registry are at hand, `docker compose build` makes the same images;
nothing here is needed then. This script adds two things for machines that have neither:

- where the base image cannot be pulled, a stand-in under its name: Debian with its Python 3.11, by
  debootstrap. The Dockerfiles cannot tell the difference.
- pip runs outside of the build as well, to download the packages with whatever indexes, proxies
  and certificates this machine has. The build gets them as a folder, checks their hashes again,
  and learns nothing about the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim"
IMAGES = {
    "gateway": "gateway/Dockerfile",
    "search": "search_service/Dockerfile",
    "embedder": "embedder_service/Dockerfile",
    "jobs": "cli/Dockerfile",
}
"""Name of each image below marquee/, and the file that it is built from."""


class BuildError(Exception):
    """The images cannot be built here; the message says what is missing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Build the images that the command line names, all by default."""
    parser = argparse.ArgumentParser(description="Build the images with buildah.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(IMAGES)}")
    parser.add_argument("--tag", default="dev", help="of the images [%(default)s]")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.images) - IMAGES.keys():
        parser.error(f"no such image: {', '.join(sorted(unknown))}")
    try:
        need("buildah")
        if not has_image(BASE) and not pull(BASE):
            need("debootstrap")
            make_stand_in(BASE)
        for name in arguments.images or IMAGES:
            started = time.monotonic()
            build(name, arguments.tag)
            print(f"marquee/{name}:{arguments.tag} built in {time.monotonic() - started:.0f} s")
    except BuildError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"images: {' '.join(error.cmd[:3])} ended with {error.returncode}", file=sys.stderr)
        return 1
    return 0


def need(program: str) -> None:
    """Install a Debian package unless its program is there.

    Raises:
        BuildError: It is not there and cannot be installed by this user.
    """
    if shutil.which(program):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BuildError(f"{program} is missing; as root: apt-get install {program}")
    run("apt-get", "-qq", "update")
    run("apt-get", "-qq", "install", "--yes", "--no-install-recommends", program)


def has_image(name: str) -> bool:
    """Tell whether an image is in the local storage."""
    return succeeds("buildah", "inspect", "--type", "image", name)


def pull(name: str) -> bool:
    """Pull an image, and tell whether that worked."""
    print(f"pulling {name}")
    return succeeds("timeout", "60", "buildah", "pull", "--quiet", name)


def make_stand_in(name: str) -> None:
    """Make an image of Debian with its own Python, laid out like the official Python images.

    Raises:
        BuildError: debootstrap needs root.
    """
    if os.geteuid() != 0:
        raise BuildError(f"{name} cannot be pulled, and only root can make a stand-in for it")
    print(f"{name} cannot be pulled; making a stand-in of Debian bookworm")
    with tempfile.TemporaryDirectory(prefix="marquee-base-") as folder:
        root = Path(folder) / "root"
        packages = "--include=ca-certificates,libpython3.11,python3,python3-venv"
        run("debootstrap", "--variant=minbase", packages, "bookworm", str(root))
        shutil.rmtree(root / "var/cache/apt")
        for link in ("python", "python3", "python3.11"):
            (root / "usr/local/bin" / link).symlink_to("/usr/bin/python3.11")
        container = output("buildah", "from", "scratch")
        try:
            run("buildah", "add", "--quiet", container, str(root), "/")
            run("buildah", "config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
            run("buildah", "commit", "--quiet", container, name)
        finally:
            run("buildah", "rm", container)


def build(name: str, tag: str) -> None:
    """Build one image."""
    wheels = fetch_packages(name)
    with tempfile.NamedTemporaryFile("w", prefix="marquee-pip-", suffix=".conf") as settings:
        settings.write("[global]\nno-index = true\nfind-links = /packages\n")
        settings.flush()
        run(
            "buildah",
            "bud",
            "--isolation=chroot",
            "--format=docker",  # the OCI format has no HEALTHCHECK
            "--layers",
            "--pull-never",
            f"--volume={settings.name}:/etc/pip.conf:ro",
            f"--volume={wheels}:/packages:ro",
            f"--file={IMAGES[name]}",
            f"--tag=marquee/{name}:{tag}",
            ".",
        )


def fetch_packages(name: str) -> Path:
    """Download what an image's requirements name, with this machine's pip and its settings."""
    folder = ROOT / "build" / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    for requirements in ("build", name):
        run(
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download"),
            *("--require-hashes", "--no-deps", f"--dest={folder}"),
            f"--requirement=requirements/{requirements}.txt",
        )
    return folder


def run(*command: str) -> None:
    """Run a command in the repository's root.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    subprocess.run(command, cwd=ROOT, check=True)


def succeeds(*command: str) -> bool:
    """Run a command silently and tell whether it succeeded."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def output(*command: str) -> str:
    """Return what a command prints, without the last line's end.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
