"""An HBONE peer on python h2, client or server, for hbone-truth.ts: runs a script, prints what it saw."""
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

ROLE, PORT, CERT, KEY, SCRIPT = sys.argv[1:6]


def say(text):
    print(text, flush=True)


class Peer:
    def __init__(self, sock):
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=ROLE == 'client'))
        self.stream = None
        self.open = False
        self.received = 0
        self.over = None
        self.h2.initiate_connection()
        if ROLE == 'client':
            self.stream = self.h2.get_next_available_stream_id()
            self.h2.send_headers(self.stream, [(':method', 'CONNECT'), (':authority', '127.0.0.1:8080')])
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def step(self):
        """Reads once. Whatever ended the stream is kept in `over`."""
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b''
        if not data:
            return self.finish('lost')
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()

    def take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.stream = event.stream_id
            self.h2.send_headers(self.stream, [(':status', '200')])
            self.opened()
        elif isinstance(event, h2.events.ResponseReceived):
            self.opened()
        elif isinstance(event, h2.events.DataReceived):
            self.received += len(event.data)
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            say(f'got {self.received}')
        elif isinstance(event, h2.events.StreamEnded):
            self.finish('end')
        elif isinstance(event, h2.events.StreamReset) and event.remote_reset:
            self.finish(f'reset {int(event.error_code)}')

    def opened(self):
        self.open = True
        say('open')

    def finish(self, how):
        if self.over is None or self.over == 'end':
            if self.over != how:
                say(f'saw {how}')
            self.over = how

    def send(self, count):
        while count > 0 and self.over in (None, 'end'):
            room = min(count, self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size)
            if room == 0:
                self.step()
                continue
            self.h2.send_data(self.stream, bytes(room))
            try:
                self.flush()
            except OSError:
                return self.finish('lost')
            count -= room

    def run(self, word, value):
        if word == 'send':
            self.send(value)
        elif word == 'end':
            self.h2.end_stream(self.stream)
            self.flush()
        elif word == 'read':
            while self.over is None:
                self.step()
        elif word == 'wait':
            while self.over is None and self.received == 0:
                self.step()
        elif word == 'reset':
            self.h2.reset_stream(self.stream, value)
            self.flush()
        elif word == 'close':
            self.sock.shutdown(socket.SHUT_RDWR)
            self.sock.close()
            say('closed')


def connect():
    if ROLE == 'client':
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        raw = socket.create_connection(('127.0.0.1', int(PORT)))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        listener = socket.create_server(('127.0.0.1', int(PORT)))
        say(f'listening {listener.getsockname()[1]}')
        raw, _ = listener.accept()
    context.set_alpn_protocols(['h2'])
    context.load_cert_chain(CERT, KEY)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_side=ROLE == 'server')


peer = Peer(connect())
while not peer.open:
    peer.step()
for entry in SCRIPT.split():
    name, _, number = entry.partition(':')
    peer.run(name, int(number or 0))
# Stays until it is ended, or until the other side goes.
while peer.sock.fileno() >= 0 and peer.over != 'lost':
    peer.step()
