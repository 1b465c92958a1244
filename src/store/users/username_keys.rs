//! Keys of usernames: two names with one key are the same to a sign-up and a sign-in. Accounts from before keys were
//! stored are backfilled here, because the key is computed in Rust and no migration can do that.

use sqlx::PgConnection;

use super::Db;
use crate::error::Error;
use crate::model::{username_key, username_skeleton};

/// Rows that are read at once.
const ROWS_PER_BATCH: i64 = 1_000;

impl Db {
    /// Stores the keys of usernames that have none, which every server does before it serves. Of several names that
    /// look the same the oldest account gets the key; the others sign in with their exact letters alone. Several
    /// nodes may do so at once.
    ///
    /// # Errors
    /// Only if the database fails.
    pub async fn backfill_username_keys(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        loop {
            let rows = sqlx::query!(
                r#"select id, username as "username!" from users
                   where username is not null and username_key is null order by id limit $1"#,
                ROWS_PER_BATCH
            )
            .fetch_all(&mut *connection)
            .await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                let (key, skeleton) = (username_key(&row.username), username_skeleton(&row.username));
                let is_stored = store_key(&mut connection, row.id, &key, Some(&skeleton)).await?
                    || store_key(&mut connection, row.id, &legacy_key(&row.username), None).await?;
                // Names that differ in case alone were distinct if the database's locale did not know their letters.
                if !is_stored && !store_key(&mut connection, row.id, &exact_key(&row.username), None).await? {
                    return Err(Error::internal(format!("user {} has the username of another one", row.id)));
                }
            }
        }
    }
}

/// Stores the key of a row that has none. Returns false if another user has that key.
async fn store_key(
    connection: &mut PgConnection,
    id: i64,
    key: &str,
    skeleton: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update users set username_key = $2, username_skeleton = $3 where id = $1 and username is not null and username_key is null",
        id,
        key,
        skeleton
    )
    .execute(connection)
    .await;
    match done {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        done => done.map(|_| true),
    }
}

/// The key of a name that looks like the name of an older account, from before look-alikes were refused. It begins
/// with a space, as no other key does.
pub(super) fn legacy_key(name: &str) -> String {
    format!(" {}", name.to_lowercase())
}

/// The key of a name whose [`legacy_key`] belongs to an older account too. It begins with two spaces.
pub(super) fn exact_key(name: &str) -> String {
    format!("  {name}")
}
