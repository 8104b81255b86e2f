-- 0008: what an account's page of the addy.io API asks for, security keys, and tokens that are over.
-- Locks: the new indexes lock alias and token against writing while they are built, which takes about a second for a
-- million aliases; mail waits and is tried again. The previous release still runs with it.

-- How many aliases an account has of which sort is counted in the index alone: none of its columns changes with mail.
create index alias_account_state on alias (account_id, state, pinned, reserved_as);

create table alias_sum (
    account_id bigint not null,
    forwarded  bigint not null,
    blocked    bigint not null,
    replied    bigint not null,
    sent       bigint not null,
    summed_at  timestamptz not null default now(),
    constraint alias_sum_pkey primary key (account_id),
    constraint alias_sum_account_fk foreign key (account_id) references account on delete cascade
);

create table security_key (
    id         bigint generated always as identity primary key,
    account_id bigint not null,
    name       text not null,
    enabled    boolean not null default true,
    created_at timestamptz not null default now(),
    constraint security_key_account_fk foreign key (account_id) references account on delete cascade,
    constraint security_key_name_length check (char_length(name) between 1 and 50)
);
create index security_key_account_id on security_key (account_id);

create index token_ended on token (least(revoked_at, expires_at)) where kind = 'addy';
