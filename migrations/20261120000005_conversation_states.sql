-- What each member has seen of a conversation and wants of it, replies, reactions, and the numbers by
-- which `sync` knows what has changed.

-- Unread is what is past the marker and not one's own: last_seq - read_seq - (own_sent - own_read).
-- A send moves own_sent alone and reading moves own_read alone, so that neither has to wait for the
-- other, and both only ever grow.
alter table members rename column own_unread to own_sent;
comment on column members.own_sent is 'own messages so far, from wherever the count began';

alter table members
    -- Those of own_sent that are not past read_seq.
    add column own_read      bigint not null default 0,
    add column read_at       timestamptz(3),
    -- Arrived up to here; never behind read_seq.
    add column delivered_seq bigint not null default 0,
    add column delivered_at  timestamptz(3),
    -- For this member alone: history up to here is gone, and with is_removed the conversation is gone
    -- from the lists until there is a message past it. What is gone is not unread; nobody else is told.
    add column cleared_seq   bigint not null default 0,
    add column own_cleared   bigint not null default 0,
    add column is_removed    boolean not null default false,
    add column is_spam       boolean not null default false,
    -- The other side of a dialog; oneself in notes.
    add column peer_id       bigint,
    -- Number of the transaction that last moved a marker, which all members see; see current_change.
    add column change        bigint not null default 0,
    -- The same of what this member alone sees: cleared_seq, is_removed, is_spam.
    add column own_change    bigint not null default 0;

create function unread_count(last_seq bigint, m members) returns bigint language sql immutable as
    'select last_seq - greatest(m.read_seq, m.cleared_seq) - (m.own_sent - greatest(m.own_read, m.own_cleared))';

update members set delivered_seq = read_seq;
update members m set peer_id = c.low_user_id + c.high_user_id - m.user_id
from conversations c where c.id = m.conversation_id and c.kind = 'dialog';
alter table members add constraint dialogs_have_a_peer check ((kind = 'dialog') = (peer_id is not null));

alter table messages
    add column reply_to_id bigint,
    -- Number of the transaction that stored it. Within a conversation it is seen in the order of `seq`.
    add column created_in  bigint not null default 0;

-- Number of the transaction that last stored or changed a message, or changed the members.
alter table conversations add column change bigint not null default 0;

create table reactions (
    message_id bigint not null,
    user_id    bigint not null,
    reaction   text not null,
    created_at timestamptz(3) not null default now(),

    primary key (message_id, user_id)
);

-- Messages that were edited, deleted or reacted to, each with its last change alone: `sync` tells of
-- things as they are, not of how they came to be so.
create table message_changes (
    conversation_id bigint not null,
    seq             bigint not null,
    -- The frame that did it.
    kind            text not null,
    change          bigint not null,

    primary key (conversation_id, seq)
);

-- Who came, went, became an admin or no longer is, and new names: all of it, in its order.
create table group_events (
    id              bigint generated always as identity primary key,
    conversation_id bigint not null references conversations,
    change          bigint not null,
    -- The frame that did it.
    kind            text not null,
    -- Whom it is about; null where it is the group as a whole.
    user_id         bigint,
    created_at      timestamptz(3) not null default now()
);

-- A change has the number of its transaction, and a cursor is a snapshot: what a cursor has not seen
-- is what its snapshot does not see. A number that a sequence gave would not do: it is given before
-- the row can be seen, and a cursor that was handed out in between would skip it.
--
-- Transaction numbers begin anew in another cluster, as after a dump and restore. Then `shift` lifts
-- them above all that are stored, and cursors of the generation before prove nothing any more.
create table change_clock (
    cluster    bigint not null,
    generation bigint not null,
    shift      bigint not null
);
create unique index one_change_clock on change_clock ((true));
insert into change_clock select system_identifier, 1, 0 from pg_control_system();

-- Called by every server at its start.
create function keep_change_clock() returns void language plpgsql as $$
declare
    here    bigint := (select system_identifier from pg_control_system());
    highest bigint;
begin
    if (select cluster from change_clock) = here then
        return;
    end if;
    perform from change_clock for update;
    if (select cluster from change_clock) = here then
        return;
    end if;
    select greatest((select max(change) from conversations), (select max(greatest(change, own_change)) from members),
                    (select max(change) from message_changes), (select max(change) from group_events), 0)
    into highest;
    update change_clock set cluster = here, generation = generation + 1,
        shift = greatest(0, highest - pg_current_xact_id()::text::bigint + 1);
end
$$;

-- The number that changes of this transaction have.
create function current_change() returns bigint language sql volatile as
    'select pg_current_xact_id()::text::bigint + shift from change_clock';

-- Whether a snapshot sees a change.
create function sees(snapshot pg_snapshot, change bigint, shift bigint) returns boolean language sql immutable as
    'select case when change - shift < 3 then true else pg_visible_in_snapshot((change - shift)::text::xid8, snapshot) end';

-- What changed since a cursor is found from the changes on, whatever else there is.
create index changed_dialogs_of_low_user on conversations (low_user_id, change) where kind = 'dialog';
create index changed_dialogs_of_high_user on conversations (high_user_id, change) where kind = 'dialog';
create index message_changes_in_order on message_changes (conversation_id, change);
create index group_events_in_order on group_events (conversation_id, change);
create index group_events_of_user on group_events (user_id, change);
create index changed_states_of_user on members (user_id, greatest(change, own_change));
create index changed_states_of_peer on members (peer_id, change) where kind = 'dialog';
create index changed_states_in_group on members (conversation_id, change) where kind = 'group';

-- A message with all that clients read of it. To be joined to the few ids that a query has found: its
-- rows are dressed one by one.
create view message_items as
select m.id, m.conversation_id, m.seq, m.sender_id, s.name as sender_name,
       r.id as receiver_id, r.name as receiver_name,
       case when c.kind = 'group' then c.id end as group_id, c.name as group_name,
       m.content, m.created_at, m.updated_at, m.deleted_at, m.client_message_id,
       q.id as reply_id, q.sender_id as reply_sender_id, qs.name as reply_sender_name, q.content as reply_content,
       x.user_ids as reaction_user_ids, x.reactions
from messages m
join conversations c on c.id = m.conversation_id
join users s on s.id = m.sender_id
left join users r on r.id = c.low_user_id + c.high_user_id - m.sender_id
left join messages q on q.id = m.reply_to_id
left join users qs on qs.id = q.sender_id
left join lateral (
    select array_agg(y.user_id order by y.created_at, y.user_id) as user_ids,
           array_agg(y.reaction order by y.created_at, y.user_id) as reactions
    from reactions y where y.message_id = m.id
) x on true;

-- A conversation as one of its members sees it. To be joined to the few ids that a query has found.
create view conversation_states as
select me.user_id, c.id, c.kind = 'group' as is_group, c.name as group_name,
       p.id as peer_id, p.name as peer_name,
       c.last_seq, me.cleared_seq, me.read_seq, me.delivered_seq,
       unread_count(c.last_seq, me) as unread_count,
       me.is_spam, me.is_admin, me.joined_at,
       last.id as last_message_id,
       coalesce(c.last_message_at, c.created_at) as moved_at
from members me
join conversations c on c.id = me.conversation_id
left join users p on p.id = me.peer_id
left join messages last on last.conversation_id = c.id and last.seq = c.last_seq and c.last_seq > me.cleared_seq;

-- What is spam to somebody: no notifications of it.
create index spam_of_user on members (user_id, conversation_id) where is_spam;
