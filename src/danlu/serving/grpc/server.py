"""A worker's gRPC server: its address, limits and TLS. It listens beside the HTTP server, in the same event loop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.errors import ArgumentError
from danlu.serving.grpc.proto import inference_service
from danlu.serving.http.app import Site
from danlu.serving.limits import Limits


@dataclass(frozen=True)
class Address:
    """Say where gRPC is spoken.

    Attributes:
        text: host and port, as 127.0.0.1:8001.
        certificate, private_key: files for TLS.
    """

    text: str
    certificate: Path | None = None
    private_key: Path | None = None


class GrpcServer:
    """Listen from `start` to `stop`."""

    def __init__(self, address: Address, site: Site, limits: Limits) -> None:
        self._address, self._site, self._limits = address, site, limits
        self._server: Any = None

    async def start(self) -> None:
        """Listen; other workers and their successors listen at the same address.

        Raises:
            ArgumentError: the address or the certificate cannot be used.
        """
        import grpc

        from danlu.serving.grpc.service import Inference

        limits, address = self._limits, self._address
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", limits.body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.absolute_max_metadata_size", limits.head_bytes),
            ],
            maximum_concurrent_rpcs=limits.connections,
        )
        self._server.add_generic_rpc_handlers((Inference(self._site, inference_service()).handler(),))
        try:
            if address.certificate is None or address.private_key is None:
                self._server.add_insecure_port(address.text)
            else:
                pair = address.private_key.read_bytes(), address.certificate.read_bytes()
                self._server.add_secure_port(address.text, grpc.ssl_server_credentials([pair]))
        except (RuntimeError, OSError) as error:
            raise ArgumentError(f"--grpc-port: cannot listen at {address.text}: {error}", code="DL402") from error
        await self._server.start()

    async def stop(self) -> None:
        """Take no more calls, answer those that have come, and end."""
        if self._server is not None:
            await self._server.stop(self._limits.drain_s)
