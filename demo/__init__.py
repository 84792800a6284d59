"""The demo world: small, of known truth, made from nothing by one command."""
