"""Every metric, and the instruments and recorders that count."""
