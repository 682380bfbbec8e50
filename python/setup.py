"""Takes libdial.so along where it was built (or where DIAL_LIBRARY says), so that the wheel is complete.

Without it the package looks for an installed libdial when it is imported. Nothing is compiled here.
"""
import glob
import os
import shutil

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))


def library():
    given = os.environ.get("DIAL_LIBRARY")
    built = sorted(glob.glob(os.path.join(HERE, "..", "build", "release", "libdial.so.*.*")))
    found = given or (built[-1] if built else None)
    return os.path.realpath(found) if found else None


class WithLibrary(build_py):
    def run(self):
        super().run()
        if library():
            to = os.path.join(self.build_lib, "dial", "lib")
            os.makedirs(to, exist_ok=True)
            shutil.copy(library(), os.path.join(to, "libdial.so"))


class OfThisMachine(bdist_wheel):
    """Any Python 3, but the machine that the library was built for."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = library() is None

    def get_tag(self):
        python, abi, platform = super().get_tag()
        return ("py3", "none", platform) if library() else (python, abi, platform)


class MaybeBinary(Distribution):
    def has_ext_modules(self):
        return library() is not None


setup(cmdclass={"build_py": WithLibrary, "bdist_wheel": OfThisMachine}, distclass=MaybeBinary)
