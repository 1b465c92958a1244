-- Accounts and sessions: users, where they are signed in, and the deletions of accounts that are not
-- complete yet. Rows of `users` are never deleted.

-- Trigram indexes, which find part of a name. The extension is one of PostgreSQL's contrib modules, and
-- the owner of the database may create it.
create extension if not exists pg_trgm;

-- Returns sixty random bits: never the same in two histories of one database. A sequence assigns its
-- numbers again after a restore, to other users and other rows, so whatever a node or a client
-- remembers across a restore (session nonces, versions of member lists, epochs) is drawn from here.
create function random_bigint() returns bigint language sql volatile as
    $$select ('x0' || right(replace(gen_random_uuid()::text, '-', ''), 15))::bit(64)::bigint$$;

create table users (
    id                bigint generated always as identity primary key,
    -- Either an e-mail address or a username is enough to sign up. Letters keep their case.
    email             text,
    username          text,
    -- Keys by which usernames are compared. Two names that look the same are the same name, by the tables
    -- of Unicode (UTS 39), which PostgreSQL does not have: the server computes both keys.
    -- `username_key` is the skeleton of the name in small letters, so it leaves out the difference of
    -- case and of letters that look alike in lower case.
    username_key      text,
    -- The skeleton of the name as it is shown: `I` and `l` are one here. Of several names that looked the
    -- same before skeletons were compared, that of the oldest account has one; the others have null, and
    -- a `username_key` of their exact letters.
    username_skeleton text,
    first_name        text,
    last_name         text,
    -- PHC string of argon2id.
    password_hash     text,
    created_at        timestamptz(3) not null default now(),
    updated_at        timestamptz(3) not null default now(),
    -- When the last socket of the user ended, on any node; out of date while one is open.
    last_seen_at      timestamptz(3),
    -- A deleted user keeps an emptied row, because the messages stay with those who received them: it has
    -- no address, no name, no hash and no last_seen_at.
    deleted_at        timestamptz(3),

    -- The name that other users see; one rule for every query.
    name text not null generated always as (
        case when deleted_at is not null then 'Deleted user'
             else coalesce(first_name, username, split_part(email, '@', 1)) end
    ) stored,
    -- The text that a search by name matches, in folded letters. It begins with a space and has one before
    -- every word, so that "begins a word" is a pattern of its own. The address is part of it only if
    -- the user has neither a first name nor a username.
    search_text text generated always as (
        case when deleted_at is null then
            ' ' || fold_case(coalesce(first_name, '') || ' ' || coalesce(last_name, '') || ' '
                || coalesce(username, case when first_name is null then split_part(email, '@', 1) end, ''))
        end
    ) stored,

    constraint users_have_an_identity check (deleted_at is not null or email is not null or username is not null),
    constraint usernames_have_a_key check (
        (username is null) = (username_key is null) and (username is not null or username_skeleton is null)),
    constraint deleted_users_have_no_personal_data check (
        deleted_at is null
        or num_nonnulls(email, username, first_name, last_name, password_hash, last_seen_at) = 0)
);

-- These constraints decide which sign-up gets an address or a username; the server turns their names into errors.
create unique index users_email_key on users (fold_case(email));
create unique index users_username_key on users (username_key);
create unique index users_username_skeleton on users (username_skeleton);
-- Usernames whose keys are still to be computed, which a server does before it serves; else empty.
create index users_without_username_key on users (id) where username is not null and username_key is null;
create index users_search_text on users using gin (search_text gin_trgm_ops);

-- Returns the users whose search_text is like `pattern`, in the order of their ids, but for `asker` and
-- for the members of `outside_group` if one is named. It locks nothing.
--
-- It is a function for the sake of its setting: whether the trigram index pays depends on the pattern,
-- so each call is planned with it in view. A rare pattern is found by the index, a common one by scanning
-- the users until the page is full.
create function search_users(pattern text, asker bigint, outside_group bigint, max_rows bigint, skipped_rows bigint)
returns setof users
language plpgsql stable set plan_cache_mode = force_custom_plan as $$
begin
    return query
    select * from users u
    where u.search_text like pattern and u.deleted_at is null and u.id <> asker
      and (outside_group is null or not exists (
          select from members m where m.conversation_id = outside_group and m.user_id = u.id))
    order by u.id limit max_rows offset skipped_rows;
end
$$;

-- One row for each sign-in. A token names it in `sid` and is invalid without it.
create table sessions (
    id         bigint generated always as identity primary key,
    user_id    bigint not null references users,
    -- Also in the tokens: a token without the right nonce names no session. After a restore `id` is
    -- assigned again, and a token of the lost history would name the session of another user; the nonce
    -- is never assigned again.
    nonce      bigint not null default random_bigint(),
    created_at timestamptz(3) not null default now(),
    -- When the newest token of the session expires.
    expires_at timestamptz(3) not null,
    -- `User-Agent` and IP address of the sign-in, for the list of sessions.
    user_agent text,
    address    text
);

create index sessions_by_user on sessions (user_id, id);

-- Accounts that are deleted and still referred to. The row in `users` says at once that the account is
-- deleted; the groups, lists and notifications that refer to it follow in portions of some hundred rows a
-- transaction, so that no lock is held for as long as an account is large.
create table account_deletions (
    user_id    bigint primary key references users,
    -- When a node last worked on it. Another node continues if that is some seconds ago.
    claimed_at timestamptz not null default now()
);

create index account_deletions_by_claim on account_deletions (claimed_at);
