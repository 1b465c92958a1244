-- Reading all notifications at once is one row, however many there are: they were rows to be changed, and a
-- list that somebody else had filled with millions could not be read any more.

-- What came to this person up to this id was read then, unless it was read before: each has the first of
-- these that reaches it.
create table notification_reads (
    user_id bigint not null references users,
    up_to   bigint not null,
    read_at timestamptz(3) not null,

    primary key (user_id, up_to)
);

-- When a notification was read, by itself or with all others.
create function notification_read_at(n notifications) returns timestamptz language sql stable as
    'select coalesce(n.read_at, (select r.read_at from notification_reads r
                                 where r.user_id = n.user_id and r.up_to >= n.id order by r.up_to limit 1))';

-- How much of one sender somebody has not read yet.
create index unread_notifications_by_sender on notifications (user_id, sender_id, id) where read_at is null;
