-- 0007: whoever brings a domain here asks whether somebody's mailbox is there, which took a look at every recipient.
-- Locks: recipient against writing while the index is made. The previous release still runs with it.
create index recipient_domain on recipient (substring(address_folded from '[^@]*$')) where verified_at is not null;
