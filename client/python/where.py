"""where.py PREFIX - prints the first directory below PREFIX where the Python that runs this looks for
modules of everybody. Nothing if there is none. For `make install`.
"""

import site
import sys

below = sys.argv[1].rstrip("/") + "/lib/"
for path in site.getsitepackages():
    if path.startswith(below):
        print(path)
        break
