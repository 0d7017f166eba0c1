"""Say what this machine lacks for building pyconv, before pip says it in many more words.

Kept to syntax that old versions of Python read, so that they get the sentence below and no SyntaxError.
"""

import os
import shutil
import sys
import sysconfig

OLDEST = (3, 11)


def problems():
    """One sentence for each thing that is missing."""
    if sys.version_info < OLDEST:
        return [
            "{} is Python {}.{}; pyconv needs {}.{} or newer: make PYTHON=/path/to/python3".format(
                sys.executable, *(tuple(sys.version_info[:2]) + OLDEST)
            )
        ]
    found = []
    try:
        import ensurepip  # noqa: F401  (Debian has it in a package of its own, and venv fails without it)
        import venv  # noqa: F401
    except ImportError:
        found.append("this Python cannot make environments: apt-get install python3-venv")
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        found.append("Python's header files are missing: apt-get install python3-dev")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        found.append("there is no C compiler ({}): apt-get install gcc libc6-dev, or set CC".format(compiler))
    return found


if __name__ == "__main__":
    found = problems()
    for problem in found:
        sys.stderr.write("pyconv: {}\n".format(problem))
    sys.exit(1 if found else 0)
