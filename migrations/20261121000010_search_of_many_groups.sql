-- A search of somebody who is in very many groups: the query for the index had a term for each of them.
-- With twenty thousand PostgreSQL ran out of stack.

drop function search_indexed(bigint, bigint, text, bigint, bigint, bigint, bigint);

-- The newest messages of these eras, or of all where they are null, that may match and that `asker` may
-- read, in `place` alone unless that is null; at most `many` from `below` down. The index finds all that
-- match before the newest of them are known, so who looks for a frequent word begins with the last era.
--
-- A person's groups are asked of the index only where they are few. Where they are many, the index is asked
-- for the words alone, and of what it finds the newest `at_most` are looked up in `members`; if there are
-- more, `reached` is the last of these.
--
-- A plan for every search: what is cheapest depends on how frequent its words are. The ids are found
-- first and sorted afterwards: a walk down the primary key, as a planner that takes a word for frequent
-- would like it, ends at once where it is right and reads everything where it is not.
create function search_index(
    asker bigint, place bigint, wanted text, first_era bigint, last_era bigint, below bigint, many bigint, at_most bigint
) returns table (ids bigint[], reached bigint) language plpgsql stable set plan_cache_mode = force_custom_plan as $$
declare
    few constant bigint := 1000;
    narrowed tsquery := wanted::tsquery;
    readable tsquery;
    groups   bigint[];
begin
    if place is not null then
        readable := format('''#%s''', place)::tsquery;
    else
        select coalesce(array_agg(g.conversation_id), '{}') into groups
        from (select m.conversation_id from members m where m.user_id = asker and m.kind = 'group' limit few + 1) g;
        if cardinality(groups) <= few then
            select (coalesce(string_agg(format('''#%s'' | ', g.id), ''), '') || format('''@%s''', asker))::tsquery
            into readable
            from unnest(groups) g (id);
        end if;
    end if;
    if first_era is not null then
        narrowed := narrowed && (select string_agg(format('''~%s''', era), ' | ')::tsquery
                                 from generate_series(first_era, last_era) era);
    end if;
    if readable is null then
        return query
        with found as materialized (
            select w.message_id from message_words w where w.words @@ narrowed and w.message_id < below
        ), newest as materialized (
            select f.message_id from found f order by f.message_id desc limit at_most
        )
        select (select coalesce(array_agg(n.message_id order by n.message_id desc), '{}') from newest n
                where exists (select from messages m
                              join members me on me.conversation_id = m.conversation_id and me.user_id = asker
                              where m.id = n.message_id)),
               case when (select count(*) from newest) >= at_most then (select min(n.message_id) from newest n) end;
    else
        return query
        -- Two conditions, because the index skips from what one finds to what the other does; of a
        -- single one it would look at everything that is readable.
        with found as materialized (
            select w.message_id from message_words w
            where w.words @@ narrowed and w.words @@ readable and w.message_id < below
        ), newest as (
            select f.message_id from found f order by f.message_id desc limit many
        )
        select coalesce(array_agg(n.message_id order by n.message_id desc), '{}'), null::bigint from newest n;
    end if;
end
$$;
