"""Lambda: the real handlers, each invocation with faults between any two of its calls.

An invocation's calls to the outside go through `Faulty` ports. One of them may crash the process
before or after it took effect, fail, or stall while everything else goes on: a stalled call runs the
event loop inside itself, so another invocation really happens between a read and the write after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from arcspot.errors import ArcspotError, Conflict, StoreBusy
from arcspot.ports import Fetched, Ports
from arcspot.settings import Settings
from arcspot_simulator.cloud import AwsError
from arcspot_simulator.latency import LISTINGS, PAGE_KEYS, seconds
from arcspot_simulator.loop import Loop
from arcspot_simulator.metering import Meter
from arcspot_simulator.weather import Sky

NAMES = ("ingest", "launch", "report", "retire", "runner_api", "scale", "watchdog")
DEEPEST = 3
# As template.yaml sets them (tests/contract/test_simulated_times.py).
TIMEOUT_S = 60.0
TIMEOUTS_S = {"ingest": 120.0, "report": 300.0, "runner_api": 30.0}
MEMORY_MB = 256
MEMORIES_MB = {"ingest": 1024, "report": 1024}
# What Python, boto3 and the handler take of it, and what a byte of JSON and a row become once they are parsed
# (tracemalloc's peak: 6.7 to 16.5 bytes for a byte of a task file, by the size of its grids; 1.9 kB a Job).
OWN_MB = 110
PARSED_BYTES, ROW_BYTES = 17, 2_000
# What never leaves the process is no call.
LOCAL = frozenset({"presign_get", "presign_put"})


class PowerCut(BaseException):
    """The function's process ended here; no `except Exception` sees that."""


class FunctionFailed(Exception):
    """What the caller of a function sees: the error's name and its words."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


@dataclass
class Invocation:
    """One run of one function, and what is to befall it at which of its calls."""

    function: str
    started: float
    calls: int = 0
    strike_at: int = 0
    fault: str = ""
    busy_until: int = 0  # the call up to which the tables are busy, once they are

    @property
    def ends(self) -> float:
        """When Lambda's patience with it is over."""
        return self.started + TIMEOUTS_S.get(self.function, TIMEOUT_S)


class Context:
    """What Lambda hands a handler beside the event."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    @property
    def aws_request_id(self) -> str:
        current = self._functions.running[-1]
        return f"{current.function} of {current.started}"

    def get_remaining_time_in_millis(self) -> int:
        current = self._functions.running[-1]
        return int(1000 * (current.ends - self._functions.loop.now))


LOG_LEVELS = ("info", "warning", "error", "exception")


class Silent:
    """A logger that says nothing, and has its lines counted where somebody counts."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    def __getattr__(self, name: str) -> Callable[..., None]:
        def said(*args: Any, **kwargs: Any) -> None:
            meter = self._functions.meter
            if meter is not None and name in LOG_LEVELS:
                meter.logged(str(args[0]), kwargs.get("extra", {}))

        return said


class Functions:
    """All functions of the stack over one set of ports."""

    def __init__(self, loop: Loop, sky: Sky, ports: Ports, settings: Callable[[], Settings]) -> None:
        self.loop, self.sky = loop, sky
        self.running: list[Invocation] = []
        self.calls: Counter[str] = Counter()
        self.invocations: Counter[str] = Counter()
        self.trace: Callable[[str], object] = lambda text: None
        self.mischief: Callable[[], object] = lambda: None
        self.timeless = False  # calls take no time: for whoever compares two moments
        self.meter: Meter | None = None  # counts calls of a calm history; faults are not billed
        self.faulty = Ports(**{f.name: self._wrapped(f.name, getattr(ports, f.name)) for f in fields(Ports)})
        self._settings = settings
        self._handlers = {name: self._load(name) for name in NAMES}

    @property
    def down(self) -> bool:
        return self.sky.weather.functions_down.holds(self.loop.now)

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Run a handler to its end. Raises FunctionFailed as Lambda would tell it."""
        if self.down:
            raise FunctionFailed("Lambda.ServiceException", "the service does not answer")
        self.invocations[function] += 1
        if self.meter is not None:
            self.meter.invoked(function, self.loop.now)
        current = self._drawn(function)
        self.running.append(current)
        try:
            return self._handlers[function](event)
        except PowerCut:
            raise FunctionFailed("Runtime.ExitError", f"{function} exited without an answer") from None
        except Exception as error:
            name = type(error).__name__
            # Denied outside of launching: only what EC2 has forgotten is, and that is for us to know.
            denied = "UnauthorizedOperation" in str(error) and function != "launch"
            if denied or not isinstance(error, ArcspotError | AwsError):
                raise Broken(f"{function}: {name}: {error}") from error
            raise FunctionFailed(name, str(error)) from error
        finally:
            self.running.pop()

    def _drawn(self, function: str) -> Invocation:
        weather, rng = self.sky.weather, self.sky.rng
        found = Invocation(function, self.loop.now)
        roll = rng.random()
        for fault in ("call_crashes", "call_errors", "call_pauses", "ambiguous_writes"):
            rate = getattr(weather, fault)
            if roll < rate:
                found.fault = fault
                found.strike_at = 1 + int(rng.expovariate(0.25))
                break
            roll -= rate
        return found

    def _wrapped(self, port: str, real: Any) -> Any:
        if port == "pause":
            return self._waits(real)
        if port in ("kick", "bell"):
            return self._call(port, real)
        return Faulty(self, port, real)

    def _call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        short = name.rpartition(".")[2]
        if short in LOCAL:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            current = self.running[-1] if self.running else None
            if current is None:
                return real(*args, **kwargs)
            current.calls += 1
            still = name.startswith("store.") and current.strike_at < current.calls <= current.busy_until
            if self.meter is None and current.fault and (current.calls == current.strike_at or still):
                result = self._struck(current, name, real, args, kwargs)
            else:
                result = real(*args, **kwargs)
            if self.meter is not None:
                took = seconds(name, args, result)
                fresh = kwargs.get("fresh", True)
                self.meter.called(current.function, name, args, result, seconds=took, fresh=fresh)
            self._takes(current, name, args, result)
            self._holds(current, name, result)
            return self._listed(current, name, args, result) if name in LISTINGS else result

        return call

    def _listed(
        self, current: Invocation, name: str, args: tuple[Any, ...], found: Iterable[Any]
    ) -> Iterator[Any]:
        """A listing page by page: each further one is a call of its own, and takes its time."""
        for number, item in enumerate(found):
            if number and number % PAGE_KEYS == 0:
                self.calls[name] += 1
                if self.meter is not None:
                    self.meter.called(current.function, name, args, (), seconds=seconds(name, args, ()))
                self._takes(current, name, args, ())
            yield item

    def _struck(
        self, current: Invocation, name: str, real: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        rng = self.sky.rng
        if current.fault == "call_pauses":
            self._stall(current, name)
            return real(*args, **kwargs)
        if current.fault == "ambiguous_writes":
            result = real(*args, **kwargs)
            if name == "store.write" and len(args) == 1:
                # DynamoDB took the put, its answer was lost, and the SDK's second try met its own first.
                self.trace(f"  {current.function}: {name} took effect, but is told it lost")
                raise Conflict("version is not what was read")
            return result
        after = rng.random() < 0.5
        self.trace(f"  {current.function}: {current.fault} {'after' if after else 'before'} {name}")
        if after:
            real(*args, **kwargs)
        if current.fault == "call_crashes":
            raise PowerCut
        if name.startswith("store."):
            # For a moment, for some tries, or for longer than anybody's patience.
            current.busy_until = current.busy_until or current.calls + rng.choice((0, 5, 500))
            raise StoreBusy(f"{name}: InternalServerError")
        raise AwsError(f"{name}: InternalServerError")

    def _waits(self, real: Callable[[int], object]) -> Callable[[int], None]:
        """A pause is no call: nothing befalls it and nothing is billed, but its time passes."""

        def wait(tries: int) -> None:
            if self.timeless or len(self.running) > DEEPEST + 1:
                return
            real(tries)
            if self.running:
                self._cut_off(self.running[-1])

        return wait

    def _takes(self, current: Invocation, name: str, args: tuple[Any, ...], result: Any) -> None:
        """Let the call's time pass, and the world go on in it; beyond its limit a function is cut off."""
        if self.timeless or len(self.running) > DEEPEST + 1:
            return
        self.loop.run(self.loop.now + seconds(name, args, result))
        self._cut_off(current)

    def _holds(self, current: Invocation, name: str, result: Any) -> None:
        """Beyond its memory a function is killed, by what one call has brought."""
        limit = MEMORIES_MB.get(current.function, MEMORY_MB) - OWN_MB
        if brought(result) > limit * 2**20:
            self.trace(f"  {current.function}: {name} brought more than its memory holds")
            raise PowerCut

    def _cut_off(self, current: Invocation) -> None:
        if self.loop.now > current.ends:
            self.trace(f"  {current.function}: timed out")
            raise PowerCut

    def _stall(self, current: Invocation, name: str) -> None:
        if len(self.running) > DEEPEST:
            return
        rng = self.sky.rng
        seconds = rng.choice((0.2, 2.0, 10.0, 50.0, TIMEOUT_S)) * rng.random()
        self.trace(f"  {current.function}: {name} stalls for {seconds:.1f} s")
        if self.sky.strikes(self.sky.weather.mischief):
            self.mischief()
        self.loop.run(self.loop.now + seconds)
        self._cut_off(current)

    def _load(self, name: str) -> Callable[[Mapping[str, Any]], Any]:
        """A handler as Lambda finds it, but with our ports, our clock and no log."""
        module = _handler_module(name)
        clock = self.loop

        class Clock:
            @staticmethod
            def now(zone: tzinfo) -> datetime:
                return clock.moment.astimezone(zone)

        context = {
            "from_environment": lambda: (self._settings(), self.faulty),
            "datetime": Clock,
            "logger": Silent(self),
        }
        handler = module.handler
        while hasattr(handler, "__wrapped__"):
            handler = handler.__wrapped__
        for attribute, value in context.items():
            setattr(module, attribute, value)
        if name == "watchdog":
            module._publish = self._published  # type: ignore[attr-defined]
        if name == "scale":
            module.new_launch_id = self._launch_id  # type: ignore[attr-defined]
        if name == "runner_api":
            module.secrets = self._Secrets(self)  # type: ignore[attr-defined]
        return lambda event: handler(event, Context(self))

    def _published(self, *args: Any, **kwargs: Any) -> None:
        if self.meter is not None:
            self.meter.published()

    def _launch_id(self, now: datetime) -> str:
        return f"L{self.calls.total():07d}"

    class _Secrets:
        """`secrets` with numbers instead of chance."""

        def __init__(self, functions: Functions) -> None:
            self._given = 0

        def token_urlsafe(self, size: int) -> str:
            self._given += 1
            return f"secret-{self._given}"


def brought(result: Any) -> int:
    """Bytes of memory that a call's answer takes once it is parsed."""
    if isinstance(result, bytes):
        return PARSED_BYTES * len(result)
    if isinstance(result, Fetched):
        return PARSED_BYTES * len(result.body)
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, list):
        return sum(brought(each) if isinstance(each, bytes | Fetched) else ROW_BYTES for each in result)
    return 0


class Broken(AssertionError):
    """A function raised what it never may: our own bug, not a fault of the world."""


class Faulty:
    """A port whose every method may be struck."""

    def __init__(self, functions: Functions, port: str, real: Any) -> None:
        self._functions, self._port, self._real = functions, port, real

    def __getattr__(self, name: str) -> Any:
        # Found once, then kept as an ordinary attribute.
        method = self._functions._call(f"{self._port}.{name}", getattr(self._real, name))
        setattr(self, name, method)
        return method


def repository() -> Path:
    """The folder with functions/ and statemachines/. Raises FileNotFoundError outside a clone."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "functions").is_dir():
        raise FileNotFoundError(f"no functions/ in {root}: the simulator runs from a clone of the repository")
    return root


@cache
def _code(name: str) -> CodeType:
    path = repository() / "functions" / name / "app.py"
    return compile(path.read_text(), str(path), "exec")


def _handler_module(name: str) -> ModuleType:
    """A fresh module for each history: what one sets in it must not reach another."""
    module = ModuleType(f"simulated_{name}")
    exec(_code(name), module.__dict__)
    return module
