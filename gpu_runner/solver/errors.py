"""What can go wrong inside the solver.

SolverError
├── BadTask       the task is not a well-formed ARC task
├── BadWeights    weights that do not fit the code: a checkpoint or a downloaded adaptation
├── BadState      a kept state that this solve cannot go on from; never leaves the solver
├── BadData       a folder of pretraining data that lacks what is expected in it
├── Diverged      a pretraining that gives no finite gradients any more
├── UnsupportedDevice  a GPU that this torch has no code for
└── Interrupted   the caller asked to stop
"""


class SolverError(Exception):
    """Any failure the solver reports on purpose."""


class BadTask(SolverError):
    """The task is not a well-formed ARC task: say which grid and why."""


class BadWeights(SolverError):
    """A file of weights does not fit this version of the network."""


class BadState(SolverError):
    """A kept state is torn, foreign or changed: the work starts over."""


class BadData(SolverError):
    """Pretraining data that is missing or of another form: say what was expected and where it comes from."""


class Diverged(SolverError):
    """No finite gradients for some steps on end; what was kept before is as it was."""


class UnsupportedDevice(SolverError):
    """The installed torch cannot run on this GPU: say what it has code for, and what to do."""


class Interrupted(SolverError):
    """`should_stop()` turned true; nothing was decided."""
