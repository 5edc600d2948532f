"""The gRPC contract: servicers, validation, messages and batching."""
