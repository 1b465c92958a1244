//! Quotas of groups: how many groups a user may be in, and how many of them strangers may have added the user to.
//!
//! Strangers have a small quota of their own, and each stranger a smaller one: so they cannot use up the places
//! for groups to which the user is added by people whom the user knows.

use sqlx::PgConnection;

use crate::config::Limits;
use crate::error::{Code, Error, Field};
use crate::model::UserId;

/// A user whose account is not deleted. While the row is locked, the account is not deleted and no other
/// transaction adds the user to a group.
#[derive(Debug)]
pub(super) struct ExistingUser {
    pub(super) id: i64,
    pub(super) name: String,
}

/// Locks the rows of users in the order of their ids; deleted users are left out. Call it before the lock of a group
/// is taken.
pub(super) async fn lock_users(connection: &mut PgConnection, users: &[i64]) -> Result<Vec<ExistingUser>, Error> {
    Ok(sqlx::query_as!(
        ExistingUser,
        "select id, name from users where id = any($1) and deleted_at is null order by id for no key update",
        users
    )
    .fetch_all(connection)
    .await?)
}

/// As [`lock_users`], without the locks.
pub(super) async fn find_users(connection: &mut PgConnection, users: &[i64]) -> Result<Vec<ExistingUser>, Error> {
    Ok(sqlx::query_as!(
        ExistingUser,
        "select id, name from users where id = any($1) and deleted_at is null order by id",
        users
    )
    .fetch_all(connection)
    .await?)
}

/// Checks that a user may be in one more group, which they create.
///
/// # Errors
/// `conflict` if they are in the maximum number of groups.
pub(super) async fn check_creator(connection: &mut PgConnection, user: UserId, limits: &Limits) -> Result<(), Error> {
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

/// Checks that `by` may add these users, who are locked and not members, to a group. `field` names them in the
/// request.
///
/// A user knows `by` if they have `by` as a contact or have written to `by`; otherwise `by` is a stranger to them.
///
/// # Errors
/// `blocked` if one of them has blocked `by`; `conflict` if one is in the maximum number of groups, or has reached a
/// quota of strangers and does not know `by`.
pub(super) async fn check_added(
    connection: &mut PgConnection,
    by: UserId,
    users: &[i64],
    field: Field,
    limits: &Limits,
) -> Result<(), Error> {
    let or_unlimited = |limit: i64| if limit == 0 { i64::MAX } else { limit };
    let max_groups = or_unlimited(limits.max_groups_per_user);
    let max_from_strangers = or_unlimited(limits.max_groups_from_strangers);
    let max_from_one = or_unlimited(limits.max_groups_from_one_stranger);
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
        max_groups
    )
    .fetch_all(&mut *connection)
    .await?;
    for user in &found {
        if user.is_blocked {
            let named = format!(": user {} does not take anything from you", user.id);
            return Err(if users.len() == 1 { Error::blocked() } else { Error::of_field(Code::Blocked, field, named) });
        }
        if user.groups >= max_groups {
            return Err(quota_reached(field, user.id, "is in as many groups as one may be in"));
        }
    }
    // A user in fewer groups than the smallest quota has reached none, so that nothing need be counted.
    let smallest_quota = max_from_strangers.min(max_from_one);
    let to_count: Vec<i64> =
        found.iter().filter(|user| !user.is_known && user.groups >= smallest_quota).map(|user| user.id).collect();
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
        if user.from_one >= max_from_one {
            return Err(quota_reached(
                field,
                user.id,
                "does not know you, and is in as many groups of yours as such a user may be",
            ));
        }
        if user.from_strangers >= max_from_strangers {
            return Err(quota_reached(
                field,
                user.id,
                "does not know you, and is in as many groups of strangers as one may be in",
            ));
        }
    }
    Ok(())
}

/// The error that `user` has reached a quota; `why` follows in the sentence.
fn quota_reached(field: Field, user: i64, why: &str) -> Error {
    Error::of_field(Code::Conflict, field, format!(": user {user} {why}"))
}

/// Checks that a group may have this many members.
///
/// # Errors
/// `conflict` if that is more than the limit.
pub(super) fn check_group_size(members: usize, field: Field, limits: &Limits) -> Result<(), Error> {
    let max = limits.max_group_members;
    if max > 0 && members > max {
        return Err(Error::of_field(Code::Conflict, field, format!(": a group has at most {max} members")));
    }
    Ok(())
}
