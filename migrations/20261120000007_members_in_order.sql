-- Members in the order in which they came, the admins among them, a person's dialogs, and one more
-- thing that a deleted account does not keep.

-- A group's list of people, and who is next when the last admin has left.
create index members_by_joining on members (conversation_id, joined_at, user_id) where kind = 'group';
-- Whether a group has another admin, whatever its size.
create index admins_of_group on members (conversation_id, user_id) where is_admin;
-- All conversations of a person, one after the other; groups_of_user has the other half.
create index dialogs_of_user on members (user_id, conversation_id) where kind = 'dialog';

-- When somebody was last here is about them too.
alter table users drop constraint deleted_users_keep_nothing;
alter table users add constraint deleted_users_keep_nothing check (
    deleted_at is null or num_nonnulls(email, username, first_name, last_name, password_hash, last_seen_at) = 0);
