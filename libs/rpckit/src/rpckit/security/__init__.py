"""Who may connect and who may call: TLS and bearer tokens."""
