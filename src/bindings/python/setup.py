"""Builds the extension against the liboncelog that pkg-config finds."""

import os
import shlex
import subprocess
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NEEDED = "oncelog >= 0.1"


def pkg_config(*arguments):
    command = [*shlex.split(os.environ.get("PKG_CONFIG", "pkg-config")), *arguments]
    try:
        found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        sys.exit(f"error: oncelog's Python package is built with pkg-config, but {command[0]} is not installed")
    if found.returncode != 0:
        sys.exit(
            f"error: oncelog's Python package needs the C interface of liboncelog, and pkg-config finds no {NEEDED}.\n"
            "Install the library with its headers (meson install -C build && ldconfig in oncelog's sources), or point "
            f"PKG_CONFIG_PATH to the folder of oncelog.pc.\npkg-config says: {found.stderr.strip()}"
        )
    return shlex.split(found.stdout)


class BuildExtension(build_ext):
    """Asks pkg-config only when something is compiled: a source distribution is made without the library."""

    def run(self):
        pkg_config("--print-errors", "--exists", NEEDED)
        for extension in self.extensions:
            extension.extra_compile_args += pkg_config("--cflags", "oncelog")
            extension.extra_link_args += pkg_config("--libs", "oncelog")
        super().run()


setup(
    packages=["oncelog"],
    package_data={"oncelog": ["py.typed", "*.pyi"]},
    cmdclass={"build_ext": BuildExtension},
    ext_modules=[
        Extension(
            "oncelog._oncelog",
            sources=[
                f"native/{name}.c"
                for name in ("calls", "claim", "convert", "ids", "module", "once", "scope", "store", "transaction")
            ],
            depends=[f"native/{name}.h" for name in ("convert", "handles", "ids")],
            include_dirs=["."],
            extra_compile_args=["-std=c11", "-fvisibility=hidden"],
        )
    ],
)
