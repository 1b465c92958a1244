-- Relations between users outside of conversations: contacts, blocks and notifications. They are deleted
-- with the account, except for notifications that were sent to others.

-- A user's contact list, theirs alone: a contact need not have the user on their own list.
create table contacts (
    user_id    bigint not null references users,
    contact_id bigint not null references users,
    created_at timestamptz(3) not null default now(),

    primary key (user_id, contact_id),
    constraint contacts_are_others check (user_id <> contact_id)
);

-- The list in its order. It grows at its end, so that a page which was read stays what it was.
create index contacts_in_order on contacts (user_id, created_at, contact_id);
-- The lists that a deleted account is taken off.
create index contacts_by_contact on contacts (contact_id);

-- Blocks: `blocked_id` cannot write to `user_id`. write_messages looks here under its
-- locks, so that a block holds from its commit on.
create table blocks (
    user_id    bigint not null references users,
    blocked_id bigint not null references users,
    created_at timestamptz(3) not null default now(),

    primary key (user_id, blocked_id),
    constraint blocked_users_are_others check (user_id <> blocked_id)
);

-- As for contacts.
create index blocks_in_order on blocks (user_id, created_at, blocked_id);
create index blocks_by_blocked on blocks (blocked_id);

create table notifications (
    id         bigint generated always as identity primary key,
    -- The receiver.
    user_id    bigint not null references users,
    -- From the session of the request, never from its parameters.
    sender_id  bigint not null references users,
    -- Chosen by the client; Hark gives it no meaning.
    kind       text not null,
    -- JSON, as it was sent.
    data       text,
    created_at timestamptz(3) not null default now(),
    -- When it was read individually; see notification_read_at.
    read_at    timestamptz(3),

    constraint notifications_are_for_others check (user_id <> sender_id)
);

-- The list, newest first.
create index notifications_of_user on notifications (user_id, id desc);
create index notifications_by_sender on notifications (sender_id);
-- The cost of reading all grows with the unread notifications, not with all that are stored.
create index unread_notifications on notifications (user_id, id) where read_at is null;
-- How many of one sender are unread, which has a limit.
create index unread_notifications_by_sender on notifications (user_id, sender_id, id) where read_at is null;

-- Reading all notifications at once is one row here, however many there are: a list that another user
-- has filled with millions of them can still be read. A row says that what this user has received up to
-- this id was read then, unless it was read before; a notification has the first row that reaches it.
create table notification_reads (
    user_id bigint not null references users,
    up_to   bigint not null,
    read_at timestamptz(3) not null,

    primary key (user_id, up_to)
);

-- Returns when a notification was read, individually or with all others, or null.
create function notification_read_at(n notifications) returns timestamptz language sql stable as
    'select coalesce(n.read_at, (select r.read_at from notification_reads r
                                 where r.user_id = n.user_id and r.up_to >= n.id order by r.up_to limit 1))';
