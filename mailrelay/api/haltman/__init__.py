"""The Haltman mail-forwarding API (spec/haltman-api.md), a sibling of the addy.io API over the same flows."""
