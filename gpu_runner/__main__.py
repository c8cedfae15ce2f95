"""The runner's door: `python3 -m gpu_runner`, started by bootstrap.sh.

Environment: ARCSPOT_RUNNER_API (function name), ARCSPOT_BUNDLE (unpacked bundle),
ARCSPOT_WORK (scratch directory), ARCSPOT_LOG (the log file to ship, optional),
ARCSPOT_AT_ONCE (how many jobs at the same time, optional: by default what the machine
can take), AWS_DEFAULT_REGION, and optionally AWS_ENDPOINT_URL and AWS_EC2_METADATA_SERVICE_ENDPOINT.

Exit code 0 means it served and said good-bye; bootstrap.sh shuts the machine down in
every case.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path


def main(env: Mapping[str, str]) -> int:
    """Serve once, under the real clock."""
    # At the end: what the machine image brings wins over what the bundle brings.
    sys.path.append(str(Path(env["ARCSPOT_BUNDLE"]) / "vendor"))
    from gpu_runner.assembly import run  # needs the vendored packages

    return run(env, now=time.monotonic, sleep=time.sleep)


if __name__ == "__main__":
    sys.exit(main(os.environ))
