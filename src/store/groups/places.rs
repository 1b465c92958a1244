//! Into how many groups somebody may be put, and by whom. Strangers have places of their own, few of
//! them, and each stranger fewer: whoever fills them takes none from the people one knows.

use sqlx::PgConnection;

use crate::config::Limits;
use crate::error::{Code, Error, Field};
use crate::model::UserId;

/// Somebody whose account is there. While their row is locked it stays, and nobody else puts them into a group.
#[derive(Debug)]
pub(in crate::store) struct FoundUser {
    pub(in crate::store) id: i64,
    pub(in crate::store) name: String,
}

/// Locks people in the order of their ids; those who are gone are left out. Belongs before the lock of a
/// group.
pub(in crate::store) async fn lock(connection: &mut PgConnection, users: &[i64]) -> Result<Vec<FoundUser>, Error> {
    Ok(sqlx::query_as!(
        FoundUser,
        "select id, name from users where id = any($1) and deleted_at is null order by id for no key update",
        users
    )
    .fetch_all(connection)
    .await?)
}

/// The same people, without a lock.
pub(in crate::store) async fn find(connection: &mut PgConnection, users: &[i64]) -> Result<Vec<FoundUser>, Error> {
    Ok(sqlx::query_as!(
        FoundUser,
        "select id, name from users where id = any($1) and deleted_at is null order by id",
        users
    )
    .fetch_all(connection)
    .await?)
}

/// Whether somebody may be in one more group that they make.
///
/// # Errors
/// `conflict` where they are in as many as one may be.
pub(in crate::store) async fn check_own(
    connection: &mut PgConnection,
    user: UserId,
    limits: &Limits,
) -> Result<(), Error> {
    if limits.max_groups_per_user == 0 {
        return Ok(());
    }
    let groups = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (
               select from members where user_id = $1 and kind = 'group' limit $2) g"#,
        user.0,
        limits.max_groups_per_user
    )
    .fetch_one(connection)
    .await?;
    if groups >= limits.max_groups_per_user {
        return Err(Error::new(
            Code::Conflict,
            format!("You are in {groups} groups, as many as one may be in; leave one first"),
        ));
    }
    Ok(())
}

/// Whether `by` may put these people, who are locked and not in it, into a group. `field` is the one that
/// names them.
///
/// # Errors
/// `blocked` where one of them takes nothing from `by`, `conflict` where one is in as many groups as they
/// may be, or as `by` may put them into.
pub(in crate::store) async fn check(
    connection: &mut PgConnection,
    by: UserId,
    users: &[i64],
    field: Field,
    limits: &Limits,
) -> Result<(), Error> {
    let or_any = |limit: i64| if limit == 0 { i64::MAX } else { limit };
    let in_all = or_any(limits.max_groups_per_user);
    let from_strangers = or_any(limits.max_groups_from_strangers);
    let from_one = or_any(limits.max_groups_from_one_stranger);
    let found = sqlx::query!(
        r#"select u.id as "id!",
                  exists (select from blocks b where b.user_id = u.id and b.blocked_id = $1) as "is_blocked!",
                  (exists (select from contacts c where c.user_id = u.id and c.contact_id = $1)
                   or exists (select from conversations d
                              where d.low_user_id = least(u.id, $1) and d.high_user_id = greatest(u.id, $1)
                                and (d.low_sent > 0 and u.id = d.low_user_id
                                     or d.last_seq > d.low_sent and u.id = d.high_user_id)))
                      as "is_known!",
                  (select count(*) from (
                       select from members m where m.user_id = u.id and m.kind = 'group' limit $3) g) as "groups!"
           from unnest($2::bigint[]) u (id)"#,
        by.0,
        users,
        in_all
    )
    .fetch_all(&mut *connection)
    .await?;
    for user in &found {
        if user.is_blocked {
            let named = format!(": user {} does not take anything from you", user.id);
            return Err(if users.len() == 1 { Error::blocked() } else { Error::of_field(Code::Blocked, field, named) });
        }
        if user.groups >= in_all {
            return Err(full(field, user.id, "is in as many groups as one may be in"));
        }
    }
    // Who is in fewer groups than that has room for a stranger's, whoever made them.
    let fewest = from_strangers.min(from_one);
    let to_count: Vec<i64> =
        found.iter().filter(|user| !user.is_known && user.groups >= fewest).map(|user| user.id).collect();
    if to_count.is_empty() {
        return Ok(());
    }
    let counted = sqlx::query!(
        r#"select u.id as "id!", count(*) filter (where m.added_by = $1) as "from_one!", count(*) as "from_strangers!"
           from unnest($2::bigint[]) u (id)
           join members m on m.user_id = u.id and m.kind = 'group' and m.added_by <> u.id
           where not exists (select from contacts c where c.user_id = u.id and c.contact_id = m.added_by)
             and not exists (select from conversations d
                             where d.low_user_id = least(u.id, m.added_by) and d.high_user_id = greatest(u.id, m.added_by)
                               and (d.low_sent > 0 and u.id = d.low_user_id
                                    or d.last_seq > d.low_sent and u.id = d.high_user_id))
           group by u.id"#,
        by.0,
        &to_count
    )
    .fetch_all(connection)
    .await?;
    for user in counted {
        if user.from_one >= from_one {
            return Err(full(
                field,
                user.id,
                "does not know you, and is in as many groups of yours as such a user may be",
            ));
        }
        if user.from_strangers >= from_strangers {
            return Err(full(
                field,
                user.id,
                "does not know you, and is in as many groups of strangers as one may be in",
            ));
        }
    }
    Ok(())
}

fn full(field: Field, user: i64, why: &str) -> Error {
    Error::of_field(Code::Conflict, field, format!(": user {user} {why}"))
}

/// Whether a group may have so many members.
///
/// # Errors
/// `conflict` where these are too many.
pub(in crate::store) fn check_size(members: usize, field: Field, limits: &Limits) -> Result<(), Error> {
    let most = limits.max_group_members;
    if most > 0 && members > most {
        return Err(Error::of_field(Code::Conflict, field, format!(": a group has at most {most} members")));
    }
    Ok(())
}
