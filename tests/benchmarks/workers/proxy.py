"""A network with latency: `proxy.py UPSTREAM_PORT MILLISECONDS` prints the port it listens on.

Half the latency is added to every chunk in each direction, and to a new connection both
halves once; chunks follow one another without waiting, so bandwidth is not limited. Ends
with its standard input, and says how many bytes went to the client.
"""

import asyncio
import os
import sys
import threading

DELIVERED = 0


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, counted: bool
) -> None:
    """One direction of a connection: every chunk leaves `delay` seconds after it came."""
    global DELIVERED
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

    async def receive() -> None:
        while True:
            data = await reader.read(1 << 18)
            await chunks.put((loop.time() + delay, data))
            if not data:
                return

    receiving = asyncio.create_task(receive())
    try:
        while True:
            due, data = await chunks.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
            DELIVERED += len(data) if counted else 0
    except ConnectionError:
        pass
    finally:
        receiving.cancel()
        writer.close()


async def serve(upstream: int, delay: float) -> None:
    async def connect(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)
        server, request = await asyncio.open_connection("127.0.0.1", upstream)
        await asyncio.gather(
            carry(client, request, delay, False), carry(server, answer, delay, True)
        )

    listening = await asyncio.start_server(connect, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    await done.wait()
    print(DELIVERED, flush=True)
    # Connections that clients keep open would only complain of the end.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 2000))
