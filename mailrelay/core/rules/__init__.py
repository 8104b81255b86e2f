"""The owner's rules: what they test and what they do to a message (spec section 5). Pure, so that they can be tried."""
