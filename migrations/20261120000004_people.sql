-- Contacts, blocks, notifications, and when somebody was last here.

-- My list, mine alone: that I am on somebody's says nothing about mine.
create table contacts (
    user_id    bigint not null references users,
    contact_id bigint not null references users,
    created_at timestamptz(3) not null default now(),

    primary key (user_id, contact_id),
    constraint nobody_is_their_own_contact check (user_id <> contact_id)
);

-- A deleted account goes from all lists.
create index contacts_by_contact on contacts (contact_id);

-- Who may not write to whom. write_messages looks here, so that a block holds from its commit on.
create table blocks (
    user_id    bigint not null references users,
    blocked_id bigint not null references users,
    created_at timestamptz(3) not null default now(),

    primary key (user_id, blocked_id),
    constraint nobody_blocks_themselves check (user_id <> blocked_id)
);

create index blocks_by_blocked on blocks (blocked_id);

create table notifications (
    id         bigint generated always as identity primary key,
    user_id    bigint not null references users,
    -- As the token says, never as the client does.
    sender_id  bigint not null references users,
    kind       text not null,
    -- JSON, as it was sent.
    data       text,
    created_at timestamptz(3) not null default now(),
    read_at    timestamptz(3)
);

create index notifications_of_user on notifications (user_id, id desc);
create index notifications_by_sender on notifications (sender_id);

-- When the last socket of a person ended, on any node; of no use while one is open.
alter table users add column last_seen_at timestamptz(3);
