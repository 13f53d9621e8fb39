"""`python -m benchmarks.llm_client_server SECONDS SLOTS`: an endpoint that takes so long for every answer and works on so many at once.

As little HTTP as will do, so that the processor is the clients'. Prints its address; ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys

FILMS = 20


def answer() -> bytes:
    """The one chat completion that it gives: a list of the films of `llm_client_run`."""
    content = "\n".join(f"{place}. Film number {place} ({1980 + place})" for place in range(1, FILMS + 1))
    usage = {"prompt_tokens": 1200, "completion_tokens": 200, "total_tokens": 1400}
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    ).encode()


async def serve(seconds: float, slots: int) -> None:
    """Answer until standard input ends."""
    free = asyncio.Semaphore(slots)
    body = answer()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
    reply = head + str(len(body)).encode() + b"\r\n\r\n" + body

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in request.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                await reader.readexactly(length)
                if length:  # a list of models costs nothing
                    async with free:
                        await asyncio.sleep(seconds)
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
