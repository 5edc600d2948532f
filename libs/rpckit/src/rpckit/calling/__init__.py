"""Client side: channels, service config, and the errors of upstream services."""
