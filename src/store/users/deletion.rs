//! Account deletion, in batches.
//!
//! The first transaction deletes the account itself. The memberships, lists and notifications that refer to it follow
//! in transactions of some hundred rows, so that no conversation stays locked for long, however many groups the user
//! is in. `account_deletions` has a row for each deletion that is in progress, so that any node can continue what
//! another one has begun.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::Db;
use crate::error::Error;
use crate::model::UserId;
use crate::store::groups::members::{self, Departure, MemberChange};
use crate::store::{contacts, notifications};

/// Groups that one transaction leaves: its locks block all sends to them.
const MAX_GROUPS_PER_BATCH: i64 = 100;
/// Rows of each table that one transaction deletes.
const MAX_ROWS_PER_BATCH: i64 = 500;
/// Lease of a deletion in seconds: after so long without a batch its node counts as stopped, and another one may
/// claim the deletion. A node that was only slow does no harm, because a batch holds the lock of the deletion's row.
const LEASE_SECONDS: f64 = 3.0;

/// The result of one transaction of a deletion.
#[derive(Debug)]
pub struct DeletionBatch {
    /// The groups that the user was taken out of.
    pub departures: Vec<MemberChange>,
    /// How far the deletion is after it.
    pub progress: DeletionProgress,
}

/// How far a deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionProgress {
    /// There is more to delete.
    More,
    /// All that is left is locked by other transactions.
    Locked,
    /// Nothing refers to the account any more but what is meant to stay.
    Done,
}

/// Starts the deletion of an account: its row keeps the id, so that messages and reactions keep their author, and
/// loses all personal data; its sessions end. [`delete_batch`] does the rest. Returns the name that the user had;
/// `None` if the account was deleted before.
///
/// A transaction that stores a row which refers to a user holds a share lock on the user's row, so that the row is
/// stored before this commits, or not at all.
///
/// # Errors
/// Only if the database fails.
pub async fn start(db: &Db, user: UserId) -> Result<Option<String>, Error> {
    let mut tx = db.pool.begin().await?;
    let user_name =
        sqlx::query_scalar!("select name from users where id = $1 and deleted_at is null for no key update", user.0)
            .fetch_optional(&mut *tx)
            .await?;
    let Some(user_name) = user_name else { return Ok(None) };
    sqlx::query!(
        "update users set email = null, username = null, username_key = null, username_skeleton = null, first_name = null, last_name = null, password_hash = null,
                          last_seen_at = null, deleted_at = now(), updated_at = now()
         where id = $1",
        user.0
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("delete from sessions where user_id = $1", user.0).execute(&mut *tx).await?;
    sqlx::query!("insert into account_deletions (user_id) values ($1)", user.0).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Some(user_name))
}

/// Claims a deletion whose lease has run out. Returns the user and the name that a deleted user has; `None` if there
/// is none to claim.
///
/// # Errors
/// Only if the database fails.
pub async fn claim(db: &Db) -> Result<Option<(UserId, String)>, Error> {
    let claimed = sqlx::query!(
        r#"update account_deletions d set claimed_at = now()
           from users u
           where d.user_id = (select a.user_id from account_deletions a
                              where a.claimed_at < now() - make_interval(secs => $1)
                              order by a.claimed_at limit 1 for update skip locked)
             and u.id = d.user_id
           returning u.id as "id: UserId", u.name"#,
        LEASE_SECONDS
    )
    .fetch_optional(&db.pool)
    .await?;
    Ok(claimed.map(|row| (row.id, row.name)))
}

/// Deletes a batch of what refers to a deleted account: contacts and blocks of either side, notifications, and the
/// memberships in groups; `name` is the user's name in the pushes. The rules for a group that loses its last admin or
/// member are those of [`members::leave`]. Dialogs stay with the other side. Never waits for a row that another
/// transaction has locked.
///
/// # Errors
/// Only if the database fails.
pub async fn delete_batch(db: &Db, user: UserId, name: &str) -> Result<DeletionBatch, Error> {
    let mut tx = db.pool.begin().await?;
    // The row lock is held until the commit, so that two nodes never do the same batch.
    let claimed = sqlx::query!("update account_deletions set claimed_at = now() where user_id = $1", user.0)
        .execute(&mut *tx)
        .await?;
    if claimed.rows_affected() == 0 {
        return Ok(DeletionBatch { departures: Vec::new(), progress: DeletionProgress::Done });
    }
    let rows = contacts::delete_batch(&mut tx, user, MAX_ROWS_PER_BATCH).await?
        + notifications::delete_batch(&mut tx, user, MAX_ROWS_PER_BATCH).await?;
    // Last, because these locks block others.
    let departures = leave_groups(&mut tx, user, name).await?;
    let progress =
        if rows > 0 || !departures.is_empty() { DeletionProgress::More } else { finish(&mut tx, user).await? };
    tx.commit().await?;
    Ok(DeletionBatch { departures, progress })
}

async fn leave_groups(connection: &mut PgConnection, user: UserId, name: &str) -> Result<Vec<MemberChange>, Error> {
    let groups = sqlx::query!(
        r#"select c.id, c.name as "name!" from members m join conversations c on c.id = m.conversation_id
           where m.user_id = $1 and m.kind = 'group'
           order by m.conversation_id limit $2 for no key update of c skip locked"#,
        user.0,
        MAX_GROUPS_PER_BATCH
    )
    .fetch_all(&mut *connection)
    .await?;
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = groups.iter().map(|group| group.id).collect();
    let mut names: HashMap<i64, String> = groups.into_iter().map(|group| (group.id, group.name)).collect();
    let departures = members::leave_locked_groups(connection, &ids, user).await?;
    let change = |Departure { group, members, next_admin }| MemberChange {
        group_id: group,
        group_name: names.remove(&group.0).unwrap_or_default(),
        user_id: user,
        user_name: name.to_owned(),
        members,
        next_admin,
    };
    Ok(departures.into_iter().map(change).collect())
}

/// Completes a deletion, unless rows are left, all of which were locked.
async fn finish(connection: &mut PgConnection, user: UserId) -> Result<DeletionProgress, Error> {
    let finished = sqlx::query!(
        "delete from account_deletions
         where user_id = $1
           and not exists (select from members where user_id = $1 and kind = 'group')
           and not exists (select from contacts where user_id = $1)
           and not exists (select from contacts where contact_id = $1)
           and not exists (select from blocks where user_id = $1)
           and not exists (select from blocks where blocked_id = $1)
           and not exists (select from notifications where user_id = $1)",
        user.0
    )
    .execute(connection)
    .await?;
    Ok(if finished.rows_affected() == 1 { DeletionProgress::Done } else { DeletionProgress::Locked })
}
