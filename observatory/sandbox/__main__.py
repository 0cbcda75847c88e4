"""`python -m observatory.sandbox`: the sandbox alone, on loopback."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from observatory.sandbox.app import create_app


def main() -> None:
    """Serve the sandbox until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m observatory.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--journal", type=Path, help="file that remembers the chats")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before each model answer")
    options = parser.parse_args()
    app = create_app(journal=options.journal, latency_s=options.latency_ms / 1000)
    # Long polls and event streams never end by themselves, so shutdown waits one second at most.
    uvicorn.run(
        app, host="127.0.0.1", port=options.port, log_level="warning", timeout_graceful_shutdown=1
    )


if __name__ == "__main__":
    main()
