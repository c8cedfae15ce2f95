"""What the emulator must do so that every request to it can be signed, and the gate that asks for it.

Patches as in `patches`, apart because these need the stack's key.
"""

from __future__ import annotations

import functools
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from arcspot_cli.local import proof, signing
from arcspot_cli.local.emulator_gate import Gate, Route
from arcspot_cli.local.keys import ALPHABET, AccessKey
from arcspot_cli.local.patches import PatchRefused, find, replace

LINK_SECONDS = 600
"""How long AWS's own links to code are good for (Lambda API reference, LayerVersionContentOutput)."""
_ROLE = re.compile(r"arn:[\w-]+:iam::(\d{12}):role/(?:.*/)?([^/]+)")


def guard(port: int, key: AccessKey) -> None:
    """Put the gate before the emulator, and signatures wherever it hands out keys or links."""
    sign_functions()
    sign_links(key)
    app = find("app", "app")
    if "app" not in find("app", "main").__code__.co_names:
        raise PatchRefused("MiniStack's main no longer serves ministack.app.app: the gate would not be asked")
    prover = proof.Prover(proof.EMULATOR, key.secret_access_key)
    replace("app", "app", Gate(app, port, known_keys(key), route_by_signature(), prover))


def route_by_signature() -> Route:
    """AWS: a request is for the service whose host it is sent to, and its signature must say the same.

    MiniStack: a presigned request is for whatever a form in its body, or its path, looks like.
    """
    detect = find("app", "detect_service")

    @functools.wraps(detect)
    def signed_for(
        method: str, path: str, headers: Mapping[str, str], query: Mapping[str, Sequence[str]]
    ) -> str:
        credential = query.get("X-Amz-Credential")
        if credential and not headers.get("authorization"):
            told = credential if isinstance(credential, str) else credential[0]
            headers = {**headers, "authorization": f"{signing.ALGORITHM} Credential={told}"}
        return str(detect(method, path, headers, query))

    replace("app", "detect_service", signed_for)
    return signed_for


def listen_at(at: socket.socket) -> None:
    """AWS: listens where it is.

    MiniStack: opens a port by its number, which anybody may have taken by then. This one is ours already.
    """
    from hypercorn.config import Config, Sockets

    if not hasattr(Config, "create_sockets"):
        raise PatchRefused("hypercorn has no Config.create_sockets, which a patch of ours replaces")
    Config.create_sockets = lambda self: Sockets([], [at], [])  # type: ignore[method-assign]


def known_keys(key: AccessKey) -> signing.Lookup:
    """The stack's own key, and those that the emulator's STS handed out."""
    sessions: Mapping[str, Mapping[str, Any]] = find("services.sts", "_sessions")
    own = signing.Secret(key.secret_access_key)

    def lookup(access_key_id: str) -> signing.Secret | None:
        if access_key_id == key.access_key_id:
            return own
        session = sessions.get(access_key_id) or {}
        secret, token = session.get("SecretAccessKey"), session.get("SessionToken")
        if not secret or not token:
            return None
        return signing.Secret(secret, token, session.get("Expiration"))

    return lookup


def sign_functions() -> None:
    """AWS: a function has keys of its own, a session of its role.

    MiniStack: gives every function the account's number as a key.
    """
    register = find("services.sts", "register_session")
    credentials = find("core.lambda_runtime", "execution_credentials")

    @functools.wraps(credentials)
    def execution_credentials(config: Mapping[str, Any]) -> dict[str, str]:
        name, role = str(config.get("FunctionName")), _ROLE.fullmatch(str(config.get("Role")))
        if role is None:
            raise ValueError(f"function {name}: expected the ARN of a role, found {config.get('Role')!r}")
        account, role_name = role.groups()
        access_key_id = "ASIA" + "".join(secrets.choice(ALPHABET) for _ in range(16))
        secret, token = secrets.token_urlsafe(30), secrets.token_urlsafe(120)
        session = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}",
            "UserId": f"{role_name}:{name}",
            "AccountId": account,
            "PrincipalType": "AssumedRole",
            "SecretAccessKey": secret,
            "SessionToken": token,
        }
        register(access_key_id, session)
        return {
            "AWS_ACCESS_KEY_ID": access_key_id,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_SESSION_TOKEN": token,
        }

    for user in ("core.lambda_runtime", "services.lambda_svc"):
        replace(user, "execution_credentials", execution_credentials)


def sign_links(key: AccessKey) -> None:
    """AWS: the link to a layer's or a function's code is presigned, for ten minutes.

    MiniStack: anybody may fetch it.
    """
    get_region = find("core.responses", "get_region")
    for name in ("_layer_content_url", "_presigned_code_url"):
        replace("services.lambda_svc", name, _signed_link(find("services.lambda_svc", name), key, get_region))


def _signed_link(link: Any, key: AccessKey, get_region: Any) -> Any:
    @functools.wraps(link)
    def signed(*args: Any, **named: Any) -> str:
        address = str(link(*args, **named)).partition("?")[0]
        return signing.presigned(key, address, seconds=LINK_SECONDS, region=get_region())

    return signed
