-- What has changed for somebody between two snapshots, for `sync`: a page costs its rows and the
-- number of conversations that have changed, however long these are and however many have not.
--
-- The functions are stable, so that all of a call sees one snapshot. It may be later than `target`:
-- what was changed once more since `target` is left out here, and is between `target` and the next one.

-- Pages go on behind the last row, also where one transaction has changed many messages.
drop index message_changes_in_order;
create index message_changes_in_order on message_changes (conversation_id, change, seq);

-- The first message of a conversation that a snapshot does not see; to_seq + 1 where it sees them all.
-- Messages become visible in the order of `seq`, so that those are at its end: steps that double lead
-- back to what is seen, halves from there to the border.
create function first_unseen_seq(conversation bigint, from_seq bigint, to_seq bigint, base pg_snapshot, shift bigint)
returns bigint language plpgsql stable set plan_cache_mode = force_generic_plan as $$
declare
    seen   bigint := from_seq;
    unseen bigint := to_seq + 1;
    step   bigint := 1;
    probe  bigint;
    number bigint;
begin
    while unseen - seen > 1 loop
        probe := greatest(unseen - step, (seen + unseen) / 2);
        select m.created_in into number from messages m where m.conversation_id = conversation and m.seq = probe;
        if sees(base, number, shift) then
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

-- At most at_most rows, in the order of conversation_id, part, place and tie; those that the four
-- after_… name, and the ones before it, are left out.
create function changes_since(
    asker bigint, base pg_snapshot, target pg_snapshot,
    after_conversation bigint, after_part integer, after_place bigint, after_tie bigint, at_most bigint
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
    shift constant bigint := (select c.shift from change_clock c);
    -- Nothing below is unseen by base, nothing from `until` on seen by target.
    since constant bigint := pg_snapshot_xmin(base)::text::bigint + shift;
    until constant bigint := pg_snapshot_xmax(target)::text::bigint + shift;
    room      bigint := at_most;
    got       bigint;
    here      bigint;
    state     record;
    new_from  bigint;
    from_part integer := after_part;
    -- Within from_part; in the parts behind it everything is past them.
    from_place bigint := after_place;
    from_tie   bigint := after_tie;
begin
    for here in
        select changed.id from (
            select c.id from conversations c
            where c.kind = 'dialog' and c.low_user_id = asker and c.change >= since and not sees(base, c.change, shift)
            union
            select c.id from conversations c
            where c.kind = 'dialog' and c.high_user_id = asker and c.change >= since and not sees(base, c.change, shift)
            union
            select m.conversation_id from members m
            where m.user_id = asker and greatest(m.change, m.own_change) >= since
              and not (sees(base, m.change, shift) and sees(base, m.own_change, shift))
            union
            select m.conversation_id from members m
            where m.kind = 'dialog' and m.peer_id = asker and m.change >= since and not sees(base, m.change, shift)
            union
            -- The groups of one person are few, and each is asked.
            select me.conversation_id
            from members me
            join conversations c on c.id = me.conversation_id
            left join lateral (
                select true as is_there from members m
                where m.kind = 'group' and m.conversation_id = me.conversation_id
                  and m.change >= since and not sees(base, m.change, shift)
                limit 1
            ) marker on true
            where me.kind = 'group' and me.user_id = asker
              and (marker.is_there or c.change >= since and not sees(base, c.change, shift))
            union
            -- Also those that the asker is no longer in.
            select e.conversation_id from group_events e
            where e.user_id = asker and e.change >= since and not sees(base, e.change, shift)
        ) changed (id)
        where changed.id >= after_conversation
        order by changed.id
    loop
        if here > after_conversation then
            from_part := 0;
        end if;
        select c.kind = 'group' as is_group, c.last_seq, me.user_id is not null as is_member,
               me.peer_id, me.cleared_seq, me.is_spam, me.is_removed, me.own_change
        into state
        from conversations c left join members me on me.conversation_id = c.id and me.user_id = asker
        where c.id = here;

        -- 1: who came and went, in the order in which it happened.
        if state.is_group and from_part <= 1 then
            return query
            select here, 1, e.id, 0::bigint, e.kind, null::bigint, null::bigint, e.user_id, null::bigint, null::timestamptz,
                   null::boolean
            from group_events e
            where e.conversation_id = here and e.change >= since and e.change < until
              and (from_part < 1 or e.id > from_place)
              and not sees(base, e.change, shift) and sees(target, e.change, shift)
              and (state.is_member or e.user_id = asker)
            order by e.id limit room;
            get diagnostics got = row_count;
            room := room - got;
            exit when room = 0;
        end if;
        continue when not state.is_member;

        -- 2: new messages.
        new_from := null;
        if from_part <= 2 then
            if from_part < 2 then
                new_from := first_unseen_seq(here, state.cleared_seq, state.last_seq, base, shift);
            end if;
            return query
            select here, 2, n.seq, 0::bigint, case when state.is_group then 'messageInGroup' else 'privateMessage' end,
                   state.peer_id, n.id, null::bigint, n.seq, null::timestamptz, null::boolean
            from (
                select m.id, m.seq, m.created_in from messages m
                where m.conversation_id = here and m.seq > coalesce(new_from - 1, from_place) and m.seq > state.cleared_seq
                order by m.seq limit room
            ) n
            where sees(target, n.created_in, shift)
            order by n.seq;
            get diagnostics got = row_count;
            room := room - got;
            exit when room = 0;
        end if;

        -- 3: messages that were edited, deleted or reacted to. What is new was told of as it is now.
        if from_part <= 3 and exists (
            select from message_changes c where c.conversation_id = here and c.change >= since and c.change < until
        ) then
            new_from := coalesce(new_from, first_unseen_seq(here, state.cleared_seq, state.last_seq, base, shift));
            return query
            select here, 3, c.change, c.seq, c.kind, state.peer_id,
                   (select m.id from messages m where m.conversation_id = here and m.seq = c.seq),
                   null::bigint, c.seq, null::timestamptz, null::boolean
            from message_changes c
            where c.conversation_id = here and c.change < until
              and (c.change, c.seq) > (case when from_part < 3 then since else from_place end,
                                       case when from_part < 3 then 0 else from_tie end)
              and c.seq > state.cleared_seq and c.seq < new_from
              and not sees(base, c.change, shift) and sees(target, c.change, shift)
            order by c.change, c.seq limit room;
            get diagnostics got = row_count;
            room := room - got;
            exit when room = 0;
        end if;

        -- 4: how far everybody has read, and how far messages have reached them.
        if from_part <= 4 then
            return query
            select here, 4, m.change, m.user_id * 2 + x.nth, x.kind, state.peer_id, null::bigint, m.user_id, x.seq, x.at,
                   null::boolean
            from (
                select m.* from members m
                where state.is_group and m.kind = 'group' and m.conversation_id = here
                  and m.change >= case when from_part < 4 then since else from_place end
                union all
                select m.* from members m
                where not state.is_group and m.kind = 'dialog' and m.conversation_id = here
            ) m
            cross join lateral (values (0, 'readMessages', m.read_seq, m.read_at::timestamptz),
                                       (1, 'deliveredMessages', m.delivered_seq, m.delivered_at::timestamptz)
            ) x (nth, kind, seq, at)
            where x.at is not null and (x.nth = 0 or m.delivered_seq > m.read_seq)
              and (from_part < 4 or (m.change, m.user_id * 2 + x.nth) > (from_place, from_tie))
              and m.change >= since and m.change < until
              and not sees(base, m.change, shift) and sees(target, m.change, shift)
            order by m.change, m.user_id * 2 + x.nth limit room;
            get diagnostics got = row_count;
            room := room - got;
            exit when room = 0;
        end if;

        -- 5: what the asker wants of it, said on another device perhaps.
        if not sees(base, state.own_change, shift) and sees(target, state.own_change, shift) then
            return query
            select here, 5, x.place, 0::bigint, x.kind, state.peer_id, null::bigint, null::bigint, state.cleared_seq,
                   null::timestamptz, state.is_spam
            from (values (1::bigint, 'markSpam', true), (2, 'removeConversation', state.is_removed)) x (place, kind, is_so)
            where x.is_so and (from_part < 5 or x.place > from_place)
            order by x.place limit room;
            get diagnostics got = row_count;
            room := room - got;
            exit when room = 0;
        end if;
    end loop;
end
$$;
