-- 0015: who writes to a switched-off alias of somebody without a sign-up hears it, instead of nothing.
-- Locks: rows of those accounts. The previous release still runs with it.
update account set block_behaviour = 'reject'
where implicit_mailbox is not null and name is null and block_behaviour = 'discard';
