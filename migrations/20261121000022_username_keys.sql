-- Two usernames that nobody can tell apart are one. What they are compared by comes from the tables of
-- Unicode (UTS 39), which PostgreSQL does not have: the server computes it, and fills it in for those who
-- are there already before it serves.

alter table users
    -- Without the difference of letter case, and of letters that look alike in lower case.
    add column username_key  text,
    -- What letters look like as they are shown: `I` and `l` are one here.
    add column username_look text;

drop index users_username_key;
create unique index users_username_key on users (username_key);
create unique index users_username_look on users (username_look);
-- Those who are to be filled in; empty afterwards.
create index users_without_username_key on users (id) where username is not null and username_key is null;

-- Of the rows that are written from now on.
alter table users add constraint usernames_have_a_key
    check ((username is null) = (username_key is null) and (username is not null or username_look is null)) not valid;
