"""A server on this machine that answers as DynamoDB and S3 do when nothing is there yet and puts succeed.

It is for measuring what our side of a request costs: to encode, sign, send and read. Nothing is kept.

    python -m bench.silent_aws           # prints its port, and serves until its input ends
"""

from __future__ import annotations

import asyncio
import json
import sys

from arcspot_simulator.history import task_bytes
from gpu_runner import saying

ANSWERS = {
    "BatchGetItem": b'{"Responses":{},"UnprocessedKeys":{}}',
    "BatchWriteItem": b'{"UnprocessedItems":{}}',
}
BODY = task_bytes(7)


def answer(method: str, path: str, target: str) -> tuple[dict[str, str], bytes]:
    """Headers and body for one request; `target` is DynamoDB's operation, "" for S3."""
    if target:
        return {"Content-Type": "application/x-amz-json-1.0"}, ANSWERS.get(target.rpartition(".")[2], b"{}")
    if method == "GET":
        # Each file is a task of its own.
        number = "".join(c for c in path if c.isdecimal())[-6:] or "0"
        return {"ETag": f'"{number}"', "x-amz-version-id": "v1"}, task_bytes(int(number))
    return {"ETag": '"0"'}, b""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: requests one after the other until the other side closes it."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
            }
            await reader.readexactly(int(headers.get("content-length", "0")))
            more, body = answer(method, path, headers.get("x-amz-target", ""))
            told = {"Content-Length": str(len(body)), "x-amzn-RequestId": "r", **more}
            lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
            writer.write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    saying.out(json.dumps({"port": server.sockets[0].getsockname()[1]}))
    async with server:
        # Whoever started this holds its input open; when that ends, so does this.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
