-- Conversations, which are dialogs or groups, and their members, with the markers and settings
-- of each. Rows of `conversations` are never deleted.

create type conversation_kind as enum ('dialog', 'group');

create table conversations (
    id              bigint generated always as identity primary key,
    kind            conversation_kind not null,

    -- A dialog is its pair of users, the smaller id first; both are the same for notes to oneself.
    low_user_id     bigint references users,
    high_user_id    bigint references users,

    -- A group has a name, and ends when its last member leaves. Its messages stay.
    name            text,
    ended_at        timestamptz(3),
    -- Drawn anew at each change of the members, so that a node knows when its copy of the list is old.
    -- It says nothing but whether two lists are the same. It is no count, because that would be the same
    -- in two histories of a database (see change_epochs), and a node that keeps lists by their version
    -- would take one for the other.
    member_version  bigint not null default random_bigint(),

    -- `seq` of the newest message: the next one is last_seq + 1, given under this row's lock, so that
    -- the order of `seq` is the order of commits, without a gap.
    last_seq        bigint not null default 0,
    -- Of a dialog's messages, those of its low user; the others are the high user's. The members of a
    -- group have a count each, `members.sent`.
    low_sent        bigint not null default 0,
    last_message_at timestamptz(3),
    created_at      timestamptz(3) not null default now(),
    -- Change number (see current_change) of the transaction that last stored or changed a message, or
    -- changed the members.
    change          bigint not null default 0,

    constraint dialogs_have_a_pair check (
        (kind = 'dialog') = (low_user_id is not null and high_user_id is not null) and low_user_id <= high_user_id),
    constraint groups_have_a_name check ((kind = 'group') = (name is not null)),
    -- Two first messages at once make one dialog.
    constraint one_dialog_per_pair unique (low_user_id, high_user_id)
) with (fillfactor = 80);  -- Every send writes a new version of the row, and the page has room for it.

-- The chat list, newest first, costs its page: dialogs come in its order out of these two indexes. Notes
-- to oneself are found by their low user. The groups of one user are few and are sorted.
create index dialogs_of_low_user on conversations (low_user_id, last_message_at desc, id desc) where last_seq > 0;
create index dialogs_of_high_user on conversations (high_user_id, last_message_at desc, id desc)
    where last_seq > 0 and low_user_id <> high_user_id;
-- What has changed since a cursor of `sync` is found from the changes on, whatever else there is.
create index changed_dialogs_of_low_user on conversations (low_user_id, change) where kind = 'dialog';
create index changed_dialogs_of_high_user on conversations (high_user_id, change) where kind = 'dialog';

-- One row for each user of a conversation.
--
-- Unread is arithmetic: what is past the marker and not one's own,
-- last_seq - read_seq - (own_sent() - own_read). A send changes the count of own messages alone and
-- reading changes own_read alone, so that neither waits for the other, and both only ever grow. The count is
-- exact, and costs the same at any size of history.
create table members (
    conversation_id bigint not null references conversations,
    user_id         bigint not null references users,
    -- That of the conversation, for the partial indexes below.
    kind            conversation_kind not null,
    -- The other side of a dialog; oneself in notes to oneself; null in a group.
    peer_id         bigint,

    is_admin        boolean not null default false,
    -- In a group, the time of the lock and not of the transaction: the list only grows at its end.
    joined_at       timestamptz(3) not null default now(),
    -- Who added the user to the group, so that the number of groups that a stranger adds users to has a
    -- limit; the user's own id if they created the group, null in a dialog.
    added_by        bigint,

    -- Own messages in a group so far, from any start of the count; see own_sent(). 0 in a dialog, whose
    -- row in `conversations` counts for both sides.
    sent            bigint not null default 0,
    -- The read marker: read up to here, and when that was. A new member of a group has nothing unread.
    read_seq        bigint not null default 0,
    read_at         timestamptz(3),
    -- Those of own_sent() that are not past read_seq.
    own_read        bigint not null default 0,
    -- The delivery marker: messages have reached the user up to here; never below read_seq.
    delivered_seq   bigint not null default 0,
    delivered_at    timestamptz(3),

    -- For this member alone: the history up to here is cleared, and cleared messages are not unread. The
    -- other members do not learn of it.
    cleared_seq     bigint not null default 0,
    -- Those of own_sent() that are not past cleared_seq.
    own_cleared     bigint not null default 0,
    -- With cleared_seq: the conversation is not on the lists of this member until there is a message
    -- past it.
    is_removed      boolean not null default false,
    -- This member has marked it as spam: it is on no list but that of spam, and notifications of the peer
    -- are not pushed.
    is_spam         boolean not null default false,

    -- Change number (see current_change) of the transaction that last moved a marker, which all members
    -- see.
    change          bigint not null default 0,
    -- The same for what this member alone sees: cleared_seq, is_removed, is_spam.
    private_change  bigint not null default 0,

    primary key (conversation_id, user_id),
    constraint dialogs_have_a_peer check ((kind = 'dialog') = (peer_id is not null))
) with (fillfactor = 80);  -- Markers move often, as above.

-- All conversations of a user: an index of dialogs and one of groups.
create index groups_of_user on members (user_id, conversation_id) where kind = 'group';
create index dialogs_of_user on members (user_id, conversation_id) where kind = 'dialog';
-- A dialog is on its member's chat list unless it is here: a page far down asks this small index, and
-- not the row of every member above it.
create index spam_or_cleared_of_user on members (user_id, conversation_id) where is_spam or cleared_seq > 0;
-- The member list of a group in its order, and who becomes an admin when the last one has left.
create index members_by_joining on members (conversation_id, joined_at, user_id) where kind = 'group';
-- Whether a group has another admin, whatever its size.
create index admins_of_group on members (conversation_id, user_id) where is_admin;
-- For `sync`: changes of the user's own state, of the peers' and of the members of a group.
create index changed_members_of_user on members (user_id, greatest(change, private_change));
create index changed_members_of_peer on members (peer_id, change) where kind = 'dialog';
create index changed_members_in_group on members (conversation_id, change) where kind = 'group';

-- Returns how many messages a member has sent to the conversation. In a group that is a count of the
-- member's row, in a dialog one of the conversation's row, which a send updates anyway.
create function own_sent(c conversations, m members) returns bigint language sql immutable as
    'select case when m.kind = ''group'' then m.sent
                 when m.user_id = c.low_user_id then c.low_sent
                 else c.last_seq - c.low_sent end';

-- Returns how many messages of others are past what a member has read or cleared. Both rows have to be
-- of one snapshot.
create function unread_count(c conversations, m members) returns bigint language sql immutable as
    'select c.last_seq - greatest(m.read_seq, m.cleared_seq) - (own_sent(c, m) - greatest(m.own_read, m.own_cleared))';
