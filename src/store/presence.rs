//! What presence and typing ask of the database: who watches a user's presence, whom a user may ask about,
//! and when users were last online.

use std::collections::HashMap;

use super::Db;
use crate::error::{Error, Field};
use crate::model::{Target, Timestamp, UserId};

/// The users whom changes of one user's presence are pushed to, and those to whom they are never pushed.
#[derive(Clone, Debug, Default)]
pub struct PresenceWatchers {
    /// The user's contacts, in the order of their ids.
    pub contacts: Vec<UserId>,
    /// The users whom this user has blocked, in the order of their ids.
    pub blocked: Vec<UserId>,
}

/// Loads the watchers of several users; a user without contacts and blocks has no entry.
///
/// # Errors
/// Only if the database fails.
pub async fn load_watchers(db: &Db, users: &[UserId]) -> Result<HashMap<UserId, PresenceWatchers>, Error> {
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
    let mut watchers: HashMap<UserId, PresenceWatchers> = HashMap::new();
    for row in rows {
        let of_user = watchers.entry(row.user_id).or_default();
        if row.is_blocked { &mut of_user.blocked } else { &mut of_user.contacts }.push(row.other_id);
    }
    Ok(watchers)
}

/// Stores when users were last online; of several moments of one user, the latest.
///
/// # Errors
/// Only if the database fails.
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

/// A user whose presence the asker may see.
#[derive(Debug)]
pub struct KnownUser {
    /// The user.
    pub id: UserId,
    /// When the user was last online, as it was stored; a user who is online now may have an older one.
    pub last_seen_at: Option<Timestamp>,
    /// Whether the user has blocked the asker, to whom they always appear offline.
    pub has_blocked: bool,
}

/// Lists those of `users` who share a conversation with the asker, are a contact of the asker or have the
/// asker as a contact, and the asker. Deleted accounts are left out.
///
/// # Errors
/// Only if the database fails.
pub async fn list_known_users(db: &Db, asker: UserId, users: &[UserId]) -> Result<Vec<KnownUser>, Error> {
    let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
    // The asker's groups are read once, and those of each user looked up in them. `is true` keeps the planner
    // from making that a join, and a subquery other than `exists` from reading a list of all members.
    Ok(sqlx::query_as!(
        KnownUser,
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

/// Checks that a user may show a typing indicator to the others in a conversation.
///
/// # Errors
/// `not_found` if there is no such user or group, `not_a_member`, `blocked`.
pub async fn ensure_may_type(db: &Db, user: UserId, target: Target) -> Result<(), Error> {
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
