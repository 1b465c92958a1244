-- Dialogs and groups, who is in them, and what was said.

create type conversation_kind as enum ('dialog', 'group');

create table conversations (
    id              bigint generated always as identity primary key,
    kind            conversation_kind not null,

    -- A dialog is its pair of users, the smaller id first; both the same for notes to oneself.
    low_user_id     bigint references users,
    high_user_id    bigint references users,

    -- A group has a name, and ends when its last member leaves. Its messages stay.
    name            text,
    ended_at        timestamptz(3),
    -- Counts the changes of the member list, so that a node knows when its copy is old.
    member_version  bigint not null default 1,

    -- `seq` of the newest message: the next one is last_seq + 1, given under this row's lock, so
    -- that the order of `seq` is the order of commits, without a gap.
    last_seq        bigint not null default 0,
    last_message_at timestamptz(3),
    created_at      timestamptz(3) not null default now(),

    constraint dialogs_have_a_pair check (
        (kind = 'dialog') = (low_user_id is not null and high_user_id is not null) and low_user_id <= high_user_id),
    constraint groups_have_a_name check ((kind = 'group') = (name is not null)),
    -- Two first messages at once make one dialog.
    constraint one_dialog_a_pair unique (low_user_id, high_user_id)
) with (fillfactor = 80);

-- A person's chat list, newest first, costs its page: dialogs come in order from these two. The
-- groups of one person are few and are sorted.
create index dialogs_of_low_user on conversations (low_user_id, last_message_at desc, id desc) where last_seq > 0;
create index dialogs_of_high_user on conversations (high_user_id, last_message_at desc, id desc) where last_seq > 0;

create table members (
    conversation_id bigint not null references conversations,
    user_id         bigint not null references users,
    kind            conversation_kind not null,
    is_admin        boolean not null default false,
    joined_at       timestamptz(3) not null default now(),
    -- Read up to here; a new member of a group has nothing unread.
    read_seq        bigint not null default 0,
    -- How many of the messages past read_seq are one's own. With it the unread count is
    -- last_seq - read_seq - own_unread: exact, and the same cost at any size of history.
    own_unread      bigint not null default 0,

    primary key (conversation_id, user_id)
) with (fillfactor = 80);

create index groups_of_user on members (user_id, conversation_id) where kind = 'group';

-- No foreign keys here: write_messages alone writes this table, it has locked the conversation and
-- seen the sender in the same transaction, and rows of both are never deleted. Two look-ups and two
-- row locks a message would be the most expensive part of a send.
create table messages (
    -- Not an identity: write_messages takes the id first, so that it need not join its rows back.
    id                bigint primary key,
    conversation_id   bigint not null,
    seq               bigint not null,
    sender_id         bigint not null,
    content           text not null,
    client_message_id text,
    created_at        timestamptz(3) not null,
    updated_at        timestamptz(3) not null,
    deleted_at        timestamptz(3),

    constraint one_message_a_seq unique (conversation_id, seq)
);

create sequence message_ids as bigint owned by messages.id;

-- A repeat of a send is known at any time, on any node.
create unique index one_message_a_client_id on messages (sender_id, client_message_id) where client_message_id is not null;
