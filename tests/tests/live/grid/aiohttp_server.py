"""A server whose requests aiohttp reads; it writes a line for each, and one for what it cannot read."""

import asyncio
import logging
import ssl
import sys

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

cert, key, path, *addresses = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(cert, key)
log = open(path, "a", buffering=1)


class Malformed(logging.Handler):
    def emit(self, record):
        error = record.exc_info and record.exc_info[1]
        if isinstance(error, HttpProcessingError):
            log.write(f"malformed {error!r}\n")


async def answer(request):
    log.write(f"{request.method} {request.raw_path}\n")
    try:
        await request.read()
    except Exception:
        # A body that ends early is what the origin sees of one that was refused.
        return web.Response(status=400)
    return web.Response(text="ok\n")


async def main():
    logger = logging.getLogger("aiohttp.server")
    logger.addHandler(Malformed())
    logger.setLevel(logging.DEBUG)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for address in addresses:
        await web.TCPSite(runner, address, 443, ssl_context=context).start()
    await asyncio.Event().wait()


asyncio.run(main())
