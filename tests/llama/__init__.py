"""llama.cpp's own server, asked by our pipelines; `make llama` installs it, and without it they do not run."""

from __future__ import annotations
