"""danlu serve [NAME=]BUNDLE ... | FOLDER"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from danlu.cli.options import Json


def serve(
    *sources: Annotated[str, Parameter(help="A bundle, a run, NAME=BUNDLE, or a folder of NAME/VERSION/ bundles.")],
    host: Annotated[str, Parameter(help="The address to listen at; only this machine by default.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="The port; 0 for a free one.")] = 0,
    grpc_port: Annotated[
        int | None, Parameter(help="A port for the Open Inference Protocol over gRPC, 0 for a free one.")
    ] = None,
    workers: Annotated[int, Parameter(help="Processes that answer; they share the models' memory.")] = 1,
    engine: Annotated[
        str,
        Parameter(
            help="What computes the network: auto measures which is fastest, once; "
            "or numpy, torch, onnxruntime or openvino."
        ),
    ] = "auto",
    text_engine: Annotated[
        str, Parameter(help="What writes the texts of language models: danlu, or vllm where it is installed.")
    ] = "danlu",
    keys: Annotated[
        Path | None, Parameter(help="A file of API keys, a line each: NAME SHA256 [REQUESTS_PER_SECOND].")
    ] = None,
    log: Annotated[
        Path | None, Parameter(help="A file that gets a line for each answered request; danlu replay reads it.")
    ] = None,
    traces: Annotated[
        str | None, Parameter(help="A collector of OpenTelemetry, which gets spans by OTLP: http://127.0.0.1:4318.")
    ] = None,
    certificate: Annotated[Path | None, Parameter(help="A certificate for TLS, in PEM.")] = None,
    private_key: Annotated[Path | None, Parameter(help="Its private key, in PEM.")] = None,
    trusted: Annotated[
        tuple[Path, ...],
        Parameter(
            help="A public key (danlu sign --new-key); bundles that no such key has signed are refused. "
            "May be repeated.",
            negative=(),
        ),
    ] = (),
    own_code: Annotated[
        bool, Parameter(help="Import the modules that bundles name, if their models are your own.", negative=())
    ] = False,
    jobs: Annotated[
        str | None,
        Parameter(
            help="A folder for files to be predicted later (POST /jobs), or "
            "postgresql://USER@HOST/DATABASE?folder=FOLDER; without it none are taken."
        ),
    ] = None,
    callback: Annotated[
        tuple[str, ...],
        Parameter(help="The beginning of URLs that may be told of a job's end. May be repeated.", negative=()),
    ] = (),
    as_json: Json = False,
) -> int:
    """Answer requests over HTTP from bundles, until SIGTERM."""
    from danlu.api.serve import run_server

    return run_server(
        sources,
        host=host,
        port=port,
        grpc_port=grpc_port,
        workers=workers,
        engine=engine,
        text_engine=text_engine,
        keys=keys,
        log=log,
        traces=traces,
        certificate=certificate,
        private_key=private_key,
        trusted=trusted,
        own_code=own_code,
        jobs=jobs,
        callbacks=callback,
        announce=_print_event if as_json else None,
    )


def _print_event(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()
