"""Our pipelines ask llama.cpp's own server, which `make llama` installs.

The tests do not run without it.
"""

from __future__ import annotations
