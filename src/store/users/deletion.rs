//! The end of an account, in portions. The first transaction deletes the account itself; the groups,
//! lists and notifications that refer to it follow in transactions of some hundred rows, so that no
//! conversation stays locked for as long as somebody's groups are many. `account_deletions` holds the
//! accounts that are not done, so that any node can go on where another one was stopped.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::Db;
use crate::error::Error;
use crate::model::UserId;
use crate::store::groups::members::{self, Left, MemberChange};
use crate::store::{contacts, notifications};

/// Groups that one transaction leaves: it holds up whoever writes there.
const GROUPS_PER_PORTION: i64 = 100;
/// Rows of each list that one transaction deletes.
const ROWS_PER_PORTION: i64 = 500;
/// A deletion that was not worked on for so many seconds has lost its node. A node that was only slow
/// does no harm: a portion is done under the lock of the deletion's row.
const LEASE_SECONDS: f64 = 3.0;

/// What one transaction has done.
#[derive(Debug)]
pub struct Portion {
    /// The groups that were left, and who stays there.
    pub left: Vec<MemberChange>,
    /// What is to be done after it.
    pub progress: Progress,
}

/// How far a deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to delete.
    More,
    /// Somebody else has locked all that is left.
    Locked,
    /// Nothing refers to the account any more but what is meant to stay.
    Done,
}

/// Deletes an account: the row keeps its id, so that messages and reactions keep their author, and
/// loses all that says who it was; its sessions end. [`delete_portion`] does the rest. Gives back the
/// name that it had; `None` where it was deleted before.
///
/// Whoever lets another row refer to a user holds a share lock on the user's row, so that it is there
/// before this commits, or not at all.
///
/// # Errors
/// Only where the database fails.
pub async fn begin(db: &Db, user: UserId) -> Result<Option<String>, Error> {
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

/// Takes over a deletion that nobody works on. Gives back whose it is, and the name that is left to them.
///
/// # Errors
/// Only where the database fails.
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

/// Deletes a portion of what refers to a deleted account: lists that the person was on, what was only
/// theirs, and their membership in groups, which `name` is said to have left. A group that loses its
/// last admin this way gets its longest-standing member as one, and a group without members ends.
/// Dialogs stay with the others. Never waits for rows that somebody else has locked.
///
/// # Errors
/// Only where the database fails.
pub async fn delete_portion(db: &Db, user: UserId, name: &str) -> Result<Portion, Error> {
    let mut tx = db.pool.begin().await?;
    // Held to the commit: two nodes never do the same portion.
    let claimed = sqlx::query!("update account_deletions set claimed_at = now() where user_id = $1", user.0)
        .execute(&mut *tx)
        .await?;
    if claimed.rows_affected() == 0 {
        return Ok(Portion { left: Vec::new(), progress: Progress::Done });
    }
    let rows = contacts::delete_portion(&mut tx, user, ROWS_PER_PORTION).await?
        + notifications::delete_portion(&mut tx, user, ROWS_PER_PORTION).await?;
    // Last, because these locks hold others up.
    let left = leave_groups(&mut tx, user, name).await?;
    let progress = if rows > 0 || !left.is_empty() { Progress::More } else { finish(&mut tx, user).await? };
    tx.commit().await?;
    Ok(Portion { left, progress })
}

async fn leave_groups(connection: &mut PgConnection, user: UserId, name: &str) -> Result<Vec<MemberChange>, Error> {
    let groups = sqlx::query!(
        r#"select c.id, c.name as "name!" from members m join conversations c on c.id = m.conversation_id
           where m.user_id = $1 and m.kind = 'group'
           order by m.conversation_id limit $2 for no key update of c skip locked"#,
        user.0,
        GROUPS_PER_PORTION
    )
    .fetch_all(&mut *connection)
    .await?;
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = groups.iter().map(|group| group.id).collect();
    let mut names: HashMap<i64, String> = groups.into_iter().map(|group| (group.id, group.name)).collect();
    let left = members::leave_locked(connection, &ids, user).await?;
    let change = |Left { group, members, next_admin }| MemberChange {
        group_id: group,
        group_name: names.remove(&group.0).unwrap_or_default(),
        user_id: user,
        user_name: name.to_owned(),
        members,
        next_admin,
    };
    Ok(left.into_iter().map(change).collect())
}

/// Ends a deletion, unless there are rows left, all of which were locked.
async fn finish(connection: &mut PgConnection, user: UserId) -> Result<Progress, Error> {
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
    Ok(if finished.rows_affected() == 1 { Progress::Done } else { Progress::Locked })
}
