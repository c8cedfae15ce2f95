"""Put the runner together on a real machine and let it serve."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

from arcspot.errors import ArcspotError
from gpu_runner import RUNNER_VERSION, host, solving
from gpu_runner.api import ApiSilent, RunnerApi, lambda_invoke
from gpu_runner.artefacts import Maker
from gpu_runner.board import Board
from gpu_runner.checkpoint import Checkpoints
from gpu_runner.contract import Json
from gpu_runner.crew import Crew
from gpu_runner.greeting import greet
from gpu_runner.heartbeat import Every, beat
from gpu_runner.identity import proof, sts_endpoint
from gpu_runner.imds import Imds
from gpu_runner.interruption import POLL_S, watch_once
from gpu_runner.logs import LogShipper, log_to, shipping_times
from gpu_runner.loop import Bench, OneAfterAnother, serve
from gpu_runner.solving import Solver
from gpu_runner.transfer import Transfer, hurried_pool
from gpu_runner.work import Workshop

log = logging.getLogger(__name__)

LAUNCH_TAG = "arcspot:launch"

Clock = Callable[[], float]
Sleep = Callable[[float], object]


def run(env: Mapping[str, str], *, now: Clock, sleep: Sleep) -> int:
    """The whole life of a runner: prepare, hello, serve, good-bye. Returns the exit code.

    SIGTERM is watched from the start: before `hello` it ends the process, since nothing
    is in hand yet; afterwards it ends the service like a spot notice.
    """
    imds = Imds.from_env(env)
    maker = Maker(
        launch_id=imds.tag(LAUNCH_TAG),
        instance_id=imds.instance_id(),
        device="none",
        gpu=host.gpu_name(),
        torch=host.torch_version(),
        runner_version=RUNNER_VERSION,
        solver_version="none",
    )
    log_to(sys.stdout, maker.launch_id)
    log.info("runner %s on %s", RUNNER_VERSION, maker.instance_id)
    solver, device, version = load_solver()
    maker = Maker(maker.launch_id, maker.instance_id, device, maker.gpu, maker.torch, RUNNER_VERSION, version)

    api = connect(env, maker.launch_id, now=now, sleep=sleep)
    try:
        terms = greet(
            api,
            instance_id=maker.instance_id,
            prove=prover(env, maker.launch_id),
            host=describe(maker),
            now=now,
            sleep=sleep,
        )
    except ArcspotError as refusal:
        log.error("no service: %s: %s", type(refusal).__name__, refusal)
        return 1
    log.info("serving for at most %.0f s", terms.deadline_in_s)

    board = Board(deadline_at=now() + terms.deadline_in_s)
    give_way_to_signals(board, api)
    scratch = Path(env["ARCSPOT_WORK"])
    transfer = Transfer(sleep=sleep)
    # One try: the next minute brings another, and the last one must not delay the good-bye.
    shipper = LogShipper(
        api,
        Transfer(sleep=sleep, pool=hurried_pool(), tries=1),
        Path(env.get("ARCSPOT_LOG") or scratch / "runner.log"),
        scratch,
    )
    checkpoints = Checkpoints(api, Transfer(sleep=sleep, pool=hurried_pool(), tries=2), scratch)
    if solver is None:
        shipper.ship()
        return give_up(api)

    many = min(terms.parallel, at_once(env, device))
    crew = Crew(fresh_solver, size=many, launch_id=maker.launch_id) if many > 1 else None
    hands: Executor = ThreadPoolExecutor(many, thread_name_prefix="job") if crew else OneAfterAnother()
    if crew is not None:
        log.info("%d jobs at once", many)
        crew.start()
    work = Workshop(
        api=api,
        transfer=transfer,
        solve=crew or solver,
        maker=maker,
        models=Path(__file__).parent / "models",
        scratch=scratch,
        now=now,
        checkpoints=checkpoints,
    )
    beside = [
        Every(terms.heartbeat_s, lambda: beat_once(api, board, now), name="heartbeat"),
        Every(POLL_S, lambda: watch(imds, board, api, now), name="interruption"),
        Every(shipping_times(), shipper.ship, name="log-shipper"),
    ]
    for thread in beside:
        thread.start()
    try:
        bench = Bench(
            api, work, board, terms, now, sleep=board.wake.wait, at_once=many, hands=hands, keeper=checkpoints
        )
        why, _ = serve(bench, before_bye=shipper.ship)
    finally:
        if crew is not None:
            crew.close()
        for thread in beside:
            thread.stop()
    return 0 if why in ("idle", "deadline", "interrupted") else 1


def load_solver() -> tuple[Solver | None, str, str]:
    """`(solver, device, version)`; a machine on which torch fails has no solver, and says so."""
    try:
        device, why = host.pick_device()
        log.info("device: %s, %s", device, why)
        return solving.torch_solver(device=device), device, solving.solver_version()
    except Exception:
        log.exception("the solver cannot run here")
        return None, "none", "none"


def fresh_solver() -> Solver:
    """The solver in a process of its own, which has to set torch up as the runner did."""
    device, _ = host.pick_device()
    return solving.torch_solver(device=device)


def at_once(env: Mapping[str, str], device: str) -> int:
    """How many jobs to do at the same time: ARCSPOT_AT_ONCE where it is set, else what the machine can take.

    Raises ValueError where the variable is no whole number above 0.
    """
    told = env.get("ARCSPOT_AT_ONCE", "")
    if told:
        if not told.isdecimal() or int(told) < 1:
            raise ValueError(f"ARCSPOT_AT_ONCE: expected a whole number above 0, found {told!r}")
        return int(told)
    cores = len(os.sched_getaffinity(0))
    return host.at_once(device, cores=cores, free_bytes=host.free_gpu_bytes() if device == "cuda" else 0)


def describe(maker: Maker) -> Json:
    """What `hello` tells about the machine."""
    return {
        "device": maker.device,
        "gpu": maker.gpu,
        "torch": maker.torch,
        "runner_version": maker.runner_version,
        "solver_version": maker.solver_version,
    }


def connect(env: Mapping[str, str], launch_id: str, *, now: Clock, sleep: Sleep) -> RunnerApi:
    """The client of runner_api, with botocore's own retries off: ours are the only ones."""
    config = Config(
        retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=35, max_pool_connections=4
    )
    client = boto3.client("lambda", config=config)
    return RunnerApi(lambda_invoke(client, env["ARCSPOT_RUNNER_API"]), launch_id, now, sleep, random.Random())


def prover(env: Mapping[str, str], launch_id: str) -> Callable[[], Json]:
    """Makes a fresh proof of identity each time it is called."""
    session = boto3.Session()
    region = env["AWS_DEFAULT_REGION"]

    def prove() -> Json:
        credentials = session.get_credentials()
        if credentials is None:
            raise ApiSilent("the instance has no credentials to prove itself with")
        frozen = credentials.get_frozen_credentials()
        return proof(launch_id, credentials=frozen, region=region, endpoint=sts_endpoint(region, env))

    return prove


def give_way_to_signals(board: Board, api: RunnerApi) -> None:
    """SIGTERM and SIGINT end the service like a spot notice.

    The board is told from a thread of its own: a handler runs inside whatever the main
    thread does, perhaps while that holds the very lock it would need.
    """

    def interrupted() -> None:
        log.warning("told to stop by a signal")
        api.hurry()
        board.interrupt()

    def handler(*_: object) -> None:
        threading.Thread(target=interrupted, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def beat_once(api: RunnerApi, board: Board, now: Clock) -> None:
    """One heartbeat with a fresh look at the GPU."""
    beat(api, board, gpu_utilisation=host.gpu_utilisation(), now=now)


def watch(imds: Imds, board: Board, api: RunnerApi, now: Clock) -> None:
    """One look for a spot notice; after one, no call may take long."""
    notice = watch_once(imds, board, now=now)
    if notice is not None and notice.kind == "action":
        api.hurry()


def give_up(api: RunnerApi) -> int:
    """Leave a launch that this machine cannot serve."""
    api.hurry()
    try:
        api.bye(why="gave_up")
    except ArcspotError as fault:
        log.warning("good-bye was not taken: %s", fault)
    return 1
