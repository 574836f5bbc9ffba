"""A server whose requests h11 reads; it writes a line for each, and one for what it cannot read."""

import socket
import ssl
import sys
import threading

import h11

cert, key, path, *addresses = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(cert, key)
log = open(path, "a", buffering=1)


def serve(stream):
    connection = h11.Connection(h11.SERVER)
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(stream.recv(65536))
        elif event is h11.PAUSED:
            connection.start_next_cycle()
        elif isinstance(event, h11.Request):
            log.write(f"{event.method.decode()} {event.target.decode()}\n")
        elif isinstance(event, h11.EndOfMessage):
            answer = h11.Response(status_code=200, headers=[("Content-Length", "3")])
            for part in answer, h11.Data(data=b"ok\n"), h11.EndOfMessage():
                stream.sendall(connection.send(part))
            if connection.our_state is h11.MUST_CLOSE:
                return
            connection.start_next_cycle()
        elif isinstance(event, h11.ConnectionClosed):
            return


def meet(stream):
    try:
        with context.wrap_socket(stream, server_side=True) as stream:
            serve(stream)
    except h11.RemoteProtocolError as error:
        # A body that ends early is what the origin sees of one that was refused.
        if "peer closed connection" not in str(error):
            log.write(f"malformed {error}\n")
    except OSError:
        pass


def accept(listener):
    while True:
        threading.Thread(target=meet, args=(listener.accept()[0],), daemon=True).start()


listeners = []
for address in addresses:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listeners.append(socket.create_server((address, 443), family=family))
threads = [threading.Thread(target=accept, args=(one,)) for one in listeners]
for thread in threads:
    thread.start()
