"""The program on the instance: claim a job, solve it, deliver, go away when told.

Its side of docs/runner-contract.md. `__main__` is the door; `loop` reads top to bottom.
"""

RUNNER_VERSION = "0.1.0"
