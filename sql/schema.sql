-- The data model of mailrelay: the whole truth for a new installation, for PostgreSQL 14 and later.
-- `mailrelay migrate` leads there by the files in migrations/; a test builds both ways and compares.
-- (The runner keeps its own table, schema_migration, which is not part of the model.)
--
-- Constraints are named, because the store turns the name into a meaning. An address is taken when one of these
-- is violated: alias_address_unique, alias_local_part_reserved, handle_local_part_unique,
-- handle_local_part_reserved, username_name_unique, username_name_used, domain_name_unique.

-- ---------------------------------------------------------------------------------------------------------------
-- Functions that triggers share
-- ---------------------------------------------------------------------------------------------------------------

-- Called by `before update of …` triggers, which list the columns that people change. Counters, last_* stamps and
-- delivery state are not in those lists, so that mail does not look like an edit. A new column joins its list.
create function touch_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end
$$;

-- Tells the caches of all processes what changed: channel `mailrelay`, payload `<prefix>:<value>`. No secrets.
-- Arguments: the prefix, and the column whose value follows it. An update that changes the value tells both.
create function notify_change() returns trigger language plpgsql as $$
begin
    if tg_op in ('UPDATE', 'DELETE') then
        perform pg_notify('mailrelay', tg_argv[0] || ':' || coalesce(to_jsonb(old) ->> tg_argv[1], ''));
    end if;
    if tg_op in ('INSERT', 'UPDATE') then      -- equal payloads within a transaction are sent once
        perform pg_notify('mailrelay', tg_argv[0] || ':' || coalesce(to_jsonb(new) ->> tg_argv[1], ''));
    end if;
    return null;
end
$$;

-- For tables whose rows must stay, argument: the constraint's name to report.
create function refuse_delete() returns trigger language plpgsql as $$
begin
    raise exception 'rows of % stay, so that an address is never given to somebody else', tg_table_name
        using errcode = 'restrict_violation', constraint = tg_argv[0], table = tg_table_name;
end
$$;

-- Text without the difference of capitals and small letters, of all scripts and whatever the database's locale. Only
-- ASCII ends in small letters: the small form of a sigma depends on what follows it, and ß has capitals of its own.
-- A server without ICU knows the capitals of its locale.
do $$
begin
    execute format(
        'create function fold_text(said text) returns text language sql immutable strict parallel safe
         return lower(upper(lower(said collate %1$I) collate %1$I) collate "C")',
        coalesce((select collname from pg_collation where collname = 'und-x-icu'), 'default'));
end
$$;

-- ---------------------------------------------------------------------------------------------------------------
-- Accounts, recipients, usernames, domains
-- ---------------------------------------------------------------------------------------------------------------

-- Owner of everything below. Aliases and handles must be forgotten or released before an account can go.
create table account (
    id                         bigint generated always as identity primary key,
    uuid                       uuid not null default gen_random_uuid(),
    name                       text,        -- what the owner signs in with; null: implicit account of a mailbox
    implicit_mailbox           text,        -- folded mailbox that this account was made for without a sign-up
    email                      text,        -- folded address of a dashboard user, for sign-in and password reset
    state                      text not null default 'active',
    state_reason               text,
    is_admin                   boolean not null default false,

    password_hash              text,        -- argon2id, PHC string; null: cannot sign in with a password
    password_changed_at        timestamptz,
    email_verified_at          timestamptz,
    last_login_at              timestamptz,
    totp_secret                bytea,       -- encrypted at rest; null: no second factor
    totp_last_step             bigint,      -- a step can be used once
    external_auth              boolean not null default false,

    default_recipient_id       bigint,      -- null: only while the account is being made
    default_username_id        bigint,

    block_behaviour            text not null default 'discard',
    forward_mode               text,        -- null: the installation's default
    messages_per_hour          integer,     -- null: the installation's default, 0: no limit
    new_aliases_per_hour       integer,     -- null: the installation's default, 0: no limit
    bandwidth_octets_per_month bigint,      -- null: the installation's default, 0: no limit
    sends_suspended_at         timestamptz, -- replies and sends await the operator's review (complaints)

    -- Settings, Appendix C of the mail specification.
    from_name                  text,
    banner_location            text not null default 'top',
    banner_link_login          boolean not null default false,
    spam_warning_behaviour     text not null default 'banner',
    dmarc_reject_action        text not null default 'reject',
    display_from_format        smallint not null default 0,
    use_reply_to               boolean not null default false,
    email_subject              text,
    list_unsubscribe_behaviour smallint not null default 5,
    store_failed_deliveries    boolean not null default true,
    failed_delivery_notification_preference smallint not null default 0, -- all, failures, quarantined, none
    encryption_failure         text not null default 'hold',
    never_plaintext            boolean not null default false,
    reply_scrub                text not null default 'quoted',
    leak_policy                text not null default 'warn',
    relay_auto_replies         boolean not null default false,
    accept_foreign_dsn         boolean not null default false,
    notify_co_recipients       boolean not null default false,
    auto_disable_bouncing_alias boolean not null default false,
    reverse_address_style      text not null default 'plain',
    compat_headers             boolean not null default false,
    save_alias_last_used       boolean not null default true,
    default_alias_domain       text,        -- null: the installation's first shared domain
    default_alias_format       text,        -- null: random_characters
    alias_separator            text not null default '.',

    created_at                 timestamptz not null default now(),
    updated_at                 timestamptz not null default now(),

    constraint account_uuid_unique unique (uuid),
    constraint account_name_unique unique (name),
    constraint account_implicit_mailbox_unique unique (implicit_mailbox),
    constraint account_email_unique unique (email),
    constraint account_name_grammar check (name collate "C" ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'),
    constraint account_implicit_mailbox_folded check (implicit_mailbox = lower(implicit_mailbox collate "C")),
    constraint account_email_folded check (email = lower(email collate "C") and octet_length(email) <= 254),
    constraint account_state_known check (state in ('active', 'suspended', 'deleting')),
    constraint account_block_behaviour_known check (block_behaviour in ('discard', 'reject', 'defer')),
    constraint account_forward_mode_known check (forward_mode in ('rewrite', 'transparent', 'auto')),
    constraint account_messages_per_hour_positive check (messages_per_hour >= 0),
    constraint account_new_aliases_per_hour_positive check (new_aliases_per_hour >= 0),
    constraint account_bandwidth_positive check (bandwidth_octets_per_month >= 0),
    constraint account_from_name_length check (char_length(from_name) <= 50),
    constraint account_banner_location_known check (banner_location in ('top', 'bottom', 'off')),
    constraint account_spam_warning_known check (spam_warning_behaviour in ('banner', 'subject', 'off')),
    constraint account_dmarc_reject_action_known check (dmarc_reject_action in ('reject', 'quarantine')),
    constraint account_display_from_format_known check (display_from_format between 0 and 7),
    constraint account_email_subject_length check (char_length(email_subject) <= 255),
    constraint account_list_unsubscribe_known check (list_unsubscribe_behaviour between 0 and 5),
    constraint account_notification_preference_known
        check (failed_delivery_notification_preference between 0 and 3),
    constraint account_encryption_failure_known check (encryption_failure in ('hold', 'stub', 'plain')),
    constraint account_reply_scrub_known check (reply_scrub in ('quoted', 'all', 'off')),
    constraint account_leak_policy_known check (leak_policy in ('warn', 'block', 'off')),
    constraint account_reverse_address_style_known check (reverse_address_style in ('plain', 'opaque')),
    constraint account_alias_separator_known check (alias_separator in ('.', '_', '-', 'random'))
);
-- Users of whom one has to be left.
create index account_admin on account (id) where is_admin;

-- A real mailbox of an account. Recipient keys in an extension count these by creation, so ids order them too.
create table recipient (
    id                     bigint generated always as identity primary key,
    uuid                   uuid not null default gen_random_uuid(),
    account_id             bigint not null,
    address                text not null,   -- as the owner wrote it; the domain folded, in A-labels
    -- Collation C folds ASCII only, whatever the database's locale: the same everywhere.
    address_folded         text not null generated always as (lower(address collate "C")) stored,
    description            text,
    verified_at            timestamptz,     -- null: not verified, gets no mail
    pending                boolean not null default false, -- hidden: waits to replace the default address
    unverified_since       timestamptz not null default now(), -- when it last became unusable; matters while it is
    can_reply_send         boolean not null default true,
    require_envelope_match boolean not null default false,

    should_encrypt         boolean not null default false,
    inline_encryption      boolean not null default false,
    protected_headers      boolean not null default false,
    remove_pgp_keys        boolean not null default true,
    remove_pgp_signatures  boolean not null default true,
    encryption_failure     text,            -- null: the account's
    never_plaintext        boolean not null default false,
    fingerprint            text,            -- upper-case hex of the primary key
    public_key             bytea,           -- one OpenPGP certificate, binary
    key_expires_at         timestamptz,
    key_checked_at         timestamptz,

    failing_since          timestamptz,     -- null: not failing
    last_success_at        timestamptz,
    hard_failures          integer not null default 0,  -- since the last success
    first_hard_failure_at  timestamptz,     -- of those

    created_at             timestamptz not null default now(),
    updated_at             timestamptz not null default now(),
    probed_at              timestamptz,     -- while failing: when it last was tried
    quarantines_tagged_at  timestamptz,     -- its host took warned mail for spam, which is kept from it since then

    constraint recipient_uuid_unique unique (uuid),
    constraint recipient_account_id_unique unique (account_id, id),   -- target of composite foreign keys
    constraint recipient_address_unique unique (account_id, address_folded),
    constraint recipient_account_fk foreign key (account_id) references account on delete cascade,
    constraint recipient_address_octets check (octet_length(address) between 3 and 254),
    constraint recipient_address_shape check (address ~ '^[^[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$'),
    constraint recipient_description_length check (char_length(description) <= 200),
    constraint recipient_one_format check (not (inline_encryption and protected_headers)),
    constraint recipient_key_complete check ((fingerprint is null) = (public_key is null)),
    constraint recipient_key_for_encryption check (not should_encrypt or public_key is not null),
    constraint recipient_fingerprint_grammar check (fingerprint ~ '^([0-9A-F]{40}|[0-9A-F]{64})$'),
    constraint recipient_encryption_failure_known check (encryption_failure in ('hold', 'stub', 'plain')),
    constraint recipient_hard_failures_positive check (hard_failures >= 0)
);
create index recipient_address_folded on recipient (address_folded);
create index recipient_failing on recipient (failing_since) where failing_since is not null;
-- whether a domain is the home of somebody's mailbox
create index recipient_domain on recipient (substring(address_folded from '[^@]*$')) where verified_at is not null;

-- Deferred, as account and recipient are made in one transaction. A default recipient cannot be deleted.
alter table account add constraint account_default_recipient_fk
    foreign key (id, default_recipient_id) references recipient (account_id, id)
    on delete no action deferrable initially deferred;

-- Gives its owner <name>.<shared domain> for every shared domain.
create table username (
    id                   bigint generated always as identity primary key,
    uuid                 uuid not null default gen_random_uuid(),
    account_id           bigint not null,
    name                 text not null,
    active               boolean not null default true,
    catch_all            boolean not null default true,
    auto_create_regex    text,             -- RE2; consulted when catch_all is off
    default_recipient_id bigint,           -- null: the account's
    can_login            boolean not null default true,
    description          text,
    from_name            text,
    forward_mode         text,             -- null: the account's
    block_behaviour      text,             -- null: the account's
    created_at           timestamptz not null default now(),
    updated_at           timestamptz not null default now(),

    constraint username_uuid_unique unique (uuid),
    constraint username_account_id_unique unique (account_id, id),
    constraint username_name_unique unique (name),
    constraint username_account_fk foreign key (account_id) references account on delete cascade,
    constraint username_default_recipient_fk foreign key (account_id, default_recipient_id)
        references recipient (account_id, id) on delete no action deferrable initially deferred,
    constraint username_name_grammar check (name collate "C" ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    constraint username_regex_length check (char_length(auto_create_regex) between 1 and 100),
    constraint username_description_length check (char_length(description) <= 200),
    constraint username_from_name_length check (char_length(from_name) <= 50),
    constraint username_forward_mode_known check (forward_mode in ('rewrite', 'transparent', 'auto')),
    constraint username_block_behaviour_known check (block_behaviour in ('discard', 'reject', 'defer'))
);

alter table account add constraint account_default_username_fk
    foreign key (id, default_username_id) references username (account_id, id)
    on delete no action deferrable initially deferred;

-- Every name that ever was a username: mail to a deleted one must not reach a later owner.
create table username_used (
    name    text not null,
    used_at timestamptz not null default now(),
    constraint username_name_used primary key (name)
);

-- An unique violation of username_name_used says: the name is or was somebody's.
create function username_claim() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' or new.name <> old.name then
        insert into username_used (name) values (new.name);
    end if;
    return null;
end
$$;
create trigger username_claim after insert or update of name on username
    for each row execute function username_claim();

-- A mail domain: shared (account_id null, the installation's) or custom (one account's).
create table domain (
    id                   bigint generated always as identity primary key,
    uuid                 uuid not null default gen_random_uuid(),
    name                 text not null,    -- A-labels, lower-case
    account_id           bigint,
    shared               boolean not null generated always as (account_id is null) stored,
    active               boolean not null default true,
    visible              boolean not null default true,   -- in the public list of shared domains
    position             integer not null default 0,      -- order of shared domains in lists
    catch_all            boolean not null default false,
    auto_create_regex    text,             -- RE2; consulted when catch_all is off
    default_recipient_id bigint,           -- null: the account's
    verified_at          timestamptz,      -- ownership; a custom domain without it gets no mail
    mx_verified_at       timestamptz,      -- MX points here
    sending_verified_at  timestamptz,      -- SPF, DKIM and DMARC are right
    ui_verified_at       timestamptz,      -- may host the web interface
    description          text,
    from_name            text,
    forward_mode         text,             -- null: the account's
    block_behaviour      text,             -- null: the account's
    created_at           timestamptz not null default now(),
    updated_at           timestamptz not null default now(),

    constraint domain_uuid_unique unique (uuid),
    constraint domain_name_unique unique (name),
    constraint domain_id_name_shared_unique unique (id, name, shared),   -- target of alias_domain_fk
    constraint domain_account_fk foreign key (account_id) references account on delete cascade,
    constraint domain_default_recipient_fk foreign key (account_id, default_recipient_id)
        references recipient (account_id, id) on delete no action deferrable initially deferred,
    constraint domain_name_grammar check (
        name collate "C" ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
        and octet_length(name) <= 253),
    constraint domain_shared_is_plain check (
        account_id is not null
        or (not catch_all and auto_create_regex is null and default_recipient_id is null and from_name is null
            and forward_mode is null and block_behaviour is null)),
    constraint domain_regex_length check (char_length(auto_create_regex) between 1 and 100),
    constraint domain_description_length check (char_length(description) <= 200),
    constraint domain_from_name_length check (char_length(from_name) <= 50),
    constraint domain_forward_mode_known check (forward_mode in ('rewrite', 'transparent', 'auto')),
    constraint domain_block_behaviour_known check (block_behaviour in ('discard', 'reject', 'defer'))
);
create index domain_account_id on domain (account_id);

-- ---------------------------------------------------------------------------------------------------------------
-- Aliases and handles
-- ---------------------------------------------------------------------------------------------------------------

-- One holder per local part over all shared domains: aliases (any number of domains, any account) or one handle.
-- Rows come from the triggers of alias and handle and stay for ever. Two inserts that race meet at the primary
-- key: the second waits, finds the other holder, and its foreign key (…_local_part_reserved) refuses it.
create table shared_local_part (
    local_part text not null,
    holder     text not null,
    constraint shared_local_part_pkey primary key (local_part),
    constraint shared_local_part_holder_unique unique (local_part, holder),
    constraint shared_local_part_holder_known check (holder in ('alias', 'handle'))
);

-- A local part that one owner has on all shared domains. Never deleted, only released; the name is never free again.
create table handle (
    id              bigint generated always as identity primary key,
    uuid            uuid not null default gen_random_uuid(),
    account_id      bigint,                -- null: released
    local_part      text not null,
    holder          text not null generated always as ('handle') stored,
    recipient_id    bigint,                -- default of its aliases; null: the account's
    state           text not null default 'active',
    released_at     timestamptz,
    description     text,
    from_name       text,
    forward_mode    text,                  -- null: auto, as handles are plain forwards
    block_behaviour text,                  -- null: the account's
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),

    constraint handle_uuid_unique unique (uuid),
    constraint handle_local_part_unique unique (local_part),
    constraint handle_id_local_part_unique unique (id, local_part),   -- target of alias_handle_fk
    constraint handle_local_part_reserved foreign key (local_part, holder)
        references shared_local_part (local_part, holder) on delete restrict,
    constraint handle_account_fk foreign key (account_id) references account on delete restrict,
    constraint handle_recipient_fk foreign key (account_id, recipient_id)
        references recipient (account_id, id) on delete no action deferrable initially deferred,
    -- RFC 5322 section 3.2.3, dot-atom without `+` (that begins an extension) and without capitals
    constraint handle_local_part_grammar check (
        local_part collate "C"
        ~ '^[a-z0-9!#$%&''*/=?^_`{|}~-]+(\.[a-z0-9!#$%&''*/=?^_`{|}~-]+)*$'),
    -- RFC 5321 section 4.5.3.1.1
    constraint handle_local_part_octets check (octet_length(local_part) between 1 and 64),
    -- return paths and opaque reverse addresses
    constraint handle_local_part_free check (local_part !~ '^(b-[a-z2-7]{34}|r-[a-z2-7]{16})$'),
    constraint handle_state_known check (state in ('active', 'inactive', 'released')),
    constraint handle_released check (
        (state = 'released') = (account_id is null) and (state = 'released') = (released_at is not null)
        and (state <> 'released' or recipient_id is null)),
    constraint handle_description_length check (char_length(description) <= 200),
    constraint handle_from_name_length check (char_length(from_name) <= 50),
    constraint handle_forward_mode_known check (forward_mode in ('rewrite', 'transparent', 'auto')),
    constraint handle_block_behaviour_known check (block_behaviour in ('discard', 'reject', 'defer'))
);
create index handle_account_id on handle (account_id);

-- Domains on which a handle takes no mail. A rule outlives the removal of its domain, and holds again when it is back.
create table handle_domain_off (
    handle_id   bigint not null,
    domain      text not null,             -- need not be one of ours
    active      boolean not null default true,   -- false: it takes mail there again
    modified_at timestamptz not null default now(),
    constraint handle_domain_off_pkey primary key (handle_id, domain),
    constraint handle_domain_off_handle_fk foreign key (handle_id) references handle on delete cascade,
    constraint handle_domain_off_domain_grammar check (
        domain collate "C" ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
        and octet_length(domain) <= 253)
);

create function handle_reserve() returns trigger language plpgsql as $$
begin
    insert into shared_local_part (local_part, holder) values (new.local_part, 'handle') on conflict do nothing;
    return new;
end
$$;
create trigger handle_reserve before insert or update of local_part on handle
    for each row execute function handle_reserve();
create trigger handle_kept before delete on handle
    for each row execute function refuse_delete('handle_kept');

-- An address people write to. On a shared domain its row stays for ever, so that it never becomes somebody else's.
-- Parent: a username, a custom domain (by domain_id), a handle, or none (shared domain).
-- Writers need not set domain_id (found by name) nor reserved_as (set by trigger).
create table alias (
    id                       bigint generated always as identity primary key,
    uuid                     uuid not null default gen_random_uuid(),
    account_id               bigint,       -- null: forgotten
    local_part               text not null,
    domain                   text not null, -- all that follows the @
    domain_id                bigint,       -- null: below a username, or the domain was removed
    username_id              bigint,
    handle_id                bigint,
    reserved_as              text,         -- holder of its local part; null: not on a shared domain
    shared                   boolean not null generated always as (reserved_as is not null) stored,
    state                    text not null default 'active',
    deleted_at               timestamptz,
    extension                text,         -- of the message or request that made it, case kept
    description              text,
    from_name                text,
    forward_mode             text,         -- null: the parent's, the account's, the installation's
    block_behaviour          text,         -- null: the parent's, the account's
    reply_via_alias          boolean not null default false,
    attached_recipients_only boolean not null default false,
    pinned                   boolean not null default false,
    expires_at               timestamptz,  -- null: never
    max_forwards             bigint,       -- null: no limit
    sender_allow_list        text[],       -- domains and addresses; null: everybody
    emails_forwarded         bigint not null default 0,
    emails_blocked           bigint not null default 0,
    emails_replied           bigint not null default 0,
    emails_sent              bigint not null default 0,
    last_forwarded           timestamptz,
    last_blocked             timestamptz,
    last_replied             timestamptz,
    last_sent                timestamptz,
    created_at               timestamptz not null default now(),
    updated_at               timestamptz not null default now(),

    constraint alias_uuid_unique unique (uuid),
    constraint alias_address_unique unique (local_part, domain),
    constraint alias_account_id_unique unique (account_id, id),   -- lists of an account; composite foreign keys
    constraint alias_account_fk foreign key (account_id) references account on delete restrict,
    -- A custom domain cannot become shared, nor the reverse, while it has aliases.
    constraint alias_domain_fk foreign key (domain_id, domain, shared)
        references domain (id, name, shared) on delete restrict,
    constraint alias_username_fk foreign key (account_id, username_id)
        references username (account_id, id) on delete restrict,
    constraint alias_handle_fk foreign key (handle_id, local_part)
        references handle (id, local_part) on delete restrict,
    constraint alias_local_part_reserved foreign key (local_part, reserved_as)
        references shared_local_part (local_part, holder) on delete restrict,
    -- RFC 5322 section 3.2.3, dot-atom without `+` (that begins an extension) and without capitals
    constraint alias_local_part_grammar check (
        local_part collate "C"
        ~ '^[a-z0-9!#$%&''*/=?^_`{|}~-]+(\.[a-z0-9!#$%&''*/=?^_`{|}~-]+)*$'),
    -- RFC 5321 section 4.5.3.1.1
    constraint alias_local_part_octets check (octet_length(local_part) between 1 and 64),
    -- return paths and opaque reverse addresses
    constraint alias_local_part_free check (local_part !~ '^(b-[a-z2-7]{34}|r-[a-z2-7]{16})$'),
    constraint alias_domain_grammar check (
        domain collate "C" ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    constraint alias_address_octets check (octet_length(local_part) + 1 + octet_length(domain) <= 254),
    constraint alias_one_parent check (username_id is null or (domain_id is null and handle_id is null)),
    constraint alias_reserved_as_known check (reserved_as in ('alias', 'handle')),
    constraint alias_reserved_by_handle check (handle_id is null or reserved_as = 'handle'),
    constraint alias_state_known check (state in ('active', 'inactive', 'deleted', 'forgotten')),
    constraint alias_deleted_at check ((state in ('deleted', 'forgotten')) = (deleted_at is not null)),
    constraint alias_owned check ((state = 'forgotten') = (account_id is null)),
    constraint alias_forgotten check (
        state <> 'forgotten'
        or (description is null and from_name is null and extension is null and sender_allow_list is null)),
    constraint alias_description_length check (char_length(description) <= 200),
    constraint alias_from_name_length check (char_length(from_name) <= 50),
    constraint alias_extension_octets check (octet_length(extension) <= 254),
    constraint alias_forward_mode_known check (forward_mode in ('rewrite', 'transparent', 'auto')),
    constraint alias_block_behaviour_known check (block_behaviour in ('discard', 'reject', 'defer')),
    constraint alias_max_forwards_positive check (max_forwards > 0),
    constraint alias_counters_positive check (
        emails_forwarded >= 0 and emails_blocked >= 0 and emails_replied >= 0 and emails_sent >= 0)
) with (fillfactor = 85);   -- room on the page for counter updates, which touch no index (HOT)
create index alias_domain_id on alias (domain_id) where domain_id is not null;
create index alias_username_id on alias (username_id) where username_id is not null;
create index alias_handle_id on alias (handle_id) where handle_id is not null;
-- aliases whose domain was removed, for when it comes back
create index alias_without_domain on alias (domain) where domain_id is null and username_id is null;
-- How many aliases an account has of which sort is counted in the index alone: none of its columns changes with mail.
create index alias_account_state on alias (account_id, state, pinned, reserved_as);
-- aliases with a local part, for bans by name and for claims of handles
create index alias_reserved on alias (local_part, reserved_as) where reserved_as is not null;

-- Finds the domain by its name and, on a shared domain, reserves the local part. A parent must be the account's own:
-- alias_domain_owned and alias_handle_owned are reported as foreign keys, though no key could express them (shared
-- domains and released handles have no owner).
create function alias_reserve() returns trigger language plpgsql as $$
declare
    owner bigint;
begin
    if new.handle_id is not null then
        select account_id into owner from handle where id = new.handle_id;
        if new.account_id <> owner then
            raise exception 'handle % belongs to another account', new.local_part
                using errcode = 'foreign_key_violation', constraint = 'alias_handle_owned', table = 'alias';
        end if;
    end if;
    if new.domain_id is null and new.username_id is null then
        select id into new.domain_id from domain where name = new.domain;
    end if;
    select account_id into owner from domain where id = new.domain_id;
    if not found then
        new.reserved_as := null;        -- no domain of ours, or below a username
    elsif owner is not null then
        new.reserved_as := null;
        if new.account_id <> owner then
            raise exception 'domain % belongs to another account', new.domain
                using errcode = 'foreign_key_violation', constraint = 'alias_domain_owned', table = 'alias';
        end if;
    elsif new.handle_id is not null then
        new.reserved_as := 'handle';
    else
        new.reserved_as := 'alias';
        insert into shared_local_part (local_part, holder) values (new.local_part, 'alias') on conflict do nothing;
    end if;
    return new;
end
$$;
create trigger alias_reserve before insert or update of local_part, domain, handle_id on alias
    for each row execute function alias_reserve();
-- An alias below a handle may go: the handle still holds the name.
create trigger alias_kept before delete on alias
    for each row when (old.reserved_as = 'alias') execute function refuse_delete('alias_kept');

-- Mail of all aliases of an account, as it was when it was last asked for: to add up a hundred thousand takes too long
-- for every time. Only of accounts with many; the others are added up each time.
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

-- What lists of aliases are searched, filtered and sorted by, the counters too: a narrow copy, in parts, so that the rows
-- of an account with many aliases lie together and a list reads all of them. The triggers alias_search_* write it, and
-- nobody else; forgotten aliases are not in it.
create table alias_search (
    account_id       bigint not null,
    id               bigint not null,      -- the alias's, and so are the others
    created_at       timestamptz not null,
    pinned           boolean not null,
    state            text not null,
    address          text collate "C" not null,
    words            text collate "C",     -- the description, folded
    updated_at       timestamptz not null,
    emails_forwarded bigint not null,
    emails_blocked   bigint not null,
    emails_replied   bigint not null,
    emails_sent      bigint not null,
    username_id      bigint,
    domain_id        bigint,
    deleted_at       timestamptz,
    last_forwarded   timestamptz,
    last_blocked     timestamptz,
    last_replied     timestamptz,
    last_sent        timestamptz,
    constraint alias_search_pkey primary key (account_id, id)
) partition by hash (account_id);
do $$
begin
    for part in 0..15 loop
        execute format(
            'create table alias_search_%s partition of alias_search for values with (modulus 16, remainder %s)
             with (fillfactor = 85)',   -- the counters touch no index (HOT)
            part, part);
    end loop;
end
$$;
create index alias_search_newest on alias_search (account_id, pinned, created_at, id);

create function alias_search_keep() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into alias_search (
            account_id, id, created_at, pinned, state, address, words, updated_at, emails_forwarded, emails_blocked,
            emails_replied, emails_sent, username_id, domain_id, deleted_at, last_forwarded, last_blocked, last_replied,
            last_sent)
        values (
            new.account_id, new.id, new.created_at, new.pinned, new.state, new.local_part || '@' || new.domain,
            fold_text(new.description), new.updated_at, new.emails_forwarded, new.emails_blocked, new.emails_replied,
            new.emails_sent, new.username_id, new.domain_id, new.deleted_at, new.last_forwarded, new.last_blocked,
            new.last_replied, new.last_sent);
    elsif tg_op = 'DELETE' or new.account_id is null then
        delete from alias_search where account_id = old.account_id and id = old.id;
    else
        update alias_search
        set account_id = new.account_id, created_at = new.created_at, pinned = new.pinned, state = new.state,
            address = new.local_part || '@' || new.domain, words = fold_text(new.description),
            updated_at = new.updated_at, username_id = new.username_id, domain_id = new.domain_id,
            deleted_at = new.deleted_at
        where account_id = old.account_id and id = old.id;
    end if;
    return null;
end
$$;
create trigger alias_search_add after insert on alias
    for each row when (new.account_id is not null) execute function alias_search_keep();
create trigger alias_search_remove after delete on alias
    for each row when (old.account_id is not null) execute function alias_search_keep();
-- The columns that alias_touch names, as it changes updated_at, and the times.
create trigger alias_search_keep after update of
    account_id, local_part, domain, domain_id, username_id, handle_id, state, deleted_at, extension, description,
    from_name, forward_mode, block_behaviour, reply_via_alias, attached_recipients_only, pinned, expires_at,
    max_forwards, sender_allow_list, created_at, updated_at
    on alias for each row execute function alias_search_keep();

create function alias_search_count() returns trigger language plpgsql as $$
begin
    update alias_search
    set emails_forwarded = new.emails_forwarded, emails_blocked = new.emails_blocked,
        emails_replied = new.emails_replied, emails_sent = new.emails_sent, last_forwarded = new.last_forwarded,
        last_blocked = new.last_blocked, last_replied = new.last_replied, last_sent = new.last_sent
    where account_id = old.account_id and id = old.id;     -- it comes before alias_search_keep
    return null;
end
$$;
create trigger alias_search_count after update of
    emails_forwarded, emails_blocked, emails_replied, emails_sent, last_forwarded, last_blocked, last_replied, last_sent
    on alias for each row execute function alias_search_count();

-- Recipients attached to an alias, in order of attachment. None: the parent's default, then the account's.
-- Writers need not set account_id, which is here for the foreign keys: both belong to one account.
create table alias_recipient (
    alias_id     bigint not null,
    recipient_id bigint not null,
    account_id   bigint not null,
    created_at   timestamptz not null default now(),
    constraint alias_recipient_pkey primary key (alias_id, recipient_id),
    constraint alias_recipient_alias_fk foreign key (account_id, alias_id)
        references alias (account_id, id) on delete cascade,
    constraint alias_recipient_recipient_fk foreign key (account_id, recipient_id)
        references recipient (account_id, id) on delete cascade
);
create index alias_recipient_recipient_id on alias_recipient (recipient_id);

create function alias_recipient_account() returns trigger language plpgsql as $$
begin
    if new.account_id is null then
        select account_id into new.account_id from alias where id = new.alias_id;
    end if;
    return new;
end
$$;
create trigger alias_recipient_account before insert on alias_recipient
    for each row execute function alias_recipient_account();

-- `on delete set null (column)` needs PostgreSQL 15, so this does it: a recipient that goes is nobody's default,
-- except the account's, which refuses.
create function recipient_leave() returns trigger language plpgsql as $$
begin
    update username set default_recipient_id = null
        where account_id = old.account_id and default_recipient_id = old.id;
    update domain set default_recipient_id = null
        where account_id = old.account_id and default_recipient_id = old.id;
    update handle set recipient_id = null
        where account_id = old.account_id and recipient_id = old.id;
    return old;
end
$$;
create trigger recipient_leave before delete on recipient
    for each row execute function recipient_leave();

-- ---------------------------------------------------------------------------------------------------------------
-- Bans, block lists, rules
-- ---------------------------------------------------------------------------------------------------------------

-- Server-wide. In force: not revoked, and not expired.
create table ban (
    id             bigint generated always as identity primary key,
    uuid           uuid not null default gen_random_uuid(),
    type           text not null,
    value          text not null,          -- folded; for type ip the canonical text of network
    network        cidr,                   -- type ip only; filled from value when left out
    scope          text not null default 'both',
    reason         text,                   -- shown to the banned
    expires_at     timestamptz,            -- null: never
    revoked_at     timestamptz,
    revoked_reason text,
    hits           bigint not null default 0,
    last_hit_at    timestamptz,
    created_at     timestamptz not null default now(),
    created_by     bigint,                 -- account that did it; no foreign key: the ban outlives it
    constraint ban_uuid_unique unique (uuid),
    constraint ban_type_known check (type in ('email', 'domain', 'ip', 'name')),
    constraint ban_scope_known check (scope in ('sender', 'destination', 'both')),
    constraint ban_value_folded check (value = lower(value collate "C")),
    constraint ban_value_octets check (octet_length(value) between 1 and 254),
    constraint ban_network_for_ip check ((type = 'ip') = (network is not null)),
    -- one spelling per address: IPv4-mapped IPv6 is written as IPv4
    constraint ban_network_not_mapped check (not network <<= '::ffff:0:0/96'),
    constraint ban_reason_length check (char_length(reason) <= 255),
    constraint ban_revoked_reason_length check (char_length(revoked_reason) <= 255)
);
create unique index ban_in_force_unique on ban (type, value) where revoked_at is null;
create index ban_network on ban using gist (network inet_ops) where network is not null;

create function ban_network() returns trigger language plpgsql as $$
begin
    if new.type = 'ip' then
        -- of the two that should agree the changed one counts
        if new.network is null or (tg_op = 'UPDATE' and new.network = old.network) then
            new.network := new.value::cidr;
        end if;
        new.value := case when masklen(new.network) = case family(new.network) when 4 then 32 else 128 end
                          then host(new.network) else new.network::text end;
    end if;
    return new;
end
$$;
create trigger ban_network before insert or update of type, value, network on ban
    for each row execute function ban_network();

-- An account's own block list; alias_id narrows an entry to one alias.
create table blocked_sender (
    id           bigint generated always as identity primary key,
    uuid         uuid not null default gen_random_uuid(),
    account_id   bigint not null,
    alias_id     bigint,                   -- null: all aliases of the account
    type         text not null,
    value        text not null,
    blocked      bigint not null default 0,
    last_blocked timestamptz,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint blocked_sender_uuid_unique unique (uuid),
    constraint blocked_sender_account_fk foreign key (account_id) references account on delete cascade,
    constraint blocked_sender_alias_fk foreign key (account_id, alias_id)
        references alias (account_id, id) on delete cascade,
    constraint blocked_sender_type_known check (type in ('email', 'domain')),
    constraint blocked_sender_value_folded check (value = lower(value collate "C")),
    constraint blocked_sender_value_octets check (octet_length(value) between 1 and 253)
) with (fillfactor = 90);
-- coalesce: null is distinct from null, and `nulls not distinct` needs PostgreSQL 15
create unique index blocked_sender_entry_unique on blocked_sender (account_id, value, type, coalesce(alias_id, 0));
create index blocked_sender_alias_id on blocked_sender (alias_id) where alias_id is not null;

-- Evaluated by (position, created_at, id). The shapes of conditions and actions are the addy.io API's.
create table rule (
    id           bigint generated always as identity primary key,
    uuid         uuid not null default gen_random_uuid(),
    account_id   bigint not null,
    name         text not null,
    position     integer not null default 0,
    conditions   jsonb not null,
    actions      jsonb not null,
    operator     text not null default 'AND',
    forwards     boolean not null default false,
    replies      boolean not null default false,
    sends        boolean not null default false,
    active       boolean not null default true,
    applied      bigint not null default 0,
    last_applied timestamptz,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint rule_uuid_unique unique (uuid),
    constraint rule_account_fk foreign key (account_id) references account on delete cascade,
    constraint rule_name_length check (char_length(name) between 1 and 50),
    constraint rule_operator_known check (operator in ('AND', 'OR')),
    constraint rule_conditions_list check (
        case when jsonb_typeof(conditions) = 'array' then jsonb_array_length(conditions) between 1 and 5 else false end),
    constraint rule_actions_list check (
        case when jsonb_typeof(actions) = 'array' then jsonb_array_length(actions) between 1 and 5 else false end)
) with (fillfactor = 90);
create index rule_account_id on rule (account_id);

-- ---------------------------------------------------------------------------------------------------------------
-- Mail on its way. These tables cost CPU for every message: few indexes, no foreign keys.
-- ---------------------------------------------------------------------------------------------------------------

-- One copy that we injected, found again by its return path. Written before injection. Kept 14 days.
-- No foreign keys: a bounce must be recognised after its alias or recipient is gone.
create table outbound (
    id                bigint primary key,  -- random 64 bits, the signed reading of those in the return path
    account_id        bigint,
    alias_id          bigint,
    recipient_id      bigint,
    destination       text not null,
    contact           text,                -- the correspondent of a reply or send
    email_type        text not null,
    mode              text not null,
    encrypted         boolean not null default false,
    ingress_queue_id  text not null,
    outbound_queue_id text,                -- null: not accepted by Postfix yet
    created_at        timestamptz not null default now(),
    bounced_at        timestamptz,
    bounce_status     text,
    bounce_text       text,
    bounce_count      integer not null default 0,   -- reports received, repeated ones included
    sent_at           timestamptz,         -- its destination took it, as the mail log tells
    remote            text,                -- what its destination, or Postfix about it, last said in the mail log
    notice            text,                -- code of a notification
    constraint outbound_email_type_known check (email_type in ('F', 'R', 'S', 'N')),
    constraint outbound_mode_known check (mode in ('rewrite', 'transparent')),
    constraint outbound_bounce_count_positive check (bounce_count >= 0)
) with (fillfactor = 85);
create index outbound_created_at on outbound (created_at);

-- What became of every recipient: a refusal at RCPT (`refused`, never accepted), or one row per copy of an accepted
-- recipient, or one row without a copy. accepted = delivered + failed + discarded + held + queued.
-- ledger_once is the idempotency record: whoever inserts the row makes the copy, a repeated delivery finds it.
-- No foreign keys: this history outlives aliases, recipients and accounts. Retention walks the primary key,
-- whose order is that of time, so that `at` needs no index.
create table ledger (
    id             bigint generated always as identity primary key,
    at             timestamptz not null default now(),
    ingress_key    bytea not null,         -- truncated SHA-256 over queue id and content, or policy instance
    queue_id       text not null default '', -- of the message as it came in; empty: refused before it had one
    message_id     text,
    account_id     bigint,
    alias_id       bigint,
    rcpt           text not null,          -- as received, folded
    sender         text not null default '', -- empty: the null sender
    client_address inet,
    recipient_id   bigint not null default 0, -- 0: no copy was made for it
    outbound_id    bigint,
    outcome        text not null,
    reason         text,
    mode           text,
    size_octets    bigint not null default 0,
    finished_at    timestamptz,            -- null: still queued or held
    fingerprint    bigint,                 -- equal for arrivals of one message; null: refused at RCPT
    constraint ledger_once unique (ingress_key, rcpt, recipient_id),
    constraint ledger_ingress_key_octets check (octet_length(ingress_key) = 16),
    constraint ledger_message_id_octets check (octet_length(message_id) <= 998),
    constraint ledger_rcpt_octets check (octet_length(rcpt) <= 1000),   -- refused ones can be long; fits an index
    constraint ledger_outcome_known check (outcome in ('refused', 'queued', 'delivered', 'failed', 'discarded', 'held')),
    constraint ledger_reason_given check (outcome in ('queued', 'delivered') or reason is not null),
    constraint ledger_mode_known check (mode in ('rewrite', 'transparent'))
) with (fillfactor = 85);   -- the outcome is updated once, which touches no index (HOT)
create index ledger_queue_id on ledger (queue_id) where queue_id <> '';
-- for traces, and for how often a message has been at an alias
create index ledger_message_id on ledger (message_id, alias_id) where message_id is not null;
create index ledger_rcpt_at on ledger (rcpt, at);
create index ledger_outbound_id on ledger (outbound_id) where outbound_id is not null;

-- Amounts per window, taken by one `insert … on conflict do update … returning`. Sliding windows add up small ones.
-- No foreign key, for speed; account 0 is nobody's: limits by address or on requests without an account.
create table rate_window (
    account_id   bigint not null,
    kind         text not null,            -- message, new_alias, bandwidth, reply_send, http, day, …
    subject      text not null default '', -- what it is counted for: a sender's domain, a client network, a rule's key
    window_start timestamptz not null,
    amount       bigint not null default 0,
    constraint rate_window_pkey primary key (account_id, kind, subject, window_start)
) with (fillfactor = 70);
create index rate_window_start on rate_window (window_start);

-- Fixed windows, each opened by its first request. Unlogged, as after a crash counting may begin anew.
create unlogged table request_window (
    name      text not null,               -- of the limit
    subject   text not null,               -- an account's id or a client's address
    seconds   integer not null,            -- the window's length
    opened_at timestamptz not null,
    hits      integer not null,
    constraint request_window_pkey primary key (name, subject)
) with (fillfactor = 50);

-- Threading: which of our Message-IDs stands for which of the user's. Kept 400 days.
create table message_id (
    id          bigint generated always as identity primary key,
    account_id  bigint not null,
    alias_id    bigint not null,
    our_id      text not null,
    original_id text not null,
    created_at  timestamptz not null default now(),
    constraint message_id_ours_unique unique (alias_id, our_id),
    constraint message_id_alias_fk foreign key (account_id, alias_id)
        references alias (account_id, id) on delete cascade,
    constraint message_id_octets check (octet_length(our_id) <= 998 and octet_length(original_id) <= 998)
);
create index message_id_created_at on message_id (created_at);
create index message_id_original on message_id (account_id, original_id);

-- A correspondent of an alias: its opaque reverse address if one was needed, and whether sending to it is suppressed.
create table contact (
    id                 bigint generated always as identity primary key,
    uuid               uuid not null default gen_random_uuid(),
    account_id         bigint not null,
    alias_id           bigint not null,
    address            text not null,      -- local part as written, domain folded
    display_name       text,
    reverse_local_part text,               -- r- and 16 base32 characters; null: the plain form serves
    reverse_domain     text,
    public_key         bytea,
    last_sent_at       timestamptz,
    hard_failures      integer not null default 0,
    suppressed_until   timestamptz,
    suppressed_reason  text,
    created_at         timestamptz not null default now(),
    constraint contact_uuid_unique unique (uuid),
    constraint contact_address_unique unique (alias_id, address),
    constraint contact_reverse_unique unique (reverse_local_part, reverse_domain),
    constraint contact_alias_fk foreign key (account_id, alias_id)
        references alias (account_id, id) on delete cascade,
    constraint contact_reverse_complete check ((reverse_local_part is null) = (reverse_domain is null)),
    constraint contact_reverse_grammar check (reverse_local_part ~ '^r-[a-z2-7]{16}$'),
    constraint contact_address_octets check (octet_length(address) between 3 and 1000)
);
create index contact_account_id on contact (account_id, created_at);

-- Why something did not arrive, for its owner. Kept 7 days.
create table failed_delivery (
    id            bigint generated always as identity primary key,
    uuid          uuid not null default gen_random_uuid(),
    account_id    bigint not null,
    alias_id      bigint,
    recipient_id  bigint,
    outbound_id   bigint,                  -- no foreign key: those go earlier or later
    email_type    text not null,           -- F, R, S, IR or the code of a notification
    bounce_type   text,                    -- null: trouble of our own
    status        text,
    code          text,
    remote_mta    text,
    sender        bytea,                   -- encrypted at rest; `<>` for the null sender
    destination   bytea,                   -- encrypted at rest
    key_id        text,                    -- the server key that these were encrypted with
    is_stored     boolean not null default false,
    quarantined   boolean not null default false,
    resent        boolean not null default false,
    ir_dedupe_key text,                    -- SHA-256, hex; only inbound rejections and rule blocks
    attempted_at  timestamptz,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    -- The ledger's row that says `held`. No foreign key: a release removes that row, the copies have rows of their own.
    ledger_id     bigint,
    subject       bytea,                   -- encrypted at rest; null: unknown, or to stay hidden
    -- What lists can be had of. Of columns that never change.
    type          text not null generated always as (case
        when ir_dedupe_key is not null then 'inbound' when quarantined then 'inbound_quarantined'
        when email_type = 'IR' then 'inbound' else 'outbound' end) stored,
    constraint failed_delivery_uuid_unique unique (uuid),
    constraint failed_delivery_once unique (ir_dedupe_key),
    constraint failed_delivery_ledger_unique unique (ledger_id),
    constraint failed_delivery_account_fk foreign key (account_id) references account on delete cascade,
    constraint failed_delivery_alias_fk foreign key (alias_id) references alias on delete set null,
    constraint failed_delivery_recipient_fk foreign key (recipient_id) references recipient on delete set null,
    constraint failed_delivery_email_type_length check (char_length(email_type) between 1 and 8),
    constraint failed_delivery_bounce_type_known check (bounce_type in ('hard', 'soft', 'spam', 'rule')),
    constraint failed_delivery_status_length check (char_length(status) <= 10),
    constraint failed_delivery_code_length check (char_length(code) <= 500),
    constraint failed_delivery_dedupe_grammar check (ir_dedupe_key ~ '^[0-9a-f]{64}$')
);
create index failed_delivery_account_id on failed_delivery (account_id, created_at desc, id desc);
create index failed_delivery_account_type on failed_delivery (account_id, type, created_at desc, id desc);
create index failed_delivery_alias_id on failed_delivery (alias_id) where alias_id is not null;
create index failed_delivery_recipient_id on failed_delivery (recipient_id) where recipient_id is not null;
create index failed_delivery_created_at on failed_delivery (created_at);
create index failed_delivery_outbound_id on failed_delivery (outbound_id) where outbound_id is not null;

-- However a record goes, by age, by its owner or with the account: what it held is held no more.
create function failed_delivery_gone() returns trigger language plpgsql as $$
begin
    update ledger set outcome = 'discarded', finished_at = now() where id = old.ledger_id and outcome = 'held';
    return null;
end
$$;
create trigger failed_delivery_gone after delete on failed_delivery
    for each row when (old.ledger_id is not null) execute function failed_delivery_gone();

-- How many failed deliveries an account has, as lists tell their total: to count a million takes too long.
create table failed_total (
    account_id bigint not null,
    type       text not null,
    total      bigint not null,
    constraint failed_total_pkey primary key (account_id, type),
    constraint failed_total_account_fk foreign key (account_id) references account on delete cascade
) with (fillfactor = 50);   -- updated again and again, which touches no index (HOT)

-- Once per statement, at its end: so its locks come after all others, and nobody holds them for long.
create function count_failed_deliveries() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into failed_total (account_id, type, total)
        select account_id, type, count(*) from changed group by account_id, type order by account_id, type
        on conflict on constraint failed_total_pkey do update set total = failed_total.total + excluded.total;
    else
        update failed_total set total = failed_total.total - s.rows
        from (
            select t.account_id, t.type, g.rows
            from (select account_id, type, count(*) as rows from changed group by account_id, type) g
                 join failed_total t using (account_id, type)
            order by t.account_id, t.type for no key update of t
        ) s
        where failed_total.account_id = s.account_id and failed_total.type = s.type;
    end if;
    return null;
end
$$;
create trigger failed_delivery_added after insert on failed_delivery
    referencing new table as changed for each statement execute function count_failed_deliveries();
create trigger failed_delivery_removed after delete on failed_delivery
    referencing old table as changed for each statement execute function count_failed_deliveries();

-- A message kept for its owner: spooled until its copy is through, or with a failed delivery, quarantined or held.
create table stored_message (
    id                 bigint generated always as identity primary key,
    account_id         bigint not null,
    failed_delivery_id bigint,             -- null: spooled
    outbound_id        bigint,             -- of a spooled one; no foreign key
    kind               text not null,
    content            bytea not null,     -- encrypted at rest
    key_id             text not null,      -- the server key that it was encrypted with
    size_octets        bigint not null,    -- of the clear text
    partial            boolean not null default false,
    created_at         timestamptz not null default now(),
    expires_at         timestamptz not null,
    evidence           bytea,              -- encrypted at rest: value of the ingress header; null: there was none
    leased_until       timestamptz,        -- somebody is releasing it; null: nobody
    constraint stored_message_failed_delivery_unique unique (failed_delivery_id),
    constraint stored_message_account_fk foreign key (account_id) references account on delete cascade,
    constraint stored_message_failed_delivery_fk foreign key (failed_delivery_id)
        references failed_delivery on delete cascade,
    constraint stored_message_kind_known check (kind in ('spool', 'failed', 'quarantined', 'held', 'unauthorised'))
);
alter table stored_message alter column content set storage external;   -- cipher text does not compress
create index stored_message_account_id on stored_message (account_id);
create index stored_message_outbound_id on stored_message (outbound_id) where outbound_id is not null;
create index stored_message_expires_at on stored_message (expires_at);

-- Receivers that refused untouched forwards for their authentication: they get rewritten copies for a while.
create table receiver_memory (
    receiver           text primary key,   -- domain of the destination, or of its MX
    refused_at         timestamptz[] not null default '{}',   -- the last few
    rewrite_only_until timestamptz,
    updated_at         timestamptz not null default now(),
    constraint receiver_memory_folded check (receiver = lower(receiver collate "C"))
);
create index receiver_memory_updated_at on receiver_memory (updated_at);

-- A feedback loop's report about mail of ours.
create table complaint (
    id            bigint generated always as identity primary key,
    account_id    bigint not null,
    alias_id      bigint,
    outbound_id   bigint,                  -- no foreign key: kept 14 days only
    email_type    text not null,
    sender_domain text,                    -- of the mail complained about
    contact       text,                    -- of a reply or send
    feedback_type text,
    at            timestamptz not null default now(),
    constraint complaint_outbound_unique unique (outbound_id),
    constraint complaint_account_fk foreign key (account_id) references account on delete cascade,
    constraint complaint_alias_fk foreign key (alias_id) references alias on delete set null,
    constraint complaint_email_type_known check (email_type in ('F', 'R', 'S', 'N'))
);
create index complaint_account_id on complaint (account_id, at);
create index complaint_alias_id on complaint (alias_id) where alias_id is not null;

-- How often a notification of one kind went out; no foreign key, as account 0 is the operator.
create table notification_limit (
    account_id   bigint not null,
    kind         text not null,            -- code of the notification
    subject      text not null default '', -- alias, recipient or contact that it is counted for
    window_start timestamptz not null,
    sent         integer not null default 0,
    suppressed   integer not null default 0,
    constraint notification_limit_pkey primary key (account_id, kind, subject, window_start)
);
create index notification_limit_window_start on notification_limit (window_start);

-- How far the watcher has read the mail log, and the chronicle the ledger.
create table log_position (
    source          text primary key,      -- host and file, host and journal, or `ledger`
    inode           bigint,
    position_octets bigint,
    cursor          text,                  -- of the journal; the id of the ledger's last entry that was read
    updated_at      timestamptz not null default now()
);

-- Entries of the ledger that the chronicle, which reads it once, found still queued: it looks at them again.
create table ledger_open (
    ledger_id bigint primary key           -- no foreign key: what retention has removed is not looked at any more
);

-- ---------------------------------------------------------------------------------------------------------------
-- Who may act: tokens, sessions, confirmations
-- ---------------------------------------------------------------------------------------------------------------

-- Bearer tokens of the addy.io API, API keys of the Haltman API, app passwords for submission.
create table token (
    id              bigint generated always as identity primary key,
    uuid            uuid not null default gen_random_uuid(),
    account_id      bigint not null,
    kind            text not null,
    name            text not null default '',
    hash            bytea,                 -- SHA-256 of the whole token; null: app password
    password_hash   text,                  -- argon2id, PHC string, of an app password
    display         text not null default '', -- a few characters of it, to tell them apart in lists
    owner_email     text,                  -- API key: the mailbox that it acts for, folded
    automatic_renew boolean not null default false,
    expires_at      timestamptz,           -- null: never
    last_used_at    timestamptz,
    revoked_at      timestamptz,
    revoked_reason  text,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    created_ip      inet,
    user_agent      text,
    constraint token_uuid_unique unique (uuid),
    constraint token_hash_unique unique (hash),
    constraint token_account_fk foreign key (account_id) references account on delete cascade,
    constraint token_kind_known check (kind in ('addy', 'api_key', 'app_password')),
    constraint token_secret check (case kind when 'app_password' then hash is null and password_hash is not null
                                             else hash is not null and password_hash is null end),
    constraint token_hash_octets check (octet_length(hash) = 32),
    constraint token_name_length check (char_length(name) <= 50),
    constraint token_display_length check (char_length(display) <= 16),
    constraint token_owner_email check ((kind = 'api_key') = (owner_email is not null)),
    constraint token_owner_email_folded check (owner_email = lower(owner_email collate "C")),
    constraint token_revoked_reason_length check (char_length(revoked_reason) <= 255),
    constraint token_user_agent_length check (char_length(user_agent) <= 255)
) with (fillfactor = 80);
create index token_account_id on token (account_id);
create index token_owner_email on token (owner_email) where owner_email is not null;
create index token_ended on token (least(revoked_at, expires_at)) where kind = 'addy';   -- for the purge

-- Keys that an account signs in with in a browser (WebAuthn). There is no such sign-in yet, so nothing makes them; one
-- that is enabled keeps passwords alone from being enough for the sign-in of apps, which cannot ask for it.
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

-- One row per refresh token of the dashboard; a family is one sign-in.
create table session (
    id                 bigint generated always as identity primary key,
    account_id         bigint not null,
    family             uuid not null,
    refresh_hash       bytea not null,     -- SHA-256
    refresh_expires_at timestamptz not null,   -- of the family, never moved
    status             text not null default 'active',
    replaced_by_id     bigint,
    created_at         timestamptz not null default now(),
    revoked_at         timestamptz,
    last_used_at       timestamptz,
    request_ip         inet,
    user_agent         text,
    constraint session_refresh_hash_unique unique (refresh_hash),
    constraint session_account_fk foreign key (account_id) references account on delete cascade,
    constraint session_replaced_by_fk foreign key (replaced_by_id) references session on delete set null,
    constraint session_status_known check (status in ('active', 'rotated', 'revoked', 'reuse_detected')),
    constraint session_refresh_hash_octets check (octet_length(refresh_hash) = 32),
    constraint session_user_agent_length check (char_length(user_agent) <= 255)
);
create index session_account_id on session (account_id);
create index session_family on session (family);
create unique index session_active_unique on session (family) where status = 'active';
create index session_replaced_by_id on session (replaced_by_id) where replaced_by_id is not null;
create index session_refresh_expires_at on session (refresh_expires_at);

-- Something that happens when a mailed code or link comes back. Expiry is judged when read; rows go after 30 days.
create table confirmation (
    id              bigint generated always as identity primary key,
    uuid            uuid not null default gen_random_uuid(),
    intent          text not null,
    email           text not null,         -- the mailbox that got the code, folded
    alias_name      text not null default '', -- local part or handle
    alias_domain    text not null default '',
    account_id      bigint,
    recipient_id    bigint,
    code_mac        bytea not null,        -- HMAC-SHA-256 with a server secret: a plain hash of six digits hides nothing
    status          text not null default 'pending',
    days            integer,               -- API key: requested life
    automatic_renew boolean not null default false,
    detail          jsonb,
    send_count      integer not null default 1,
    attempts        integer not null default 0,
    created_at      timestamptz not null default now(),
    expires_at      timestamptz not null,
    last_sent_at    timestamptz not null default now(),
    confirmed_at    timestamptz,
    request_ip      inet,
    user_agent      text,
    constraint confirmation_uuid_unique unique (uuid),
    constraint confirmation_account_fk foreign key (account_id) references account on delete cascade,
    constraint confirmation_recipient_fk foreign key (recipient_id) references recipient on delete cascade,
    constraint confirmation_intent_known check (intent in (
        'subscribe', 'subscribe_address', 'unsubscribe',
        'handle_subscribe', 'handle_unsubscribe', 'handle_domain_disable', 'handle_domain_enable',
        'api_key_create', 'api_key_list', 'api_key_destroy_all',
        'password_reset', 'verify_account', 'verify_recipient', 'reply')),
    constraint confirmation_status_known check (status in ('pending', 'confirmed', 'expired')),
    constraint confirmation_email_folded check (email = lower(email collate "C")),
    constraint confirmation_code_mac_octets check (octet_length(code_mac) = 32),
    constraint confirmation_counts_positive check (send_count >= 0 and attempts >= 0),
    constraint confirmation_user_agent_length check (char_length(user_agent) <= 255)
);
create unique index confirmation_code_unique on confirmation (code_mac) where status = 'pending';
create unique index confirmation_pending_unique on confirmation (email, intent, alias_name, alias_domain)
    where status = 'pending';
create index confirmation_account_id on confirmation (account_id) where account_id is not null;
create index confirmation_recipient_id on confirmation (recipient_id) where recipient_id is not null;
create index confirmation_created_at on confirmation (created_at);
create index confirmation_confirmed on confirmation (email, confirmed_at desc) where status = 'confirmed';

-- Requests made with API keys, for their owners. Never bodies or secrets.
create table api_log (
    id          bigint generated always as identity primary key,
    token_id    bigint,
    owner_email text not null,
    at          timestamptz not null default now(),
    route       text not null,
    body        jsonb not null,            -- operation, status_code, outcome, request_id, resource
    request_ip  inet,
    user_agent  text,
    constraint api_log_token_fk foreign key (token_id) references token on delete set null,
    constraint api_log_route_length check (char_length(route) <= 128),
    constraint api_log_user_agent_length check (char_length(user_agent) <= 255)
);
create index api_log_token_id on api_log (token_id) where token_id is not null;
create index api_log_owner_email on api_log (owner_email, at desc, id desc);

-- ---------------------------------------------------------------------------------------------------------------
-- Work and records of the service
-- ---------------------------------------------------------------------------------------------------------------

-- Taken with `for update skip locked`; a lease that ran out is taken again.
create table job (
    id           bigint generated always as identity primary key,
    kind         text not null,
    payload      jsonb not null default '{}',
    dedupe_key   text,                     -- null: may be there any number of times
    run_at       timestamptz not null default now(),
    attempts     integer not null default 0,
    max_attempts integer not null default 10,
    leased_until timestamptz,              -- null: nobody works on it
    leased_by    text,
    last_error   text,
    created_at   timestamptz not null default now(),
    finished_at  timestamptz,
    failed_at    timestamptz,              -- given up
    constraint job_attempts_positive check (attempts >= 0 and max_attempts > 0)
) with (fillfactor = 80);
create index job_due on job (run_at) where finished_at is null and failed_at is null;
create unique index job_dedupe_unique on job (dedupe_key) where finished_at is null and failed_at is null;
create index job_ended on job (coalesce(finished_at, failed_at)) where finished_at is not null or failed_at is not null;

create function job_posted() returns trigger language plpgsql as $$
begin
    perform pg_notify('mailrelay_job', '');
    return null;
end
$$;
-- Whoever waits for work hears of it.
create trigger job_posted after insert on job for each statement execute function job_posted();

-- Events for webhooks, written in the transaction that made them true. Read in the order of (xact, id) and only below
-- the oldest transaction that still runs: then none comes late, between two that were read.
create table outbox (
    id         bigint generated always as identity primary key,
    uuid       uuid not null default gen_random_uuid(),
    account_id bigint,                     -- null: the installation's; no foreign key, events outlive accounts
    event      text not null,
    payload    jsonb not null,
    created_at timestamptz not null default now(),
    xact       xid8 not null default pg_current_xact_id(),
    constraint outbox_uuid_unique unique (uuid)
);
create index outbox_order on outbox (xact, id);
create index outbox_account_id on outbox (account_id, xact, id) where account_id is not null;
create index outbox_created_at on outbox (created_at);

-- Who hears of events. Each remembers how far it has come, so that it can be sent back to an earlier one.
create table webhook (
    id            bigint generated always as identity primary key,
    uuid          uuid not null default gen_random_uuid(),
    account_id    bigint,                  -- null: the installation's, hears of everybody
    url           text not null,
    events        text[] not null,         -- empty: all
    secret        bytea not null,          -- of the signature; encrypted at rest
    key_id        text not null,           -- the server key that it was encrypted with
    active        boolean not null default true,
    -- Of the last event that was delivered. A new one hears of all that is not yet known to be over.
    position_xact xid8 not null default pg_snapshot_xmin(pg_current_snapshot()),
    position_id   bigint not null default 0,
    failures      integer not null default 0,  -- in a row
    next_try_at   timestamptz not null default now(),  -- also how long a process has it for itself
    last_error    text,
    delivered_at  timestamptz,             -- the last success
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint webhook_uuid_unique unique (uuid),
    constraint webhook_account_fk foreign key (account_id) references account on delete cascade,
    constraint webhook_url_octets check (octet_length(url) between 8 and 2000),
    constraint webhook_events_known check (events <@ array[
        'mail.forwarded', 'mail.blocked', 'mail.failed', 'alias.created', 'alias.deactivated', 'ban.hit',
        'domain.state']),
    constraint webhook_failures_positive check (failures >= 0)
) with (fillfactor = 50);                  -- every delivery changes the position, which no index holds
create index webhook_account_id on webhook (account_id);

-- Writes an event if a webhook wants it, in the transaction that makes it true.
create function announce(what text, account bigint, said jsonb) returns void language plpgsql as $$
begin
    if exists (
        select from webhook w
        where (w.account_id = account or w.account_id is null) and w.active
          and (w.events = '{}' or what = any (w.events)))
    then
        insert into outbox (account_id, event, payload) values (account, what, said);
    end if;
end
$$;

create function announce_alias() returns trigger language plpgsql as $$
begin
    if new.account_id is not null and new.state = 'active' and (tg_op = 'INSERT' or old.account_id is null) then
        perform announce('alias.created', new.account_id, jsonb_build_object(
            'alias', new.local_part || '@' || new.domain, 'alias_id', new.uuid));
    elsif tg_op = 'UPDATE' and old.state = 'active' and new.state <> 'active' then
        perform announce('alias.deactivated', coalesce(new.account_id, old.account_id), jsonb_build_object(
            'alias', new.local_part || '@' || new.domain, 'alias_id', new.uuid, 'state', new.state));
    end if;
    return null;
end
$$;
create trigger alias_announce after insert or update of state, account_id on alias
    for each row execute function announce_alias();

create function announce_failed_delivery() returns trigger language plpgsql as $$
begin
    perform announce('mail.failed', new.account_id, jsonb_build_object(
        'failed_delivery_id', new.uuid, 'email_type', new.email_type, 'bounce_type', new.bounce_type,
        'status', new.status, 'code', new.code, 'quarantined', new.quarantined,
        'alias_id', (select uuid from alias where id = new.alias_id)));
    return null;
end
$$;
create trigger failed_delivery_announce after insert on failed_delivery
    for each row when (new.email_type <> 'IR') execute function announce_failed_delivery();

create function announce_domain() returns trigger language plpgsql as $$
begin
    perform announce('domain.state', new.account_id, jsonb_build_object(
        'domain', new.name, 'domain_id', new.uuid, 'active', new.active,
        'verified', new.verified_at is not null, 'mx_verified', new.mx_verified_at is not null,
        'sending_verified', new.sending_verified_at is not null));
    return null;
end
$$;
create trigger domain_announce after update on domain for each row
    when (old.active <> new.active or (old.verified_at is null) <> (new.verified_at is null)
          or (old.mx_verified_at is null) <> (new.mx_verified_at is null)
          or (old.sending_verified_at is null) <> (new.sending_verified_at is null))
    execute function announce_domain();

-- Who changed what. No foreign keys: it outlives everything.
create table audit (
    id           bigint generated always as identity primary key,
    at           timestamptz not null default now(),
    actor        text not null,            -- account:<id>, token:<id>, cli:<system user>, worker
    account_id   bigint,                   -- whose thing it was
    action       text not null,            -- noun.verb
    object_table text not null,
    object_id    bigint,
    detail       jsonb not null default '{}',
    request_ip   inet
);
create index audit_account_id on audit (account_id, at) where account_id is not null;
create index audit_object on audit (object_table, object_id);
create index audit_at on audit (at);

-- Shown in the apps.
create table account_notification (
    id         bigint generated always as identity primary key,
    uuid       uuid not null default gen_random_uuid(),
    account_id bigint,                     -- null: for everybody
    category   text not null,
    title      text not null,
    text       text not null,
    link       text,
    link_text  text,
    created_at timestamptz not null default now(),
    constraint account_notification_uuid_unique unique (uuid),
    constraint account_notification_account_fk foreign key (account_id) references account on delete cascade
);
create index account_notification_account_id on account_notification (account_id);

-- Somebody asks to bring a domain to this installation.
create table dns_request (
    id              bigint generated always as identity primary key,
    target          text not null,
    type            text not null,
    status          text not null default 'PENDING',
    fail_reason     text,
    last_result     jsonb,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    activated_at    timestamptz,
    last_checked_at timestamptz,
    next_check_at   timestamptz,
    expires_at      timestamptz not null,
    constraint dns_request_target_unique unique (target, type),
    constraint dns_request_target_folded check (target = lower(target collate "C") and octet_length(target) <= 253),
    constraint dns_request_type_known check (type in ('UI', 'EMAIL')),
    -- PENDING, ACTIVE, EXPIRED, FAILED; administrators write what they like
    constraint dns_request_status_grammar check (
        status = upper(status collate "C") and char_length(status) between 1 and 16)
);
create index dns_request_due on dns_request (next_check_at) where status = 'PENDING';

-- Standing checks of approved domains: approval goes after repeated failures, never after one answer.
create table dns_recheck (
    domain_id            bigint not null,
    type                 text not null,    -- UI, EMAIL, SENDING
    status               text not null default 'OK',
    consecutive_failures integer not null default 0,   -- as far as they count; up to three
    last_checked_at      timestamptz,
    next_check_at        timestamptz not null default now(),
    last_ok_at           timestamptz,
    last_result          jsonb,
    last_valid_result    jsonb,
    first_invalid_result jsonb,
    last_error           text,
    alert_state          text not null default 'NONE',
    alerted_at           timestamptz,
    alert_count          integer not null default 0,
    failing_since        timestamptz,      -- null: not failing
    failed_at            timestamptz,      -- of the last failure that counted
    constraint dns_recheck_pkey primary key (domain_id, type),
    constraint dns_recheck_domain_fk foreign key (domain_id) references domain on delete cascade,
    constraint dns_recheck_type_known check (type in ('UI', 'EMAIL', 'SENDING')),
    constraint dns_recheck_status_known check (status in ('OK', 'WARNING', 'DEGRADED', 'INVALID')),
    constraint dns_recheck_alert_known check (alert_state in ('NONE', 'OPEN', 'RECOVERED', 'DISABLED'))
);
create index dns_recheck_due on dns_recheck (next_check_at);

-- The forced check of domains that is under way: one row at most, worth nothing when its lease has ended.
create table dns_run (
    alone        boolean not null default true,
    target       text,                     -- null: all domains
    started_at   timestamptz not null,
    leased_until timestamptz not null,
    constraint dns_run_pkey primary key (alone),
    constraint dns_run_is_one check (alone)
);

-- Totals of the installation that are shown in public.
create table counter (
    name  text primary key,
    total bigint not null default 0
);

-- ---------------------------------------------------------------------------------------------------------------
-- Lists for administrators: any page, however many rows there are
-- ---------------------------------------------------------------------------------------------------------------

-- How many rows lists have among 512 ids in a row: so a page far from the first is found without walking there, and
-- nobody counts. Changes are rows of their own, so that nobody waits for anybody; one in 4096 adds them up.
create table list_tally (
    id     bigint generated always as identity,
    list   text not null,                  -- the table's name
    block  bigint not null,                -- id / 512
    part   bigint not null default 0,      -- of aliases the domain, as alias_listed has it; of bans the type
    rows   bigint not null,
    active bigint not null default 0,      -- of these; of bans those that nobody has revoked
    constraint list_tally_pkey primary key (id)
);
create index list_tally_list on list_tally (list);

create function list_tally_fold() returns trigger language plpgsql as $$
begin
    with several as (
        select list, block, part from list_tally group by list, block, part having count(*) > 1
    ), gone as (
        delete from list_tally where id in (
            select t.id from list_tally t join several using (list, block, part) for update of t skip locked)
        returning list, block, part, rows, active
    )
    insert into list_tally (list, block, part, rows, active)
    select list, block, part, sum(rows), sum(active) from gone group by list, block, part
    having sum(rows) <> 0 or sum(active) <> 0;
    return null;
end
$$;
create trigger list_tally_fold after insert on list_tally
    for each row when (new.id % 4096 = 0) execute function list_tally_fold();

create function ban_type_part(type text) returns bigint language sql immutable
return array_position(array['email', 'domain', 'ip', 'name'], type);

-- Arguments: a condition for rows that the list has, one for the active ones, and their part.
create function list_tally_keep() returns trigger language plpgsql as $$
begin
    execute format(
        'insert into list_tally (list, block, part, rows, active)
         select %L, id >> 9, %s, count(*) * $1, count(*) filter (where %s) * $1 from changed where %s group by 2, 3',
        tg_table_name, tg_argv[2], tg_argv[1], tg_argv[0])
        using case tg_op when 'INSERT' then 1 else -1 end;
    return null;
end
$$;
create function ban_tally_switch() returns trigger language plpgsql as $$
begin
    insert into list_tally (list, block, part, rows, active)
    values ('ban', old.id >> 9, ban_type_part(old.type), -1, -(old.revoked_at is null)::integer),
           ('ban', new.id >> 9, ban_type_part(new.type), 1, (new.revoked_at is null)::integer);
    return null;
end
$$;
create trigger ban_tally_switch after update of type, revoked_at on ban for each row
    when (old.type <> new.type or (old.revoked_at is null) <> (new.revoked_at is null))
    execute function ban_tally_switch();
create index ban_ending on ban (expires_at) where revoked_at is null and expires_at is not null;
create function handle_tally_switch() returns trigger language plpgsql as $$
begin
    insert into list_tally (list, block, rows, active)
    values ('handle', new.id >> 9, 0, case new.state when 'active' then 1 else -1 end);
    return null;
end
$$;
create trigger handle_tally_switch after update of state on handle
    for each row when ((old.state = 'active') <> (new.state = 'active')) execute function handle_tally_switch();
create trigger ban_tally_add after insert on ban referencing new table as changed for each statement
    execute function list_tally_keep('true', 'revoked_at is null', 'ban_type_part(type)');
create trigger ban_tally_remove after delete on ban referencing old table as changed for each statement
    execute function list_tally_keep('true', 'revoked_at is null', 'ban_type_part(type)');
create trigger handle_tally_add after insert on handle referencing new table as changed for each statement
    execute function list_tally_keep('true', 'state = ''active''', '0');
create trigger dns_request_tally_add after insert on dns_request
    referencing new table as changed for each statement execute function list_tally_keep('true', 'false', '0');
create trigger dns_request_tally_remove after delete on dns_request
    referencing old table as changed for each statement execute function list_tally_keep('true', 'false', '0');
create trigger token_tally_add after insert on token referencing new table as changed for each statement
    execute function list_tally_keep('kind = ''api_key''', 'false', '0');
create trigger token_tally_remove after delete on token referencing old table as changed for each statement
    execute function list_tally_keep('kind = ''api_key''', 'false', '0');
-- Users of the dashboard: accounts with a name. Anybody may become one.
create function account_tally_switch() returns trigger language plpgsql as $$
begin
    insert into list_tally (list, block, part, rows, active)
    select 'account', one.id >> 9, one.is_admin::integer, one.times, (one.state = 'active')::integer * one.times
    from (values (old.id, old.is_admin, old.name, old.state, -1), (new.id, new.is_admin, new.name, new.state, 1))
        as one(id, is_admin, name, state, times)
    where one.name is not null and one.state <> 'deleting';
    return null;
end
$$;
create trigger account_tally_switch after update of name, state, is_admin on account for each row
    when (((old.name is null), old.state, old.is_admin) is distinct from ((new.name is null), new.state, new.is_admin))
    execute function account_tally_switch();
create trigger account_tally_add after insert on account
    referencing new table as changed for each statement execute function list_tally_keep(
        'name is not null and state <> ''deleting''', 'state = ''active''', 'is_admin::integer');
create trigger account_tally_remove after delete on account
    referencing old table as changed for each statement execute function list_tally_keep(
        'name is not null and state <> ''deleting''', 'state = ''active''', 'is_admin::integer');

-- Ways that aliases take: an account's default mailbox, a parent's, or the first that is attached. An alias does not
-- know where its mail goes: so one row changes when an account with a hundred thousand of them gets another default.
create table alias_route (
    id         bigint generated always as identity primary key,
    account_id bigint not null,
    kind       text not null,
    object_id  bigint not null,            -- of that kind
    goto       text collate "C",           -- the mailbox, folded; null: there is none
    constraint alias_route_unique unique (account_id, kind, object_id),
    constraint alias_route_account_fk foreign key (account_id) references account on delete cascade,
    constraint alias_route_kind_known check (kind in ('account', 'username', 'domain', 'handle', 'recipient'))
);

-- What the list is filtered by, as alias_search is for the lists of accounts, which it reads whole: of all accounts
-- there are too many. Narrow, in the order of ids, and never touched by mail.
create table alias_listed (
    id         bigint not null,            -- the alias's
    route_id   bigint,                     -- null: deleted or forgotten
    domain_id  bigint not null,            -- a shared one; 0: any other, or gone
    active     boolean not null,
    local_part text collate "C" not null,
    domain     text collate "C",           -- null: that of domain_id
    constraint alias_listed_pkey primary key (id),
    constraint alias_listed_domain_given check ((domain_id = 0) = (domain is not null))
);
create index alias_listed_route on alias_listed (route_id, id) include (active);
create index alias_listed_elsewhere on alias_listed (id) include (domain, active) where domain_id = 0;
-- The planner must know how few groups there are, or else it does not count with several processes.
create statistics alias_listed_block on (id / 512) from alias_listed;

-- Finding parts of words takes pg_trgm, which comes with PostgreSQL's contrib modules; without, all rows are read. New
-- words are collected first, as each has many parts, but not so many that anybody would notice.
do $$
begin
    create extension if not exists pg_trgm with schema public;
    create index alias_listed_words on alias_listed using gin (local_part gin_trgm_ops, domain gin_trgm_ops)
        with (gin_pending_list_limit = 512);
    create index alias_route_words on alias_route using gin (goto gin_trgm_ops) with (gin_pending_list_limit = 512);
    create index handle_words on handle using gin (local_part gin_trgm_ops) with (gin_pending_list_limit = 512);
    create index ban_words on ban using gin (value gin_trgm_ops) with (gin_pending_list_limit = 512);
    create index account_words on account using gin (email gin_trgm_ops) with (gin_pending_list_limit = 512);
    create index recipient_words on recipient using gin (address_folded gin_trgm_ops)
        with (gin_pending_list_limit = 512);
exception
    when undefined_file or feature_not_supported or insufficient_privilege then
        raise notice 'pg_trgm is not available: lists are searched slowly';
end
$$;

create function alias_route_goto(whose bigint, what text, which bigint) returns text language sql stable
return (
    select r.address_folded from account acc join recipient r on r.id = coalesce(
        case what
            when 'recipient' then which
            when 'username' then (select default_recipient_id from username where id = which)
            when 'domain' then (select default_recipient_id from domain where id = which)
            when 'handle' then (select recipient_id from handle where id = which)
        end, acc.default_recipient_id)
    where acc.id = whose and r.verified_at is not null and not r.pending);

-- A new way and those who change where an account's ways lead wait for each other: the lock is the account's.
create function alias_route_find(whose bigint, what text, which bigint) returns bigint language plpgsql as $$
declare
    found_id bigint;
begin
    select id into found_id from alias_route where account_id = whose and kind = what and object_id = which;
    if found then
        return found_id;
    end if;
    perform pg_advisory_xact_lock_shared(1919905652, hashint8(whose));    -- "rout" in ASCII
    insert into alias_route (account_id, kind, object_id, goto)
    values (whose, what, which, alias_route_goto(whose, what, which))
    on conflict on constraint alias_route_unique do nothing returning id into found_id;
    if not found then
        select id into found_id from alias_route where account_id = whose and kind = what and object_id = which;
    end if;
    return found_id;
end
$$;

create function alias_route_of(
    alias bigint, account bigint, state text, username bigint, domain bigint, shared boolean, handle bigint)
    returns bigint language plpgsql
    set enable_seqscan = off    -- it is planned once, perhaps while there are no rows yet
as $$
declare
    attached bigint;
begin
    if account is null or state in ('deleted', 'forgotten') then
        return null;
    end if;
    select ar.recipient_id into attached
        from alias_recipient ar
        join recipient r on r.id = ar.recipient_id and r.verified_at is not null and not r.pending
        where ar.alias_id = alias order by ar.created_at, ar.recipient_id limit 1;
    return case
        when attached is not null then alias_route_find(account, 'recipient', attached)
        when handle is not null then alias_route_find(account, 'handle', handle)
        when username is not null then alias_route_find(account, 'username', username)
        when domain is not null and not shared then alias_route_find(account, 'domain', domain)
        else alias_route_find(account, 'account', account)
    end;
end
$$;

create function alias_route_refresh() returns trigger language plpgsql as $$
declare
    whose bigint := coalesce(to_jsonb(old) ->> tg_argv[0], to_jsonb(new) ->> tg_argv[0])::bigint;
begin
    perform pg_advisory_xact_lock(1919905652, hashint8(whose));
    if tg_table_name = 'recipient' and tg_op = 'DELETE' then
        delete from alias_route where account_id = whose and kind = 'recipient' and object_id = old.id;
    end if;
    update alias_route set goto = alias_route_goto(account_id, kind, object_id)
        where account_id = whose and goto is distinct from alias_route_goto(account_id, kind, object_id);
    if tg_table_name = 'recipient' and tg_op = 'UPDATE' then
        update alias_listed l
        set route_id = alias_route_of(
            a.id, a.account_id, a.state, a.username_id, a.domain_id, a.shared, a.handle_id)
        from alias_recipient ar join alias a on a.id = ar.alias_id
        where ar.recipient_id = new.id and l.id = a.id
          and ((old.verified_at is null) <> (new.verified_at is null) or old.pending <> new.pending);
    end if;
    return null;
end
$$;
create trigger account_route after update of default_recipient_id on account
    for each row when (old.default_recipient_id is distinct from new.default_recipient_id)
    execute function alias_route_refresh('id');
create trigger username_route after update of default_recipient_id on username
    for each row when (old.default_recipient_id is distinct from new.default_recipient_id)
    execute function alias_route_refresh('account_id');
create trigger domain_route after update of default_recipient_id on domain
    for each row when (old.default_recipient_id is distinct from new.default_recipient_id)
    execute function alias_route_refresh('account_id');
create trigger handle_route after update of recipient_id on handle
    for each row when (old.recipient_id is distinct from new.recipient_id)
    execute function alias_route_refresh('account_id');
create function handle_route_handed() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(1919905652, hashint8(new.account_id));
    update alias_route set goto = alias_route_goto(account_id, kind, object_id)
        where account_id = new.account_id and kind = 'handle' and object_id = new.id;
    return null;
end
$$;
-- Whoever had it before and gets it back has a way from then.
create trigger handle_route_handed after update of account_id on handle
    for each row when (old.account_id is distinct from new.account_id and new.account_id is not null)
    execute function handle_route_handed();
create trigger recipient_route after update of address, verified_at, pending on recipient
    for each row when (old.address <> new.address or (old.verified_at is null) <> (new.verified_at is null)
                       or old.pending <> new.pending)
    execute function alias_route_refresh('account_id');
create trigger recipient_route_gone after delete on recipient
    for each row execute function alias_route_refresh('account_id');

create function alias_listed_add() returns trigger language plpgsql as $$
begin
    with listed as (
        insert into alias_listed (id, route_id, domain_id, active, local_part, domain)
        select a.id, alias_route_of(a.id, a.account_id, a.state, a.username_id, a.domain_id, a.shared, a.handle_id),
               case when a.shared then coalesce(a.domain_id, 0) else 0 end, a.state = 'active', a.local_part,
               case when a.shared and a.domain_id is not null then null else a.domain end
        from added a
        returning id, domain_id, active
    )
    insert into list_tally (list, block, part, rows, active)
    select 'alias', id >> 9, domain_id, count(*), count(*) filter (where active) from listed group by 2, 3;
    return null;
end
$$;
create trigger alias_listed_add after insert on alias
    referencing new table as added for each statement execute function alias_listed_add();

create function alias_listed_keep() returns trigger language plpgsql as $$
declare
    before alias_listed;
    after  alias_listed;
begin
    select * into before from alias_listed where id = old.id;
    if tg_op = 'UPDATE' then
        update alias_listed
        set route_id = alias_route_of(
                new.id, new.account_id, new.state, new.username_id, new.domain_id, new.shared, new.handle_id),
            domain_id = case when new.shared then coalesce(new.domain_id, 0) else 0 end, active = new.state = 'active',
            local_part = new.local_part,
            domain = case when new.shared and new.domain_id is not null then null else new.domain end
        where id = old.id returning * into after;
        if (before.domain_id, before.active) is not distinct from (after.domain_id, after.active) then
            return null;
        end if;
        insert into list_tally (list, block, part, rows, active)
        values ('alias', after.id >> 9, after.domain_id, 1, after.active::integer);
    else
        delete from alias_listed where id = old.id;
    end if;
    insert into list_tally (list, block, part, rows, active)
    values ('alias', before.id >> 9, before.domain_id, -1, -before.active::integer);
    return null;
end
$$;
create trigger alias_listed_keep after update of
    account_id, local_part, domain, domain_id, username_id, handle_id, state on alias
    for each row when (
        (old.account_id, old.local_part, old.domain, old.domain_id, old.shared, old.username_id, old.handle_id,
         old.state) is distinct from
        (new.account_id, new.local_part, new.domain, new.domain_id, new.shared, new.username_id, new.handle_id,
         new.state))
    execute function alias_listed_keep();
create trigger alias_listed_remove after delete on alias
    for each row execute function alias_listed_keep();

create function alias_listed_reroute() returns trigger language plpgsql as $$
begin
    update alias_listed l set route_id = way.route_id
    from (
        select a.id, alias_route_of(
            a.id, a.account_id, a.state, a.username_id, a.domain_id, a.shared, a.handle_id) as route_id
        from (select distinct alias_id from changed) c join alias a on a.id = c.alias_id
        order by a.id offset 0      -- each is asked once
    ) way
    where l.id = way.id and l.route_id is distinct from way.route_id;
    return null;
end
$$;
create trigger alias_listed_attach after insert on alias_recipient
    referencing new table as changed for each statement execute function alias_listed_reroute();
create trigger alias_listed_detach after delete on alias_recipient
    referencing old table as changed for each statement execute function alias_listed_reroute();
create trigger alias_listed_reorder after update on alias_recipient
    referencing new table as changed for each statement execute function alias_listed_reroute();

-- ---------------------------------------------------------------------------------------------------------------
-- updated_at
-- ---------------------------------------------------------------------------------------------------------------

create trigger account_touch before update of
    name, implicit_mailbox, email, state, state_reason, is_admin, password_hash, default_recipient_id,
    default_username_id, block_behaviour, forward_mode, messages_per_hour, new_aliases_per_hour,
    bandwidth_octets_per_month, sends_suspended_at, from_name, banner_location, banner_link_login,
    spam_warning_behaviour, dmarc_reject_action, display_from_format, use_reply_to, email_subject,
    list_unsubscribe_behaviour, store_failed_deliveries, failed_delivery_notification_preference,
    encryption_failure, never_plaintext, reply_scrub, leak_policy, relay_auto_replies, accept_foreign_dsn,
    notify_co_recipients, auto_disable_bouncing_alias, reverse_address_style, compat_headers,
    save_alias_last_used, default_alias_domain, default_alias_format, alias_separator
    on account for each row execute function touch_updated_at();
create trigger recipient_touch before update of
    address, description, verified_at, pending, can_reply_send, require_envelope_match, should_encrypt,
    inline_encryption, protected_headers, remove_pgp_keys, remove_pgp_signatures, encryption_failure,
    never_plaintext, fingerprint, public_key
    on recipient for each row execute function touch_updated_at();
create trigger username_touch before update on username for each row execute function touch_updated_at();
create trigger domain_touch before update on domain for each row execute function touch_updated_at();
create trigger handle_touch before update on handle for each row execute function touch_updated_at();
create trigger alias_touch before update of
    account_id, local_part, domain, domain_id, username_id, handle_id, state, deleted_at, extension, description,
    from_name, forward_mode, block_behaviour, reply_via_alias, attached_recipients_only, pinned, expires_at,
    max_forwards, sender_allow_list
    on alias for each row execute function touch_updated_at();
create trigger blocked_sender_touch before update of alias_id, type, value
    on blocked_sender for each row execute function touch_updated_at();
create trigger rule_touch before update of
    name, position, conditions, actions, operator, forwards, replies, sends, active
    on rule for each row execute function touch_updated_at();
create trigger failed_delivery_touch before update on failed_delivery
    for each row execute function touch_updated_at();
create trigger token_touch before update of
    name, automatic_renew, expires_at, revoked_at, revoked_reason
    on token for each row execute function touch_updated_at();
create trigger dns_request_touch before update on dns_request for each row execute function touch_updated_at();
create trigger webhook_touch before update of url, events, secret, active
    on webhook for each row execute function touch_updated_at();

-- ---------------------------------------------------------------------------------------------------------------
-- What caches hear, on channel mailrelay
-- ---------------------------------------------------------------------------------------------------------------

-- alias:<local part>@<domain>
create function notify_alias() returns trigger language plpgsql as $$
begin
    if tg_op in ('UPDATE', 'DELETE') then
        perform pg_notify('mailrelay', 'alias:' || old.local_part || '@' || old.domain);
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        perform pg_notify('mailrelay', 'alias:' || new.local_part || '@' || new.domain);
    end if;
    return null;
end
$$;

-- alias:<local part>@<domain> of the alias that gains or loses a recipient
create function notify_alias_recipient() returns trigger language plpgsql as $$
declare
    changed bigint := case tg_op when 'DELETE' then old.alias_id else new.alias_id end;
begin
    -- An alias that goes itself takes its rows along and has told already.
    perform pg_notify('mailrelay', 'alias:' || local_part || '@' || domain) from alias where id = changed;
    return null;
end
$$;

create trigger account_notify_gone after delete on account
    for each row execute function notify_change('account', 'id');
create trigger account_notify after update of
    state, default_recipient_id, block_behaviour, forward_mode, messages_per_hour, new_aliases_per_hour,
    bandwidth_octets_per_month, sends_suspended_at
    on account for each row execute function notify_change('account', 'id');
create trigger recipient_notify_row after insert or delete on recipient
    for each row execute function notify_change('account', 'account_id');
-- Compared, as deliveries clear failing_since whether it was set or not.
create trigger recipient_notify after update on recipient for each row
    when (old.verified_at is distinct from new.verified_at or old.pending <> new.pending
          or old.failing_since is distinct from new.failing_since or old.probed_at is distinct from new.probed_at
          or old.address <> new.address or old.account_id <> new.account_id)
    execute function notify_change('account', 'account_id');
create trigger username_notify after insert or update or delete on username
    for each row execute function notify_change('username', 'id');
create trigger domain_notify after insert or update or delete on domain
    for each row execute function notify_change('domain', 'id');
create trigger handle_notify after insert or update or delete on handle
    for each row execute function notify_change('handle', 'id');
create trigger handle_domain_off_notify after insert or update or delete on handle_domain_off
    for each row execute function notify_change('handle', 'handle_id');
create trigger ban_notify_row after insert or delete on ban
    for each row execute function notify_change('ban', 'id');
create trigger ban_notify after update of type, value, network, scope, reason, expires_at, revoked_at on ban
    for each row execute function notify_change('ban', 'id');
create trigger blocked_sender_notify_row after insert or delete on blocked_sender
    for each row execute function notify_change('account', 'account_id');
create trigger blocked_sender_notify after update of account_id, alias_id, type, value on blocked_sender
    for each row execute function notify_change('account', 'account_id');
create trigger rule_notify_row after insert or delete on rule
    for each row execute function notify_change('account', 'account_id');
create trigger rule_notify after update of
    account_id, name, position, conditions, actions, operator, forwards, replies, sends, active
    on rule for each row execute function notify_change('account', 'account_id');
create trigger alias_notify_row after insert or delete on alias
    for each row execute function notify_alias();
create trigger alias_notify after update of
    account_id, local_part, domain, domain_id, username_id, handle_id, state, deleted_at, extension, description,
    from_name, forward_mode, block_behaviour, reply_via_alias, attached_recipients_only, pinned, expires_at,
    max_forwards, sender_allow_list
    on alias for each row execute function notify_alias();
create trigger alias_recipient_notify after insert or update or delete on alias_recipient
    for each row execute function notify_alias_recipient();
