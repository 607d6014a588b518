"""An HTTPS server that speaks HTTP/2 only, with a certificate of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.rag.sources.web.site import PUBLIC, fact


class SecureSite:
    """Answers every request with the same page.

    Attributes:
        certificate: What clients have to trust.
        names: The server name of each TLS handshake.
        asked: Authority and path of each request.
        connections: How many there were.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.certificate = folder / "certificate.pem"
        self.port = 0
        self.names: list[str | None] = []
        self.asked: list[tuple[str, str]] = []
        self.connections = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(_write_certificate(self.certificate, name))
        self.context.set_alpn_protocols(["h2"])
        self.context.sni_callback = self._note_name

    def _note_name(self, _socket: ssl.SSLObject, name: str | None, _context: object) -> None:
        self.names.append(name)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        try:
            while True:
                writer.write(connection.data_to_send())
                if not (data := await reader.read(65_536)):
                    break
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self._answer(connection, event)
        finally:
            writer.close()

    def _answer(
        self, connection: h2.connection.H2Connection, request: h2.events.RequestReceived
    ) -> None:
        headers = {str(key): str(value) for key, value in request.headers or ()}
        self.asked.append((headers[":authority"], headers[":path"]))
        found = headers[":path"] != "/robots.txt"
        stream = request.stream_id
        connection.send_headers(
            stream, [(":status", "200" if found else "404"), ("content-type", "text/html")]
        )
        connection.send_data(stream, fact("Secure").encode(), end_stream=True)


@asynccontextmanager
async def serving_securely(site: SecureSite) -> AsyncIterator[SecureSite]:
    server = await asyncio.start_server(site.serve, PUBLIC, 0, ssl=site.context)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site


def _write_certificate(path: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
