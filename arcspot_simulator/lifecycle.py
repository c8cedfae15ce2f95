"""Step Functions: the stack's own state machine, played on the virtual clock.

The Amazon States Language as far as `runner_lifecycle.asl.json` uses it; anything else is refused
when the definition is read. https://states-language.net/spec.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from arcspot_simulator.functions import Broken, FunctionFailed, Functions, repository
from arcspot_simulator.limits import STATE_BYTES, document_fault, execution_name_fault, refuse
from arcspot_simulator.loop import Loop
from arcspot_simulator.weather import HOUR, Sky

State = Mapping[str, Any]
KNOWN = {
    "Task": {"Type", "Resource", "TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSecondsPath", "Parameters",
             "ResultSelector", "ResultPath", "Retry", "Catch", "Next", "Comment"},
    "Choice": {"Type", "Choices", "Default", "Comment"},
    "Wait": {"Type", "SecondsPath", "Next", "Comment"},
    "Succeed": {"Type", "Comment"},
    "Fail": {"Type", "ErrorPath", "CausePath", "Comment"},
}  # fmt: skip
WITH_TOKEN = ".waitForTaskToken"
# About what Step Functions' tokens have; a row that carries one costs twice as much to write.
TOKEN_CHARS = 1000


@cache
def definition() -> Mapping[str, Any]:
    """The stack's definition. Raises ValueError for a field this player does not know."""
    read: dict[str, Any] = json.loads(
        (repository() / "statemachines" / "runner_lifecycle.asl.json").read_text()
    )
    for name, state in read["States"].items():
        unknown = set(state) - KNOWN.get(state["Type"], set())
        if state["Type"] not in KNOWN or unknown:
            raise ValueError(f"{name}: the simulator cannot play {state['Type']} with {sorted(unknown)}")
    return read


@dataclass
class Execution:
    """One launch's execution. `token` is what a callback must bring; it changes with every wait."""

    name: str
    data: dict[str, Any]
    state: str = ""
    tries: dict[int, int] = field(default_factory=dict)
    token: str = ""
    heard_at: float = 0.0
    status: str = "RUNNING"
    error: str = ""
    visits: int = 0


class SimStepFunctions:
    """`ports.Workflow`, and the service that plays the executions."""

    def __init__(self, loop: Loop, sky: Sky) -> None:
        self.loop, self.sky = loop, sky
        self.functions: Functions
        self.executions: dict[str, Execution] = {}
        self.open: dict[str, Execution] = {}
        self.tokens: dict[str, Execution] = {}
        self.transitions = 0
        self.repeated: Callable[[str, Mapping[str, Any]], object] = lambda function, payload: None

    # What our code may ask -------------------------------------------------------------------------------
    def start(self, launch_id: str, input: Mapping[str, Any]) -> None:
        refuse(execution_name_fault(launch_id), document_fault(dict(input), STATE_BYTES, "an input"))
        if launch_id in self.executions:
            return
        execution = Execution(launch_id, json.loads(json.dumps(dict(input))))
        self.executions[launch_id] = self.open[launch_id] = execution
        self.loop.after(0.1, "execution starts", lambda: self._enter(execution, definition()["StartAt"]))
        if self.sky.strikes(self.sky.weather.executions_aborted):
            self.loop.after(HOUR * self.sky.rng.random(), "abort", lambda: self.abort(launch_id))

    def succeed(self, token: str, output: Mapping[str, Any]) -> None:
        self._answer(token, lambda execution: self._task_done(execution, dict(output)))

    def fail(self, token: str, error: str, cause: str) -> None:
        self._answer(token, lambda execution: self._task_failed(execution, error, cause))

    def beat(self, token: str) -> None:
        execution = self.tokens.get(token)
        if execution is not None:
            execution.heard_at = self.loop.now

    # What happens by itself ------------------------------------------------------------------------------
    def abort(self, launch_id: str) -> None:
        """Somebody pressed Stop in the console."""
        execution = self.open.get(launch_id)
        if execution is not None:
            self._over(execution, "ABORTED")

    def _answer(self, token: str, act: Callable[[Execution], object]) -> None:
        execution = self.tokens.get(token)
        if execution is None or self.sky.strikes(self.sky.weather.tokens_lost):
            return
        del self.tokens[token]
        execution.token = ""
        self.loop.after(0.05, "callback", lambda: act(execution) if execution.status == "RUNNING" else None)

    def _enter(self, execution: Execution, name: str) -> None:
        if execution.status != "RUNNING":
            return
        self.transitions += 1
        execution.visits += 1
        if name != execution.state:
            execution.tries.clear()
        execution.state = name
        state = definition()["States"][name]
        kind = state["Type"]
        if kind == "Task":
            self._run_task(execution, state)
        elif kind == "Choice":
            self._enter(execution, _choose(state, execution.data))
        elif kind == "Wait":
            seconds = float(_path(execution.data, state["SecondsPath"]))
            self.loop.after(seconds, "wait", lambda: self._enter(execution, state["Next"]))
        else:
            if kind == "Fail":
                execution.error = str(_path(execution.data, state["ErrorPath"]))
                assert isinstance(_path(execution.data, state["CausePath"]), str)
            self._over(execution, "SUCCEEDED" if kind == "Succeed" else "FAILED")

    def _over(self, execution: Execution, status: str) -> None:
        execution.status = status
        self.open.pop(execution.name, None)
        self.tokens.pop(execution.token, None)

    def _run_task(self, execution: Execution, state: State) -> None:
        waits = state["Resource"].endswith(WITH_TOKEN)
        if waits:
            execution.token = f"{execution.name}/{execution.state}/{execution.visits}/".ljust(
                TOKEN_CHARS, "."
            )
            execution.heard_at = self.loop.now
            self.tokens[execution.token] = execution
            self._watch_clock(execution, state, execution.token)
        function = "launch" if "LaunchFunction" in state["Parameters"]["FunctionName"] else "retire"
        payload = _filled(state["Parameters"]["Payload"], execution)
        try:
            result = self.functions.invoke(function, payload)
            if self.sky.strikes(self.sky.weather.steps_repeated):
                self.repeated(function, payload)
        except FunctionFailed as failed:
            if not waits or execution.token:
                self._task_failed(execution, failed.name, str(failed))
            return
        if not waits:
            self._task_done(execution, {"Payload": result})

    def _watch_clock(self, execution: Execution, state: State, token: str) -> None:
        """States.Timeout and States.HeartbeatTimeout of a callback."""
        entered = self.loop.now
        limit = float(_path(execution.data, state["TimeoutSecondsPath"]))
        silence = float(_path(execution.data, state["HeartbeatSecondsPath"]))
        if silence >= limit:
            raise Broken(
                f"{execution.state}: Step Functions refuses a heartbeat of {silence} s below {limit} s"
            )

        def look() -> None:
            if execution.token != token or execution.status != "RUNNING":
                return
            now = self.loop.now
            late = now >= entered + limit
            if not late and now < execution.heard_at + silence:
                self.loop.at(min(entered + limit, execution.heard_at + silence), "task clock", look)
                return
            self.tokens.pop(token, None)
            execution.token = ""
            self._task_failed(execution, "States.Timeout" if late else "States.HeartbeatTimeout", "")

        self.loop.at(min(entered + limit, entered + silence), "task clock", look)

    def _task_done(self, execution: Execution, result: Mapping[str, Any]) -> None:
        state = definition()["States"][execution.state]
        if "ResultSelector" in state:
            result = {
                name.removesuffix(".$"): _path(result, path) for name, path in state["ResultSelector"].items()
            }
        _put(execution.data, state.get("ResultPath", "$"), result)
        self._enter(execution, state["Next"])

    def _task_failed(self, execution: Execution, error: str, cause: str) -> None:
        self.tokens.pop(execution.token, None)
        execution.token = ""
        state = definition()["States"][execution.state]
        # The first retrier that matches decides, even if it says no more than "never".
        retriers = enumerate(state.get("Retry", ()))
        n, retrier = next(((n, r) for n, r in retriers if _matches(r["ErrorEquals"], error)), (0, None))
        if retrier and execution.tries.get(n, 0) < retrier["MaxAttempts"]:
            tries = execution.tries[n] = execution.tries.get(n, 0) + 1
            wait = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** (tries - 1)
            wait = min(wait, retrier.get("MaxDelaySeconds", wait))
            if retrier.get("JitterStrategy") == "FULL":
                wait *= self.sky.rng.random()
            self.loop.after(wait, "retry", lambda: self._enter(execution, execution.state))
            return
        for catcher in state.get("Catch", ()):
            if _matches(catcher["ErrorEquals"], error):
                _put(execution.data, catcher["ResultPath"], {"Error": error, "Cause": cause})
                self._enter(execution, catcher["Next"])
                return
        self._over(execution, "FAILED")


def _matches(wanted: list[str], error: str) -> bool:
    return error in wanted or "States.ALL" in wanted


def _path(data: Any, path: str) -> Any:
    for part in path.removeprefix("$").split("."):
        if part:
            data = data[part]
    return data


def _put(data: dict[str, Any], path: str | None, value: Any) -> None:
    """Write a result where ResultPath says; null keeps the data as it was."""
    if path is None:
        return
    name = path.removeprefix("$.")
    if name in ("$", "") or "." in name:
        raise ValueError(f"the simulator cannot play ResultPath {path}")
    data[name] = value


def _filled(template: Mapping[str, Any], execution: Execution) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in template.items():
        if not name.endswith(".$"):
            found[name] = value
        elif value == "$$.Task.Token":
            found[name[:-2]] = execution.token
        else:
            found[name[:-2]] = _path(execution.data, value)
    return found


def _choose(state: State, data: Mapping[str, Any]) -> str:
    for choice in state["Choices"]:
        value = _path(data, choice["Variable"])
        wanted = choice.get("StringEquals", choice.get("BooleanEquals"))
        if wanted is None or set(choice) - {"Variable", "StringEquals", "BooleanEquals", "Next"}:
            raise ValueError(f"the simulator cannot play the choice {choice}")
        if value == wanted:
            return str(choice["Next"])
    return str(state["Default"])
