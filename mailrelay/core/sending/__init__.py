"""Replies and sends: mail of an alias' owner to a contact, which must show nothing but the alias (spec section 4)."""
