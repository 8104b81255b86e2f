"""Where the mail of an alias goes, as one mailbox: the Haltman dialect knows no more than that (design section 4)."""

from typing import LiteralString

# Id of the recipient that comes first: one of its own, its parent's default, its account's. `a` is the alias, `acc` its
# account.
GOTO_ID: LiteralString = """
    coalesce(
        (select ar.recipient_id from alias_recipient ar
         join recipient v on v.id = ar.recipient_id and v.verified_at is not null and not v.pending
         where ar.alias_id = a.id order by ar.created_at, ar.recipient_id limit 1),
        (select h.recipient_id from handle h where h.id = a.handle_id),
        (select u.default_recipient_id from username u where u.id = a.username_id),
        (select d.default_recipient_id from domain d where d.id = a.domain_id),
        acc.default_recipient_id)
"""
# The mailbox, folded; null if mail goes nowhere.
GOTO: LiteralString = f"""
    (select g.address_folded from recipient g
     where g.id = {GOTO_ID} and g.verified_at is not null and not g.pending)
"""
