//! What usernames are compared by, for those who signed up before it was kept.

use sqlx::PgConnection;

use super::Db;
use crate::error::Error;
use crate::model::{username_key, username_skeleton};
use crate::store::users::{exact_key, legacy_key};

/// Rows that are read at a time.
const ROWS_PER_PORTION: i64 = 1_000;

impl Db {
    /// Fills in the keys of usernames that have none, which every server does before it serves. Of several names
    /// that look the same the oldest account keeps it to itself; the others are known by their exact letters
    /// alone. Several nodes may do so at once.
    ///
    /// # Errors
    /// Only where the database fails.
    pub async fn fill_username_keys(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        loop {
            let rows = sqlx::query!(
                r#"select id, username as "username!" from users
                   where username is not null and username_key is null order by id limit $1"#,
                ROWS_PER_PORTION
            )
            .fetch_all(&mut *connection)
            .await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                let (key, look) = (username_key(&row.username), username_skeleton(&row.username));
                let is_filled = set(&mut connection, row.id, &key, Some(&look)).await?
                    || set(&mut connection, row.id, &legacy_key(&row.username), None).await?;
                // Names that differ in case alone were two where the locale of the database did not know their letters.
                if !is_filled && !set(&mut connection, row.id, &exact_key(&row.username), None).await? {
                    return Err(Error::internal(format!("user {} has the username of another one", row.id)));
                }
            }
        }
    }
}

/// Fills in the key of a row that has none. False where it is somebody else's.
async fn set(connection: &mut PgConnection, id: i64, key: &str, look: Option<&str>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update users set username_key = $2, username_skeleton = $3 where id = $1 and username is not null and username_key is null",
        id,
        key,
        look
    )
    .execute(connection)
    .await;
    match done {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        done => done.map(|_| true),
    }
}
