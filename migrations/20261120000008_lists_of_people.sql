-- What the lists of people and of notifications need: searching beside a group, and pages in order.

-- As before, and without the members of a group where one is named. Still a function for the sake of
-- its setting: whether the index pays depends on the pattern, so each call is planned with it in view.
-- A rare pattern is found by the index, a common one by going through the people until the page is full.
drop function search_users(text, bigint, bigint, bigint);

create function search_users(pattern text, asker bigint, outside_group bigint, rows bigint, skipped bigint)
returns setof users
language plpgsql stable set plan_cache_mode = force_custom_plan as $$
begin
    return query
    select * from users u
    where u.search_text like pattern and u.deleted_at is null and u.id <> asker
      and (outside_group is null or not exists (
          select from members m where m.conversation_id = outside_group and m.user_id = u.id))
    order by u.id limit rows offset skipped;
end
$$;

-- Both lists grow at their end, so that a page which was read stays what it was.
create index contacts_in_order on contacts (user_id, created_at, contact_id);
create index blocks_in_order on blocks (user_id, created_at, blocked_id);

alter table notifications add constraint nobody_notifies_themselves check (user_id <> sender_id);

-- Reading all of them costs what is unread, not what ever came.
create index unread_notifications on notifications (user_id, id) where read_at is null;
