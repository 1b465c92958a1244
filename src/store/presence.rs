//! Who is to hear of somebody's coming and going, who may ask, and when people were last here.

use std::collections::HashMap;

use super::Db;
use crate::error::{Error, Field};
use crate::model::{Target, Timestamp, UserId};

/// Whom somebody's coming and going is told to, and whom never; both in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct Acquaintances {
    /// Their contacts.
    pub contacts: Vec<UserId>,
    /// Whom they have blocked.
    pub blocked: Vec<UserId>,
}

/// The acquaintances of several people at once.
///
/// # Errors
/// Only where the database fails.
pub async fn acquaintances(db: &Db, users: &[UserId]) -> Result<HashMap<UserId, Acquaintances>, Error> {
    let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
    let rows = sqlx::query!(
        r#"select user_id as "user_id!: UserId", contact_id as "other_id!: UserId", false as "is_blocked!"
           from contacts where user_id = any($1)
           union all
           select user_id, blocked_id, true from blocks where user_id = any($1)
           order by 2"#,
        &ids
    )
    .fetch_all(&db.pool)
    .await?;
    let mut all: HashMap<UserId, Acquaintances> = HashMap::new();
    for row in rows {
        let of = all.entry(row.user_id).or_default();
        if row.is_blocked { &mut of.blocked } else { &mut of.contacts }.push(row.other_id);
    }
    Ok(all)
}

/// Notes when people were last here.
///
/// # Errors
/// Only where the database fails.
pub async fn set_last_seen(db: &Db, seen: &[(UserId, Timestamp)]) -> Result<(), Error> {
    let (ids, moments): (Vec<i64>, Vec<_>) = seen.iter().map(|(user, at)| (user.0, at.0)).unzip();
    sqlx::query!(
        "with locked as (
             select u.id, s.at
             from (select n.id, max(n.at) as at from unnest($1::bigint[], $2::timestamptz[]) as n (id, at) group by n.id) s
             join users u on u.id = s.id
             where u.deleted_at is null order by u.id for no key update of u
         )
         update users u set last_seen_at = l.at from locked l where u.id = l.id",
        &ids,
        &moments
    )
    .execute(&db.pool)
    .await?;
    Ok(())
}

/// Somebody whom the asker may ask about.
#[derive(Debug)]
pub struct Known {
    /// Who.
    pub id: UserId,
    /// When they were last here, before they came.
    pub last_seen_at: Option<Timestamp>,
    /// Whether they have blocked the asker, who is never told that they are here.
    pub has_blocked: bool,
}

/// Those of these people with whom the asker shares a conversation or a contact, and the asker.
///
/// # Errors
/// Only where the database fails.
pub async fn known(db: &Db, asker: UserId, users: &[UserId]) -> Result<Vec<Known>, Error> {
    let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
    // The asker's groups are read once, and those of each person looked up in them: `is true` keeps that
    // from becoming a join, and a subquery that is no `exists` is not turned into a list of all members.
    Ok(sqlx::query_as!(
        Known,
        r#"select u.id, u.last_seen_at as "last_seen_at?: _",
                  exists (select from blocks b where b.user_id = u.id and b.blocked_id = $1) as "has_blocked!"
           from users u
           where u.id = any($2) and u.deleted_at is null and (
               u.id = $1
               or exists (select from contacts c where c.user_id = $1 and c.contact_id = u.id)
               or exists (select from contacts c where c.user_id = u.id and c.contact_id = $1)
               or exists (select from conversations c
                          where c.low_user_id = least(u.id, $1) and c.high_user_id = greatest(u.id, $1))
               or (select true from members theirs
                   where theirs.user_id = u.id and theirs.kind = 'group' and (theirs.conversation_id in (
                       select mine.conversation_id from members mine
                       where mine.user_id = $1 and mine.kind = 'group')) is true
                   limit 1))"#,
        asker.0,
        &ids
    )
    .fetch_all(&db.pool)
    .await?)
}

/// Whether somebody may let the others in a conversation see that they write.
///
/// # Errors
/// `not_found` where there is no such user or group, `not_a_member`, `blocked`.
pub async fn may_be_seen(db: &Db, user: UserId, target: Target) -> Result<(), Error> {
    match target {
        Target::User(other) => {
            let blocked = sqlx::query_scalar!(
                r#"select exists (select from blocks where user_id = $2 and blocked_id = $1) as "is_blocked!"
                   from users where id = $2 and deleted_at is null"#,
                user.0,
                other.0
            );
            match blocked.fetch_optional(&db.pool).await? {
                Some(false) => Ok(()),
                Some(true) => Err(Error::blocked()),
                None => Err(Error::no_such_user(Field::ReceiverId)),
            }
        }
        Target::Group(_) => super::conversations::visible_range(db, user, target).await.map(drop),
    }
}
