-- Who is no longer in a group reads what concerned them with the name that it had then: what it is called
-- now is for its members.
alter table group_events add column group_name text not null default '';
comment on column group_events.group_name is 'what the group was called when it happened; empty where that is not known any more';

-- What was noted before: the name of now, unless the group was renamed since.
update group_events e set group_name = c.name
from conversations c
where c.id = e.conversation_id and c.name is not null and not exists (
    select from group_events r where r.conversation_id = e.conversation_id and r.kind = 'renameGroup' and r.id > e.id);
