-- 0004: whether an id that a reply refers to is one of the owner's own messages is asked of the whole account.
-- Locks: the new index locks message_id against writing while it is built; replies wait and are tried again. The
-- previous release still runs with it.

create index message_id_original on message_id (account_id, original_id);
