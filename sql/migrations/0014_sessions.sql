-- 0014: users of the dashboard are found among all accounts, and a sign-in has one session that can be renewed.
-- Locks: the new indexes lock account and session against writing while they are built, which takes about a second for
-- a million accounts; mail waits and is tried again. The previous release still runs with it.
create index account_user on account (id) where name is not null and state <> 'deleting';
create index account_admin on account (id) where is_admin;
create unique index session_active_unique on session (family) where status = 'active';
