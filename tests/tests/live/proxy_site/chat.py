# A websocket server that echoes, in the clear and inside TLS: certificate, key, addresses.
import asyncio, ssl, sys
from aiohttp import web

async def chat(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str("echo of " + message.data)
    return socket

async def main():
    certificate, key, *addresses = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    app = web.Application()
    app.router.add_get("/chat", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    for address in addresses:
        await web.TCPSite(runner, address, 80).start()
        await web.TCPSite(runner, address, 443, ssl_context=context).start()
    await asyncio.Event().wait()

asyncio.run(main())
