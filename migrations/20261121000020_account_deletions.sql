-- An account is deleted in portions. Its row says at once that it is gone; the groups, lists and
-- notifications that refer to it follow, some hundred rows a transaction, so that no lock is held for
-- as long as an account is large.

-- Accounts that are deleted and still referred to.
create table account_deletions (
    user_id    bigint primary key references users,
    -- When a node last worked on it. Another one goes on where that is some seconds ago.
    claimed_at timestamptz not null default now()
);

create index account_deletions_by_claim on account_deletions (claimed_at);

-- Requests that were in flight while their account was deleted have left rows behind.
insert into account_deletions (user_id)
select u.id from users u
where u.deleted_at is not null and (
    exists (select from members m where m.user_id = u.id and m.kind = 'group')
    or exists (select from contacts c where c.user_id = u.id)
    or exists (select from contacts c where c.contact_id = u.id)
    or exists (select from blocks b where b.user_id = u.id)
    or exists (select from blocks b where b.blocked_id = u.id)
    or exists (select from notifications n where n.user_id = u.id));
