-- 0006: limits of the HTTP APIs, counted for all processes together.
-- Locks: none on existing tables. The previous release still runs with it.

-- Fixed windows, each opened by its first request. Unlogged, as after a crash counting may begin anew.
create unlogged table request_window (
    name      text not null,               -- of the limit
    subject   text not null,               -- an account's id or a client's address
    seconds   integer not null,            -- the window's length
    opened_at timestamptz not null,
    hits      integer not null,
    constraint request_window_pkey primary key (name, subject)
) with (fillfactor = 50);
