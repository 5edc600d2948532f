"""What a process tells about itself: metrics, traces, logs."""
