"""Measures the product against a plain Postfix relay and the classic set-up, as design section 7 has it."""
