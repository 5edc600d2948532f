"""The gRPC contract on one side, plain Python on the other: servicers, validation, messages."""
