"""The Open Inference Protocol over gRPC, from the same batches as over HTTP. Needs the extra `grpc`."""
