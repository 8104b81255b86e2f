-- 0017: users are not counted by this index any more.
-- Locks: a moment, in which nobody reads accounts. The previous release runs without it, and counts users more slowly.
drop index account_user;
