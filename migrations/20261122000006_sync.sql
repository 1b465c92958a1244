-- What `sync` reports to a client that was offline: the changes since its cursor, from tables of
-- changes, a clock that numbers them, and epochs that say which history of the database a cursor
-- belongs to.
--
-- A change is numbered by its transaction: its change number is the transaction's id (xid) plus the offset
-- of the clock. A cursor holds a snapshot of PostgreSQL (pg_snapshot), and what that snapshot does not see
-- is what has changed. A number from a sequence would not do: it is assigned before the row is visible, and
-- a cursor that was handed out in between would skip it.

-- Messages that were edited, deleted or reacted to, each with its last change alone: `sync` reports
-- the current state, and not each step to it.
create table message_changes (
    conversation_id bigint not null,
    seq             bigint not null,
    -- Type of the frame that did it.
    kind            text not null,
    change          bigint not null,

    primary key (conversation_id, seq)
);

-- With `seq`, so that pages continue after the last row even if one transaction has changed many messages.
create index message_changes_in_order on message_changes (conversation_id, change, seq);

-- Who joined a group, left it, became an admin or ceased to be one, and new names: all of it, in its order.
create table group_events (
    id              bigint generated always as identity primary key,
    conversation_id bigint not null references conversations,
    change          bigint not null,
    -- Type of the frame that did it.
    kind            text not null,
    -- The user whom it concerns; null if it concerns the group as a whole.
    user_id         bigint,
    created_at      timestamptz(3) not null default now(),
    -- Name of the group at that time. A former member reads the events about themselves with this name,
    -- because the current name is for members alone.
    group_name      text not null default ''
);

create index group_events_in_order on group_events (conversation_id, change);
create index group_events_of_user on group_events (user_id, change);

-- The clock, in one row.
--
-- Transaction ids begin anew in another cluster, as after a dump and restore. Then `xid_offset` lifts the
-- change numbers above all that are stored, and cursors of the earlier clock are not valid any more.
create table change_clock (
    -- Of the cluster (pg_control_system) that wrote this row.
    system_identifier bigint not null,
    -- Added to transaction ids. It is never lowered: a change in progress has its number already.
    xid_offset        bigint not null,
    -- Identity of the clock, drawn anew whenever numbers are lifted.
    clock_id          bigint not null default random_bigint(),
    -- The transaction that wrote this row here, as the row's own `xmin` says too. In a row that a dump
    -- has brought the two differ, also in the same cluster.
    written_xid       bigint not null default 0
);
create unique index one_change_clock on change_clock ((true));
insert into change_clock (system_identifier, xid_offset) select system_identifier, 0 from pg_control_system();

-- Sets the clock if a dump was restored from another cluster, and returns nothing. It locks the row of the
-- clock, so that one node at a time does so; if numbers have to be lifted it reads whole tables. Every
-- server calls it before every epoch that it draws.
create function sync_change_clock() returns void language plpgsql as $$
declare
    this_cluster   bigint := (select system_identifier from pg_control_system());
    this_xid       bigint;
    highest_change bigint;
begin
    perform from change_clock for update;
    if (select system_identifier = this_cluster and written_xid % 4294967296 = xmin::text::bigint from change_clock) then
        return;
    end if;
    select greatest((select max(change) from conversations), (select max(greatest(change, private_change)) from members),
                    (select max(change) from message_changes), (select max(change) from group_events), 0)
    into highest_change;
    this_xid := pg_current_xact_id()::text::bigint;
    update change_clock set system_identifier = this_cluster, clock_id = random_bigint(), written_xid = this_xid,
        xid_offset = greatest(xid_offset, highest_change - this_xid + 1);
end
$$;

-- Returns the change number of this transaction, which gets an id if it had none.
create function current_change() returns bigint language sql volatile as
    'select pg_current_xact_id()::text::bigint + xid_offset from change_clock';

-- Returns whether a snapshot sees a change. Numbers below 3, the first id of a transaction, are seen by all.
create function is_visible(snapshot pg_snapshot, change bigint, xid_offset bigint) returns boolean language sql immutable as
    'select case when change - xid_offset < 3 then true
                 else pg_visible_in_snapshot((change - xid_offset)::text::xid8, snapshot) end';

-- The histories of the database. A cursor names an epoch, and proves something only in the history that it
-- was handed out in.
--
-- A restore, or a standby that takes over, puts a database back to an earlier state, and from there on
-- everything is numbered as before. So an epoch is drawn at random at every start of a server, and whenever
-- a server finds that PostgreSQL was restarted or is another one. No change is made before that, in two steps:
--
-- 1. a transaction inserts the epoch, and commits;
-- 2. `start_xid` becomes the end of a snapshot that was taken after the commit.
--
-- A cursor names the newest epoch that its snapshot sees. It does not see the first step of any later one, so
-- it ends at or before `start_xid` of each later epoch. A cursor of a lost history names an epoch that the
-- restored database does not know; or one that it knows, and then every change that was made since the
-- restore is at or above `start_xid` of a later epoch: if the cursor reaches past that, it proves nothing.
create table change_epochs (
    -- In the order in which they were drawn.
    ordinal   bigint generated always as identity primary key,
    epoch     bigint not null unique default random_bigint(),
    -- See change_clock. Of another clock, or another timeline of the cluster, a cursor proves nothing.
    clock_id  bigint not null,
    timeline  bigint not null,
    -- A transaction id without the offset, as cursors have it. Null if the server died in between.
    start_xid bigint,
    drawn_at  timestamptz(3) not null default now()
);

-- The epochs since PostgreSQL last crashed or was restored from a backup of its files: an unlogged table is
-- empty after either. After a crash, ids of transactions that left no trace are assigned again, so that
-- an epoch has to be drawn.
create unlogged table epochs_since_recovery (epoch bigint not null);

-- Returns which history of which database this is, and since when it runs; all but is_standby and
-- `started` are null on a standby and while a dump is being restored. It locks nothing, and every
-- new connection calls it.
create function database_incarnation(
    out is_standby boolean,
    -- Differs if it is another cluster, another timeline of it, another database or another clock.
    out history    text,
    out timeline   bigint,
    -- When PostgreSQL was started, in microseconds since 1970.
    out started    bigint,
    -- How far the write-ahead log is on the disk. It never goes back, unless the files were restored.
    out flushed    bigint,
    -- Whether an epoch was drawn since the last crash or restore.
    out has_epoch  boolean
) language plpgsql as $$
begin
    is_standby := pg_is_in_recovery();
    started := extract(epoch from pg_postmaster_start_time()) * 1000000;
    -- A dump restores rows before indexes, and numbers must not be lifted before its last row is there.
    if is_standby or to_regclass('one_change_clock') is null or to_regclass('change_epochs_pkey') is null then
        return;
    end if;
    timeline := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
    flushed := pg_current_wal_flush_lsn() - '0/0'::pg_lsn;
    select format('%s %s %s %s %s', s.system_identifier, database_incarnation.timeline, d.oid, 'change_clock'::regclass::oid,
                  c.clock_id),
           c.system_identifier = s.system_identifier and c.written_xid % 4294967296 = c.xmin::text::bigint
               and exists (select from epochs_since_recovery i join change_epochs e on e.epoch = i.epoch)
    into history, has_epoch
    from change_clock c, pg_control_system() s, pg_database d where d.datname = current_database();
end
$$;

-- Returns the `seq` of the first message of a conversation that a snapshot does not see, of those from
-- from_seq + 1 to to_seq; to_seq + 1 if it sees them all.
--
-- Messages become visible in the order of `seq`, so that those are at its end: steps that double lead back
-- to what is seen, and halves from there to the border.
create function first_unseen_seq(conversation bigint, from_seq bigint, to_seq bigint, base pg_snapshot, xid_offset bigint)
returns bigint language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
    seen   bigint := from_seq;
    unseen bigint := to_seq + 1;
    step   bigint := 1;
    probe  bigint;
    probed_change bigint;
begin
    while unseen - seen > 1 loop
        probe := greatest(unseen - step, (seen + unseen) / 2);
        select m.created_change into probed_change from messages m where m.conversation_id = conversation and m.seq = probe;
        if is_visible(base, probed_change, xid_offset) then
            seen := probe;
            step := unseen;
        else
            unseen := probe;
            step := step * 2;
        end if;
    end loop;
    return unseen;
end
$$;

-- Returns what has changed for `asker` between two snapshots: what `base` does not see and `target` does. A
-- page costs its rows and the number of conversations that have changed, however long these are and however
-- many have not. It locks nothing.
--
-- It returns at most max_rows rows, in the order of conversation_id, part, place and tie; the row that the
-- four after_… name, and the ones before it, are left out.
--
-- The functions are stable, so that all of a call sees one snapshot. It may be later than `target`: what was
-- changed once more since `target` is left out here, and is between `target` and the next one.
create function changes_since(
    asker bigint, base pg_snapshot, target pg_snapshot,
    after_conversation bigint, after_part integer, after_place bigint, after_tie bigint, max_rows bigint
) returns table (
    conversation_id bigint,
    part            integer,
    place           bigint,
    tie             bigint,
    kind            text,        -- type of the push that was missed
    peer_id         bigint,      -- the other side of a dialog
    message_id      bigint,
    user_id         bigint,
    seq             bigint,
    at              timestamptz,
    is_spam         boolean
) language plpgsql stable set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    clock_offset constant bigint := (select c.xid_offset from change_clock c);
    -- Nothing below first_change is unseen by base, nothing from end_change on is seen by target.
    first_change constant bigint := pg_snapshot_xmin(base)::text::bigint + clock_offset;
    end_change   constant bigint := pg_snapshot_xmax(target)::text::bigint + clock_offset;
    rows_left      bigint := max_rows;
    rows_added     bigint;
    conversation   bigint;
    state          record;
    first_new_seq  bigint;
    from_part      integer := after_part;
    -- Within from_part; in the parts after it everything is past them.
    from_place     bigint := after_place;
    from_tie       bigint := after_tie;
begin
    for conversation in
        select changed.id from (
            select c.id from conversations c
            where c.kind = 'dialog' and c.low_user_id = asker
              and c.change >= first_change and not is_visible(base, c.change, clock_offset)
            union
            select c.id from conversations c
            where c.kind = 'dialog' and c.high_user_id = asker
              and c.change >= first_change and not is_visible(base, c.change, clock_offset)
            union
            select m.conversation_id from members m
            where m.user_id = asker and greatest(m.change, m.private_change) >= first_change
              and not (is_visible(base, m.change, clock_offset) and is_visible(base, m.private_change, clock_offset))
            union
            select m.conversation_id from members m
            where m.kind = 'dialog' and m.peer_id = asker
              and m.change >= first_change and not is_visible(base, m.change, clock_offset)
            union
            -- The groups of one user are few, and each is looked up.
            select me.conversation_id
            from members me
            join conversations c on c.id = me.conversation_id
            left join lateral (
                select true as is_there from members m
                where m.kind = 'group' and m.conversation_id = me.conversation_id
                  and m.change >= first_change and not is_visible(base, m.change, clock_offset)
                limit 1
            ) marker on true
            where me.kind = 'group' and me.user_id = asker
              and (marker.is_there or c.change >= first_change and not is_visible(base, c.change, clock_offset))
            union
            -- Also those that the asker is no longer in.
            select e.conversation_id from group_events e
            where e.user_id = asker and e.change >= first_change and not is_visible(base, e.change, clock_offset)
        ) changed (id)
        where changed.id >= after_conversation
        order by changed.id
    loop
        if conversation > after_conversation then
            from_part := 0;
        end if;
        select c.kind = 'group' as is_group, c.last_seq, me.user_id is not null as is_member,
               me.peer_id, me.cleared_seq, me.is_spam, me.is_removed, me.private_change
        into state
        from conversations c left join members me on me.conversation_id = c.id and me.user_id = asker
        where c.id = conversation;

        -- 1: changes of the members, in the order in which they happened.
        if state.is_group and from_part <= 1 then
            return query
            select conversation, 1, e.id, 0::bigint, e.kind, null::bigint, null::bigint, e.user_id, null::bigint,
                   null::timestamptz, null::boolean
            from group_events e
            where e.conversation_id = conversation and e.change >= first_change and e.change < end_change
              and (from_part < 1 or e.id > from_place)
              and not is_visible(base, e.change, clock_offset) and is_visible(target, e.change, clock_offset)
              and (state.is_member or e.user_id = asker)
            order by e.id limit rows_left;
            get diagnostics rows_added = row_count;
            rows_left := rows_left - rows_added;
            exit when rows_left = 0;
        end if;
        continue when not state.is_member;

        -- 2: new messages.
        first_new_seq := null;
        if from_part <= 2 then
            if from_part < 2 then
                first_new_seq := first_unseen_seq(conversation, state.cleared_seq, state.last_seq, base, clock_offset);
            end if;
            return query
            select conversation, 2, n.seq, 0::bigint, case when state.is_group then 'messageInGroup' else 'privateMessage' end,
                   state.peer_id, n.id, null::bigint, n.seq, null::timestamptz, null::boolean
            from (
                select m.id, m.seq, m.created_change from messages m
                where m.conversation_id = conversation
                  and m.seq > coalesce(first_new_seq - 1, from_place) and m.seq > state.cleared_seq
                order by m.seq limit rows_left
            ) n
            where is_visible(target, n.created_change, clock_offset)
            order by n.seq;
            get diagnostics rows_added = row_count;
            rows_left := rows_left - rows_added;
            exit when rows_left = 0;
        end if;

        -- 3: messages that were edited, deleted or reacted to. New messages are reported in their current state anyway.
        if from_part <= 3 and exists (
            select from message_changes c
            where c.conversation_id = conversation and c.change >= first_change and c.change < end_change
        ) then
            first_new_seq := coalesce(
                first_new_seq, first_unseen_seq(conversation, state.cleared_seq, state.last_seq, base, clock_offset));
            return query
            select conversation, 3, c.change, c.seq, c.kind, state.peer_id,
                   (select m.id from messages m where m.conversation_id = conversation and m.seq = c.seq),
                   null::bigint, c.seq, null::timestamptz, null::boolean
            from message_changes c
            where c.conversation_id = conversation and c.change < end_change
              and (c.change, c.seq) > (case when from_part < 3 then first_change else from_place end,
                                       case when from_part < 3 then 0 else from_tie end)
              and c.seq > state.cleared_seq and c.seq < first_new_seq
              and not is_visible(base, c.change, clock_offset) and is_visible(target, c.change, clock_offset)
            order by c.change, c.seq limit rows_left;
            get diagnostics rows_added = row_count;
            rows_left := rows_left - rows_added;
            exit when rows_left = 0;
        end if;

        -- 4: the markers: how far each member has read, and up to which messages were delivered.
        if from_part <= 4 then
            return query
            select conversation, 4, m.change, m.user_id * 2 + x.nth, x.kind, state.peer_id, null::bigint, m.user_id, x.seq, x.at,
                   null::boolean
            from (
                select m.* from members m
                where state.is_group and m.kind = 'group' and m.conversation_id = conversation
                  and m.change >= case when from_part < 4 then first_change else from_place end
                union all
                select m.* from members m
                where not state.is_group and m.kind = 'dialog' and m.conversation_id = conversation
            ) m
            cross join lateral (values (0, 'readMessages', m.read_seq, m.read_at::timestamptz),
                                       (1, 'deliveredMessages', m.delivered_seq, m.delivered_at::timestamptz)
            ) x (nth, kind, seq, at)
            where x.at is not null and (x.nth = 0 or m.delivered_seq > m.read_seq)
              and (from_part < 4 or (m.change, m.user_id * 2 + x.nth) > (from_place, from_tie))
              and m.change >= first_change and m.change < end_change
              and not is_visible(base, m.change, clock_offset) and is_visible(target, m.change, clock_offset)
            order by m.change, m.user_id * 2 + x.nth limit rows_left;
            get diagnostics rows_added = row_count;
            rows_left := rows_left - rows_added;
            exit when rows_left = 0;
        end if;

        -- 5: the asker's own settings of the conversation, perhaps made on another device.
        if not is_visible(base, state.private_change, clock_offset)
           and is_visible(target, state.private_change, clock_offset) then
            return query
            select conversation, 5, x.place, 0::bigint, x.kind, state.peer_id, null::bigint, null::bigint, state.cleared_seq,
                   null::timestamptz, state.is_spam
            from (values (1::bigint, 'markSpam', true), (2, 'removeConversation', state.is_removed)) x (place, kind, is_so)
            where x.is_so and (from_part < 5 or x.place > from_place)
            order by x.place limit rows_left;
            get diagnostics rows_added = row_count;
            rows_left := rows_left - rows_added;
            exit when rows_left = 0;
        end if;
    end loop;
end
$$;
