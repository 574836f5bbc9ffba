# A websocket client that says two things through a proxy: the proxy, a URL, the authority it trusts.
import asyncio, ssl, sys
import aiohttp

async def main():
    proxy, url, authority = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, proxy=proxy, ssl=context) as socket:
            for text in ("one", "two " * 20000):
                await socket.send_str(text)
                answer = await socket.receive_str(timeout=10)
                assert answer == "echo of " + text, answer
    print("the news")

asyncio.run(main())
