-- People, and where they are signed in.

-- Searching part of a name by index. Ships with PostgreSQL's contrib modules; the owner of the
-- database may create it.
create extension if not exists pg_trgm;

create table users (
    id            bigint generated always as identity primary key,
    -- Either an e-mail address or a username is enough to sign up.
    email         text,
    username      text,
    first_name    text,
    last_name     text,
    password_hash text,
    created_at    timestamptz(3) not null default now(),
    updated_at    timestamptz(3) not null default now(),
    -- A deleted user keeps the row, because the messages stay with those who received them, and
    -- nothing else: no address, no name, no hash.
    deleted_at    timestamptz(3),

    -- What everybody sees; one rule for every query.
    name text not null generated always as (
        case when deleted_at is not null then 'Deleted user'
             else coalesce(first_name, username, split_part(email, '@', 1)) end
    ) stored,
    -- What a search by name looks through. Begins with a space and has one before every word, so
    -- that "begins a word" is a pattern of its own.
    search_text text generated always as (
        case when deleted_at is null then
            ' ' || lower(coalesce(first_name, '') || ' ' || coalesce(last_name, '') || ' '
                || coalesce(username, case when first_name is null then split_part(email, '@', 1) end, ''))
        end
    ) stored,

    constraint users_have_an_identity check (deleted_at is not null or email is not null or username is not null),
    constraint deleted_users_keep_nothing check (
        deleted_at is null or num_nonnulls(email, username, first_name, last_name, password_hash) = 0)
);

-- Addresses and usernames differ in more than the case of their letters.
create unique index users_email_key on users (lower(email));
create unique index users_username_key on users (lower(username));
create index users_search_text on users using gin (search_text gin_trgm_ops);

-- People whose search_text is like `pattern`, but for the one who asks. A function for the sake of its
-- setting: whether the index pays depends on the pattern, so each call is planned with it in view. A
-- rare pattern is found by the index, a common one by going through the people until the page is full.
create function search_users(pattern text, asker bigint, rows bigint, skipped bigint) returns setof users
language plpgsql stable set plan_cache_mode = force_custom_plan as $$
begin
    return query
    select * from users
    where search_text like pattern and deleted_at is null and id <> asker
    order by id limit rows offset skipped;
end
$$;

-- One row a sign-in; a token names it in `sid` and is worth nothing without it.
create table sessions (
    id         bigint generated always as identity primary key,
    user_id    bigint not null references users,
    created_at timestamptz(3) not null default now(),
    -- When the newest token of the session ends.
    expires_at timestamptz(3) not null,
    user_agent text,
    address    text
);

create index sessions_by_user on sessions (user_id, id);
